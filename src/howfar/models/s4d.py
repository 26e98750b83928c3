"""S4D: every channel through many damped oscillators of fixed speed, a convolution of any length.

Idea     h_t = exp(d A) h_{t-1} + B' x_t, B' = (exp(d A) - 1) / A, y_t = 2 Re(C . h_t) + D x_t,
         each channel by itself: y is x convolved with 2 Re sum_n C_n B'_n exp(d A_n s), plus D x.
         Then GELU and a gated linear map over channels: GLU(W gelu(y)).
         The whole-sequence form runs the same way and averages over real positions
Shapes   (B, L, D) -> (B, L, D) in the shared residual stack; A, C (D, states / 2), d, D (D,)
Reach    unbounded, though at the start a state forgets within some 20 / d tokens, d in 0.001 .. 0.1
State    states / 2 complex numbers a channel and layer, whatever the length
Source   Gu, Gupta, Goel & Re 2022, https://arxiv.org/abs/2206.11893: zero-order hold, conjugate
         pairs and Re A = -exp(.) (section 3), S4D-Lin A_n = -1/2 + i pi n and S4D-Inv
         A_n = -1/2 + i (N / pi) (N / (2 n + 1) - 1) (section 4); N = 64, B = 1, C complex normal,
         d log-uniform in 0.001 .. 0.1. Here A is learned as a difference from its start, and the
         sum is taken in blocks with a carried state, not by a Fourier transform of the whole text
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

import howfar.models.kernels as kernels
from howfar.core.errors import UsageError, shown
from howfar.core.protocols import State
from howfar.models.blocks import FLOAT_BYTES, Linear, Sizes, Stack, positive

SLOWEST, FASTEST = 0.001, 0.1
STARTS = ("lin", "inv")


@dataclass(frozen=True, slots=True, kw_only=True)
class S4dSettings:
    """depth: layers; states: N a channel, even, as they come in pairs; start: "lin" or "inv"."""

    depth: int = 2
    states: int = 64
    start: str = "lin"

    def __post_init__(self) -> None:
        positive(depth=self.depth, states=self.states)
        if self.states % 2:
            raise UsageError(
                "E-OPTION",
                f"states must be even, as they come in conjugate pairs, not {self.states}.",
                f"states={self.states + 1}",
            )
        if self.start not in STARTS:
            raise UsageError(
                "E-OPTION", f"start cannot be {shown(self.start)}.", f"one of {', '.join(STARTS)}"
            )


class DiagonalStates(nn.Module):
    """One layer: (B, L, D) -> (B, L, D). N counts conjugate pairs: half of `states`."""

    causal = True

    def __init__(self, width: int, settings: S4dSettings) -> None:
        super().__init__()
        self.settings = settings
        pairs = settings.states // 2
        self.log_step_D = nn.Parameter(torch.empty(width))
        self.log_decay_DN = nn.Parameter(torch.empty(width, pairs))  # of -Re A / (1/2)
        self.turn_DN = nn.Parameter(torch.empty(width, pairs))  # Im A less its start
        self.out_DN2 = nn.Parameter(torch.empty(width, pairs, 2))
        self.skip_D = nn.Parameter(torch.empty(width))
        self.mix = Linear(width, 2 * width)

    def draw(self, generator: Generator) -> None:
        """A as published, C complex normal of variance 1, D normal, the step log-uniform."""
        bounds = math.log(SLOWEST), math.log(FASTEST)
        nn.init.uniform_(self.log_step_D, *bounds, generator=generator)
        nn.init.zeros_(self.log_decay_DN)
        nn.init.zeros_(self.turn_DN)
        nn.init.normal_(self.out_DN2, std=0.5**0.5, generator=generator)
        nn.init.normal_(self.skip_D, generator=generator)

    def law(self) -> tuple[Tensor, Tensor]:
        """(D, N) twice, complex: the rate d A of a state, and 2 C B' by which it is read."""
        exact, start_N = self._start()
        a_DN = torch.complex(-0.5 * self.log_decay_DN.to(exact).exp(), start_N + self.turn_DN)
        rate_DN = self.log_step_D.to(exact).exp()[:, None] * a_DN
        out_DN = torch.view_as_complex(self.out_DN2.to(exact))
        return rate_DN, 2 * out_DN * torch.expm1(rate_DN) / a_DN

    def _law_in_pairs(self) -> tuple[Tensor, Tensor]:
        """(D, N, 2) twice: exp(rate), and by what a state is read; graphs know no complex numbers.

        exp(x + iy) - 1 = expm1(x) cos y - 2 sin(y / 2)^2 + i exp(x) sin y, with no digits lost.
        """
        _, start_N = self._start()
        step_D1 = self.log_step_D.exp()[:, None]
        a_r, a_i = -0.5 * self.log_decay_DN.exp(), start_N + self.turn_DN
        x, y = step_D1 * a_r, step_D1 * a_i
        less_r = torch.expm1(x) * y.cos() - 2 * (y / 2).sin().square()
        less_i = x.exp() * y.sin()
        size = a_r.square() + a_i.square()
        into_r, into_i = (less_r * a_r + less_i * a_i) / size, (less_i * a_r - less_r * a_i) / size
        out_r, out_i = self.out_DN2.unbind(-1)
        read_r, read_i = out_r * into_r - out_i * into_i, out_r * into_i + out_i * into_r
        kept_DN2 = torch.stack([x.exp() * y.cos(), less_i], dim=-1)
        return kept_DN2, 2 * torch.stack([read_r, read_i], dim=-1)

    def _start(self) -> tuple[torch.dtype, Tensor]:
        """How exact a phase must be, and Im A at the start, (N,)."""
        exact = torch.promote_types(self.log_step_D.dtype, torch.float32)
        place_N = torch.arange(self.turn_DN.shape[1], device=self.turn_DN.device, dtype=exact)
        if self.settings.start == "lin":
            return exact, math.pi * place_N
        states = self.settings.states
        return exact, states / math.pi * (states / (2 * place_N + 1) - 1)

    def forward(self, x_BLD: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D); `lengths` is not needed: padding is in the future."""
        return self.chunk(x_BLD, None)[0]

    def chunk(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next positions; the state is that of `step`."""
        if kernels.as_graph() and state is None:
            return self._mixed(x_BLD, kernels.graph.diagonal_scan(x_BLD, *self._law_in_pairs())), ()
        h_BDN = None if state is None else cast("tuple[Tensor]", state)[0]
        y_BLD, h_BDN = kernels.diagonal_scan(x_BLD, *self.law(), h_BDN)
        return self._mixed(x_BLD, y_BLD), (h_BDN,)

    def step(self, x_BD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position; the state is h, (B, D, N) complex, for an input of weight 1."""
        rate_DN, weight_DN = self.law()
        h_BDN = x_BD[..., None].to(rate_DN.dtype).expand(*x_BD.shape, rate_DN.shape[1])
        if state is not None:
            h_BDN = h_BDN + rate_DN.exp() * cast("tuple[Tensor]", state)[0]
        y_BD = (weight_DN * h_BDN).sum(-1).real.to(x_BD.dtype)
        return self._mixed(x_BD, y_BD), (h_BDN,)

    def _mixed(self, x: Tensor, y: Tensor) -> Tensor:
        return F.glu(self.mix(F.gelu(torch.addcmul(y, x, self.skip_D))))

    def reach(self, length: int) -> int | None:
        """Unbounded: a state never forgets quite all."""
        return None

    def state_bytes(self, length: int) -> int:
        """One complex number a channel and pair."""
        return 2 * FLOAT_BYTES * self.turn_DN.numel()

    def flops(self, length: int) -> int:
        """The recurrence and the gated map."""
        scan = kernels.diagonal_scan_flops(length, *self.turn_DN.shape)
        return scan + 2 * self.mix.weight.numel() * length


def build_body(sizes: Sizes, settings: S4dSettings) -> Stack:
    """The body of the family."""
    return Stack(sizes, [DiagonalStates(sizes.width, settings) for _ in range(settings.depth)])
