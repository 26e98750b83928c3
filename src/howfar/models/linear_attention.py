"""Linear attention: a likeness that factors, so that all the past fits into one matrix.

Idea     y_t = S_t' f(q_t) / (z_t . f(q_t)), S_t = S_{t-1} + f(k_t) v_t', z_t = z_{t-1} + f(k_t),
         f(x) = elu(x) + 1, in each head. Nothing is ever forgotten, and places are not marked.
         Behind it a feed-forward of 4 D with GELU.
         The whole-sequence form runs the same way and averages over real positions
Shapes   (B, L, D) -> (B, L, D); heads of the size nearest D / heads
Reach    unbounded: every token stays in the sums
State    S and z: heads * size * (size + 1) floats a block, whatever the length
Source   Katharopoulos et al. 2020, https://arxiv.org/abs/2006.16236, sections 3.2 to 3.4, with
         1e-6 added below the fraction as in https://github.com/idiap/fast-transformers. The paper
         trains 8 heads and gives no initialisation of its own: weights of variance 1 / fan-in, as
         everywhere here
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

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

EPS = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearAttentionSettings:
    """depth: blocks; heads: heads a block, each with its own sums."""

    depth: int = 2
    heads: int = 2

    def __post_init__(self) -> None:
        positive(depth=self.depth, heads=self.heads)


def feature(x: Tensor) -> Tensor:
    """Elu(x) + 1, positive: far below zero too, where 1 - (1 - exp(x)) would round to zero."""
    return x.relu() + x.clamp(max=0).exp()


class LinearAttention(nn.Module):
    """Normalised linear attention of several heads: (B, L, D) -> (B, L, D)."""

    causal = True

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.size = head_size(width, heads)
        self.qkv = Linear(width, 3 * heads * self.size, bias=False)
        self.out = Linear(heads * self.size, width, bias=False)

    def forward(self, x_BLD: Tensor, lengths: Tensor) -> Tensor:
        """All positions; padding on the right is in the future of all real ones."""
        return self.chunk(x_BLD, None)[0]

    def step(self, x_BD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position; the state is (S with z as its last column,), (B, H, K, K + 1)."""
        y_B1D, state = self.chunk(x_BD[:, None], state)
        return y_B1D[:, 0], state

    def chunk(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next positions; the state is that of `step`."""
        before = None if state is None else cast("tuple[Tensor]", state)[0]
        parts = self.qkv(x_BLD).chunk(3, dim=-1)
        q_BHLK, k_BHLK, v_BHLV = (split_heads(part_BLX, self.heads) for part_BLX in parts)
        # a value channel of ones carries the normaliser
        v_BHLW = torch.cat([v_BHLV, torch.ones_like(v_BHLV[..., :1])], dim=-1)
        sums_BHLW, after = kernels.gated_linear_attention(
            feature(q_BHLK), feature(k_BHLK), v_BHLW, None, before
        )
        y_BHLV = sums_BHLW[..., :-1] / (sums_BHLW[..., -1:] + EPS)
        return self.out(join_heads(y_BHLV)), (after,)

    def reach(self, length: int) -> int | None:
        """Unbounded."""
        return None

    def state_bytes(self, length: int) -> int:
        """S and z, whatever the length."""
        return FLOAT_BYTES * self.heads * self.size * (self.size + 1)

    def flops(self, length: int) -> int:
        """Projections, and the sums with the channel of ones."""
        weights = self.qkv.weight.numel() + self.out.weight.numel()
        return 2 * weights * length + kernels.gated_linear_attention_flops(
            length, self.heads, self.size, self.size + 1
        )


def build_body(sizes: Sizes, settings: LinearAttentionSettings) -> Stack:
    """The body of the family."""
    mixers = [LinearAttention(sizes.width, settings.heads) for _ in range(settings.depth)]
    return Stack(sizes, mixers, feed_forward=True)
