"""Retention: linear attention that turns with the distance and fades at a fixed rate a head.

Idea     y_t = sum_{s <= t} g^(t-s) (q_t . R^(t-s) k_s) v_s / sqrt(size), as a state:
         S_t = g R S_{t-1} + k_t v_t', y_t = S_t' q_t / sqrt(size). R turns the pair of channels
         (i, i + size/2) back by 10000^(-2i/size) a token; head h has g = 1 - 2^(-5-h).
         Then each head is normalised alone, gated by swish(W x_t) and projected.
         Behind it a feed-forward of 4 D with GELU.
         The whole-sequence form runs the same way and averages over real positions
Shapes   (B, L, D) -> (B, L, D); heads of an even size nearest D / heads
Reach    unbounded, but head h keeps half of a token for 0.69 * 2^(5+h) tokens: 22, 44, 88, 177
State    S: heads * size^2 floats a block. It is kept as the next position sees it, already turned,
         so that no place has to be kept and no place is too large
Source   Sun et al. 2023, https://arxiv.org/abs/2307.08621, equations 3 to 8. The row sums by which
         section 2.2 divides for range fall away in the norm of a head and are left out. Values are
         D wide as in equation 8, beside a feed-forward of 4 D; the paper trains values of 2 D and
         a feed-forward of 2 D, with heads of size 256. Weights of variance 1 / fan-in, as
         everywhere here; https://github.com/microsoft/torchscale draws Xavier with gain 2^-2.5
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
    join_heads,
    positive,
    split_heads,
)

BASE = 10_000.0
EPS = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """depth: blocks; heads: heads a block, each with its own rate of forgetting."""

    depth: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        positive(depth=self.depth, heads=self.heads)


def turn(x: Tensor, places: Tensor, dim: int = -1) -> Tensor:
    """Turn pairs (i, i + size/2) of dimension `dim` by place * BASE**(-2i/size).

    Args:
        x: real; `dim` is of an even size.
        places: (P,) for the dimension before `dim`, or (1,) for all.
        dim: -1, or -2 with one place.
    """
    half = x.shape[dim] // 2
    # 65,536 radians leave four digits to float32; only Apple's devices lack float64
    exact = torch.float32 if x.device.type == "mps" else torch.float64
    pair_P = torch.arange(half, device=x.device, dtype=exact)
    angle = places.to(exact)[:, None] * BASE ** (-pair_P / half)
    if dim == -2:
        angle = angle.T
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x.chunk(2, dim=dim)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=dim)


class Retention(nn.Module):
    """Gated retention of several rates: (B, L, D) -> (B, L, D)."""

    causal = True

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.size = 2 * max(1, round(width / heads / 2))
        inner = heads * self.size
        self.qkvg = Linear(width, 4 * inner, bias=False)
        self.out = Linear(inner, width, bias=False)

    def forward(self, x_BLD: Tensor, lengths: Tensor) -> Tensor:
        """All positions; padding on the right is in the future of all real ones."""
        return self.chunk(x_BLD, None)[0]

    def step(self, x_BD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position; the state is (S,), (B, H, K, V)."""
        y_B1D, state = self.chunk(x_BD[:, None], state)
        return y_B1D[:, 0], state

    def chunk(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next positions; the state is that of `step`."""
        rows, length, _ = x_BLD.shape
        before = None if state is None else cast("tuple[Tensor]", state)[0]
        *parts, gate_BLX = self.qkvg(x_BLD).chunk(4, dim=-1)
        q_BHLK, k_BHLK, v_BHLV = (split_heads(part_BLX, self.heads) for part_BLX in parts)
        place_L = torch.arange(length, device=x_BLD.device)
        y_BHLV, after = kernels.gated_linear_attention(
            turn(q_BHLK, place_L) * self.size**-0.5,
            turn(k_BHLK, place_L),
            v_BHLV,
            self.log_decay(x_BLD)[:, None].expand(rows, self.heads, length),
            before,
        )
        y_BLX = join_heads(F.layer_norm(y_BHLV, (self.size,), eps=EPS)) * F.silu(gate_BLX)
        # the next position is the next chunk's place 0
        back_1 = torch.full((1,), -length, device=x_BLD.device)
        return self.out(y_BLX), (turn(after, back_1, dim=-2),)

    def log_decay(self, like: Tensor) -> Tensor:
        """Logarithms of 1 - 2**(-5-h), (H,), in the type of `like`."""
        lost = [2.0 ** (-5 - head) for head in range(self.heads)]
        return torch.log1p(-torch.tensor(lost, device=like.device, dtype=like.dtype))

    def reach(self, length: int) -> int | None:
        """Unbounded."""
        return None

    def state_bytes(self, length: int) -> int:
        """S, whatever the length."""
        return FLOAT_BYTES * self.heads * self.size**2

    def flops(self, length: int) -> int:
        """Projections and the sums; turning is not counted."""
        weights = self.qkvg.weight.numel() + self.out.weight.numel()
        return 2 * weights * length + kernels.gated_linear_attention_flops(
            length, self.heads, self.size, self.size
        )


def build_body(sizes: Sizes, settings: RetentionSettings) -> Stack:
    """The body of the family."""
    mixers = [Retention(sizes.width, settings.heads) for _ in range(settings.depth)]
    return Stack(sizes, mixers, feed_forward=True)
