"""DeltaNet: what a key held is taken away before the new value is written under it.

Idea     S_t = (1 - b_t k_t k_t') S_{t-1} + b_t k_t v_t', y_t = S_t' q_t, in each head, with
         q, k, v = silu(a convolution of 4 over each channel of W x), q and k made of length 1 and
         b_t = sigmoid(W x_t). Then an RMS norm in each head and a projection.
         Behind it a feed-forward of 4 D with GELU.
         The whole-sequence form runs the same way and averages over real positions
Shapes   (B, L, D) -> (B, L, D); heads of the size nearest D / heads
Reach    unbounded: a value stays until its key is written again
State    S: heads * size^2 floats a block, and the last 3 inputs of the convolutions, 3 D each,
         whatever the length
Source   Yang et al. 2024, https://arxiv.org/abs/2406.06484, the sections "DeltaNet: linear
         attention with the delta rule" and "DeltaNet Transformer", which trains heads of size 128.
         As in the authors' https://github.com/fla-org/flash-linear-attention the convolutions have
         no bias, 1e-6 stands under the root of the length and 1e-5 in the norm; q is not divided by
         sqrt(size), which the norm would undo. Weights of variance 1 / fan-in, as everywhere here,
         and convolutions uniform within 1 / 2; theirs are normal with 0.02
"""

from dataclasses import dataclass
from typing import cast

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
    head_size,
    join_heads,
    positive,
    split_heads,
    unit_length,
)

TAPS = 4
EPS = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltanetSettings:
    """depth: blocks; heads: heads a block, each with its own memory."""

    depth: int = 2
    heads: int = 2

    def __post_init__(self) -> None:
        positive(depth=self.depth, heads=self.heads)


class Deltanet(nn.Module):
    """Linear attention with the delta rule: (B, L, D) -> (B, L, D)."""

    causal = True

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.size = head_size(width, heads)
        inner = heads * self.size
        self.qkv = Linear(width, 3 * inner, bias=False)
        self.short = ShortConvolution(3 * inner, TAPS, bias=False)
        self.beta = Linear(width, heads, bias=False)
        self.norm = nn.RMSNorm(self.size, eps=EPS)
        self.out = Linear(inner, width, bias=False)

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
        qkv_BLX, past = self.short.chunk(self.qkv(x_BLD), past)
        parts = F.silu(qkv_BLX).chunk(3, dim=-1)
        q_BHLK, k_BHLK, v_BHLV = (split_heads(part_BLX, self.heads) for part_BLX in parts)
        y_BHLV, after = kernels.delta_rule(
            unit_length(q_BHLK),
            unit_length(k_BHLK),
            v_BHLV,
            self.beta(x_BLD).sigmoid().transpose(1, 2),
            None,
            before,
        )
        return self.out(join_heads(self.norm(y_BHLV))), (past, after)

    def reach(self, length: int) -> int | None:
        """Unbounded."""
        return None

    def state_bytes(self, length: int) -> int:
        """S and the convolutions' past, whatever the length."""
        return FLOAT_BYTES * self.heads * self.size**2 + self.short.state_bytes()

    def flops(self, length: int) -> int:
        """Projections, convolutions and the state."""
        weights = sum(part.weight.numel() for part in (self.qkv, self.beta, self.out))
        rule = kernels.delta_rule_flops(length, self.heads, self.size, self.size)
        return 2 * weights * length + self.short.flops(length) + rule


def build_body(sizes: Sizes, settings: DeltanetSettings) -> Stack:
    """The body of the family."""
    mixers = [Deltanet(sizes.width, settings.heads) for _ in range(settings.depth)]
    return Stack(sizes, mixers, feed_forward=True)
