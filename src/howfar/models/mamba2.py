"""Mamba-2: a state-space layer whose every head fades as one, so that it is a linear attention.

Idea     z, x, B, C, d = W u_t; x, B, C = silu(a convolution of 4 over each channel);
         d = softplus(d + b), S_t = exp(-A d_t) S_{t-1} + B_t (d_t x_t)', y_t = S_t' C_t + D x_t,
         with one number A, b, D a head, and B, C shared by all heads (one group). Then an RMS norm
         of y_t silu(z_t) and a projection. No feed-forward: the gate z takes its place.
         The whole-sequence form runs the same way and averages over real positions
Shapes   (B, L, D) -> (B, L, D); inside 2 D, in heads of the size nearest 2 D / heads
Reach    unbounded, as far as the decays let a token last
State    S: state * 2 D floats a block, and the last 3 inputs of the convolution, 2 D + 2 state
         each, whatever the length
Source   Dao & Gu 2024, https://arxiv.org/abs/2405.21060, sections 5 to 7 and figure 6, and
         https://github.com/state-spaces/mamba for what is drawn: A uniform in [1, 16],
         softplus(b) log-uniform in [0.001, 0.1], D = 1, the convolution uniform within 1 / 2.
         Heads are of size 64 there, with state 128. Here the default is state 64 and 4 heads at
         every width: of size 32 at width 64, of size 64 at width 128; fewer would leave fewer
         rates of forgetting. Linear maps of variance 1 / fan-in, as everywhere here; theirs are
         uniform, the last one smaller with depth
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Generator, Tensor, nn
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
)

EXPAND = 2
TAPS = 4
EPS = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba2Settings:
    """depth: blocks; heads: rates of forgetting a block; state: N, channels of B and C."""

    depth: int = 2
    heads: int = 4
    state: int = 64

    def __post_init__(self) -> None:
        positive(depth=self.depth, heads=self.heads, state=self.state)


class Mamba2(nn.Module):
    """The mixer of Mamba-2: (B, L, D) -> (B, L, D)."""

    causal = True

    def __init__(self, width: int, settings: Mamba2Settings) -> None:
        super().__init__()
        self.heads, self.state = settings.heads, settings.state
        self.size = head_size(EXPAND * width, self.heads)
        self.inner = self.heads * self.size
        mixed = self.inner + 2 * self.state
        self.into = Linear(width, self.inner + mixed + self.heads, bias=False)
        self.short = ShortConvolution(mixed, TAPS)
        self.decay = SteppedDecay(self.heads)
        self.skip_H = nn.Parameter(torch.empty(self.heads))
        self.norm = nn.RMSNorm(self.inner, eps=EPS)
        self.out = Linear(self.inner, width, bias=False)

    def draw(self, generator: Generator) -> None:
        """The skip starts at 1; the parts draw themselves."""
        nn.init.ones_(self.skip_H)

    def forward(self, x_BLD: Tensor, lengths: Tensor) -> Tensor:
        """All positions; padding on the right is in the future of all real ones."""
        return self.chunk(x_BLD, None)[0]

    def step(self, x_BD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position; the state is (inputs of the convolution (B, 3, X), S (B, H, N, P))."""
        y_B1D, state = self.chunk(x_BD[:, None], state)
        return y_B1D[:, 0], state

    def chunk(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next positions; the state is that of `step`."""
        past, before = (None, None) if state is None else cast("tuple[Tensor, Tensor]", state)
        inner, size = self.inner, self.state
        z_BLX, mixed_BLX, step_BLH = torch.split(
            self.into(x_BLD), [inner, inner + 2 * size, self.heads], dim=-1
        )
        mixed_BLX, past = self.short.chunk(mixed_BLX, past)
        v_BLX, b_BLN, c_BLN = torch.split(F.silu(mixed_BLX), [inner, size, size], dim=-1)
        step_BHL, decay_BHL = self.decay(step_BLH)
        v_BHLP = split_heads(v_BLX, self.heads)
        y_BHLP, after = kernels.gated_linear_attention(
            c_BLN[:, None].expand(-1, self.heads, -1, -1),
            b_BLN[:, None].expand(-1, self.heads, -1, -1),
            v_BHLP * step_BHL[..., None],
            decay_BHL,
            before,
        )
        y_BLX = join_heads(torch.addcmul(y_BHLP, v_BHLP, self.skip_H[:, None, None]))
        return self.out(self.norm(y_BLX * F.silu(z_BLX))), (past, after)

    def reach(self, length: int) -> int | None:
        """Unbounded."""
        return None

    def state_bytes(self, length: int) -> int:
        """S and the convolution's past, whatever the length."""
        return FLOAT_BYTES * self.state * self.inner + self.short.state_bytes()

    def flops(self, length: int) -> int:
        """Projections, convolution and the state."""
        weights = self.into.weight.numel() + self.out.weight.numel()
        scan = kernels.gated_linear_attention_flops(length, self.heads, self.state, self.size)
        return 2 * weights * length + self.short.flops(length) + scan


def build_body(sizes: Sizes, settings: Mamba2Settings) -> Stack:
    """The body of the family."""
    return Stack(sizes, [Mamba2(sizes.width, settings) for _ in range(settings.depth)])
