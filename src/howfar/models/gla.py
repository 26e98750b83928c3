"""Gated linear attention: every channel of the key has a rate of forgetting that the token decides.

Idea     S_t = diag(a_t) S_{t-1} + k_t v_t', y_t = S_t' q_t / sqrt(K), in each head, with
         a_t = sigmoid(W2 W1 x_t + b)^(1/16), W1 to 16 channels. Then an RMS norm in each head, a
         gate swish(W x_t + c) and a projection. Behind it a feed-forward of 4 D with GELU.
         The whole-sequence form runs the same way and averages over real positions
Shapes   (B, L, D) -> (B, L, D); heads with keys of the size nearest D / 2 / heads, values of the
         size nearest D / heads
Reach    unbounded, as far as the decays let a token last
State    S: heads * K * V floats a block, about D^2 / 2 / heads, whatever the length
Source   Yang et al. 2023, https://arxiv.org/abs/2312.06635, section 4.4, which trains 4 heads with
         keys of D / 2, values of D, rank 16 and a root of 16. As in the authors'
         https://github.com/fla-org/flash-linear-attention the norm is an RMS norm with 1e-5 and
         q is divided by sqrt(K). Weights of variance 1 / fan-in and biases of 0, as everywhere
         here; theirs are Xavier with gain 2^-2.5 or, later, normal with 0.02
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
    Sizes,
    Stack,
    head_size,
    join_heads,
    positive,
    split_heads,
)

RANK = 16
ROOT = 16
EPS = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class GlaSettings:
    """depth: blocks; heads: heads a block."""

    depth: int = 2
    heads: int = 2

    def __post_init__(self) -> None:
        positive(depth=self.depth, heads=self.heads)


class GatedLinearAttention(nn.Module):
    """Linear attention with a decay a key channel: (B, L, D) -> (B, L, D)."""

    causal = True

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.key = head_size(width / 2, heads)
        self.value = head_size(width, heads)
        self.keys, self.values = heads * self.key, heads * self.value
        self.qkv = Linear(width, 2 * self.keys + self.values, bias=False)
        self.decay_in = Linear(width, RANK, bias=False)
        self.decay_out = Linear(RANK, self.keys)
        self.gate = Linear(width, self.values)
        self.norm = nn.RMSNorm(self.value, eps=EPS)
        self.out = Linear(self.values, width, bias=False)

    def forward(self, x_BLD: Tensor, lengths: Tensor) -> Tensor:
        """All positions; padding on the right is in the future of all real ones."""
        return self.chunk(x_BLD, None)[0]

    def step(self, x_BD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position; the state is (S,), (B, H, K, V)."""
        y_B1D, state = self.chunk(x_BD[:, None], state)
        return y_B1D[:, 0], state

    def chunk(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next positions; the state is that of `step`."""
        before = None if state is None else cast("tuple[Tensor]", state)[0]
        parts = torch.split(self.qkv(x_BLD), [self.keys, self.keys, self.values], dim=-1)
        q_BHLK, k_BHLK, v_BHLV = (split_heads(part_BLX, self.heads) for part_BLX in parts)
        decay_BLX = F.logsigmoid(self.decay_out(self.decay_in(x_BLD))) / ROOT
        y_BHLV, after = kernels.gated_linear_attention(
            q_BHLK * self.key**-0.5, k_BHLK, v_BHLV, split_heads(decay_BLX, self.heads), before
        )
        y_BLX = join_heads(self.norm(y_BHLV.to(self.norm.weight.dtype))) * F.silu(self.gate(x_BLD))
        return self.out(y_BLX), (after,)

    def reach(self, length: int) -> int | None:
        """Unbounded."""
        return None

    def state_bytes(self, length: int) -> int:
        """S, whatever the length."""
        return FLOAT_BYTES * self.heads * self.key * self.value

    def flops(self, length: int) -> int:
        """Projections and the state."""
        maps = (self.qkv, self.decay_in, self.decay_out, self.gate, self.out)
        weights = sum(part.weight.numel() for part in maps)
        return 2 * weights * length + kernels.gated_linear_attention_flops(
            length, self.heads, self.key, self.value
        )


def build_body(sizes: Sizes, settings: GlaSettings) -> Stack:
    """The body of the family."""
    mixers = [GatedLinearAttention(sizes.width, settings.heads) for _ in range(settings.depth)]
    return Stack(sizes, mixers, feed_forward=True)
