"""Gated DeltaNet: the delta rule for one key, and a decay for all of them at once.

Idea     S_t = a_t (1 - b_t k_t k_t') S_{t-1} + b_t k_t v_t', y_t = S_t' q_t / sqrt(K), in each
         head, with q, k, v = silu(a convolution of 4 over each channel of W x), q and k made of
         length 1, b_t = sigmoid(W x_t) and a_t = exp(-A softplus(W x_t + c)), one A and c a head.
         Then an RMS norm in each head, a gate swish(W x_t) and a projection.
         Behind it a feed-forward of 4 D with GELU.
         The whole-sequence form runs the same way and averages over real positions
Shapes   (B, L, D) -> (B, L, D); heads with keys of the size nearest 3/4 D / heads, values twice as
         wide
Reach    unbounded, as far as the decays let a token last
State    S: heads * K * V floats a block, about 9/8 D^2 / heads, and the last 3 inputs of the
         convolutions, 3 D each, whatever the length
Source   Yang, Kautz & Hatamizadeh 2024, https://arxiv.org/abs/2412.06464, sections 3.1 and 3.4;
         keys of 3/4 D and values of 3/2 D as in https://github.com/NVlabs/GatedDeltaNet, which
         draws A uniform in [0, 16] (here from 0.01, away from log 0) and softplus(c) log-uniform
         in [0.001, 0.1], with 1e-5 in the norm; 1 / sqrt(K) and 1e-6 under the root of the length
         as in https://github.com/fla-org/flash-linear-attention. Weights of variance 1 / fan-in,
         as everywhere here, convolutions uniform within 1 / 2; theirs are normal with 0.02
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import howfar.models.kernels as kernels
from howfar.core.protocols import State
from howfar.models.blocks import (
    FLOAT_BYTES,
    Linear,
    ShortConvolution,
    Sizes,
    Stack,
    SteppedDecay,
    head_size,
    join_heads,
    positive,
    split_heads,
    unit_length,
)

TAPS = 4
EPS = 1e-5
SLOWEST = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedDeltanetSettings:
    """depth: blocks; heads: heads a block, each with its own memory and rate of forgetting."""

    depth: int = 2
    heads: int = 2

    def __post_init__(self) -> None:
        positive(depth=self.depth, heads=self.heads)


class GatedDeltanet(nn.Module):
    """Linear attention with the gated delta rule: (B, L, D) -> (B, L, D)."""

    causal = True

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.key = head_size(0.75 * width, heads)
        self.value = 2 * self.key
        self.keys, self.values = heads * self.key, heads * self.value
        mixed = 2 * self.keys + self.values
        self.qkvz = Linear(width, mixed + self.values, bias=False)
        self.short = ShortConvolution(mixed, TAPS, bias=False)
        self.rates = Linear(width, 2 * heads, bias=False)
        self.decay = SteppedDecay(heads, slowest=SLOWEST)
        self.norm = nn.RMSNorm(self.value, eps=EPS)
        self.out = Linear(self.values, width, bias=False)

    def forward(self, x_BLD: Tensor, lengths: Tensor) -> Tensor:
        """All positions; padding on the right is in the future of all real ones."""
        return self.chunk(x_BLD, None)[0]

    def step(self, x_BD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position; the state is (inputs of the convolutions (B, 3, X), S (B, H, K, V))."""
        y_B1D, state = self.chunk(x_BD[:, None], state)
        return y_B1D[:, 0], state

    def chunk(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next positions; the state is that of `step`."""
        past, before = (None, None) if state is None else cast("tuple[Tensor, Tensor]", state)
        sizes = [self.keys, self.keys, self.values]
        qkv_BLX, z_BLX = torch.split(self.qkvz(x_BLD), [sum(sizes), self.values], dim=-1)
        qkv_BLX, past = self.short.chunk(qkv_BLX, past)
        parts = torch.split(F.silu(qkv_BLX), sizes, dim=-1)
        q_BHLK, k_BHLK, v_BHLV = (split_heads(part_BLX, self.heads) for part_BLX in parts)
        beta_BLH, step_BLH = self.rates(x_BLD).chunk(2, dim=-1)
        y_BHLV, after = kernels.delta_rule(
            unit_length(q_BHLK) * self.key**-0.5,
            unit_length(k_BHLK),
            v_BHLV,
            beta_BLH.sigmoid().transpose(1, 2),
            self.decay(step_BLH)[1],
            before,
        )
        y_BLX = join_heads(self.norm(y_BHLV)) * F.silu(z_BLX)
        return self.out(y_BLX), (past, after)

    def reach(self, length: int) -> int | None:
        """Unbounded."""
        return None

    def state_bytes(self, length: int) -> int:
        """S and the convolutions' past, whatever the length."""
        return FLOAT_BYTES * self.keys * self.value + self.short.state_bytes()

    def flops(self, length: int) -> int:
        """Projections, convolutions and the state."""
        weights = sum(part.weight.numel() for part in (self.qkvz, self.rates, self.out))
        rule = kernels.delta_rule_flops(length, self.heads, self.key, self.value)
        return 2 * weights * length + self.short.flops(length) + rule


def build_body(sizes: Sizes, settings: GatedDeltanetSettings) -> Stack:
    """The body of the family."""
    mixers = [GatedDeltanet(sizes.width, settings.heads) for _ in range(settings.depth)]
    return Stack(sizes, mixers, feed_forward=True)
