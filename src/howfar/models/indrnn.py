"""Independently recurrent network: every unit reads its own last answer and no other's.

Idea     h_t = relu(W x_t + b + u * h_{t-1}), u one number a unit: a gradient over n steps has the
         factor u^n. |u| <= 2^(1/horizon) lets it at most double over `horizon` steps (a row many
         times longer may overflow); with no horizon |u| <= 1, safe at every length. A u that is
         driven over the bound counts as the bound, and gradients can only bring it back
         The whole-sequence form runs the same way and averages h_t over real positions
Shapes   (B, L, D) -> (B, L, D), one layer a block of the shared residual stack
Reach    unbounded: the state may keep anything
State    D floats a layer, whatever the length
Source   Li et al. 2018, https://arxiv.org/abs/1803.04831, equation 2; |u| <= 2^(1/T), T the length
         of the sequences, in sections 3.1 and 5.1; two layers, section 4. The authors' code
         (https://github.com/Sunnydreamrain/IndRNN_pytorch) has |u| <= 1 for long ones and draws u
         uniformly from [0, 1], so that units keep memories of all lengths; here from [0, bound].
         Layer norm before W stands for the paper's batch norm
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn

from howfar.core.protocols import State
from howfar.models import kernels
from howfar.models.blocks import FLOAT_BYTES, Linear, Sizes, Stack, known_choice, positive


@dataclass(frozen=True, slots=True, kw_only=True)
class IndRnnSettings:
    """depth: layers; h0: "zeros" or "learned"; horizon: steps in which gradients may double."""

    depth: int = 2
    h0: str = "zeros"
    horizon: int | None = None

    def __post_init__(self) -> None:
        positive(depth=self.depth)
        if self.horizon is not None:
            positive(horizon=self.horizon)
        known_choice("h0", self.h0, ("zeros", "learned"))


class Bounded(torch.autograd.Function):
    """`Bounded.apply(u, bound)`: u cut to [-bound, bound]; outside, gradients that lead back."""

    @staticmethod
    def forward(ctx: Any, u_D: Tensor, bound: float) -> Tensor:  # noqa: ANN401
        """The cut values."""
        ctx.save_for_backward(u_D)
        ctx.bound = bound
        return u_D.clamp(-bound, bound)

    @staticmethod
    def backward(ctx: Any, grad_D: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        """A step against the gradient never leads further out, as after a projection."""
        (u_D,) = ctx.saved_tensors
        kept_D = (u_D.abs() <= ctx.bound) | (grad_D * u_D > 0)
        return grad_D * kept_D, None


class IndRnn(nn.Module):
    """One layer: (B, L, D) -> (B, L, D)."""

    causal = True

    def __init__(self, width: int, settings: IndRnnSettings) -> None:
        super().__init__()
        self.linear = Linear(width, width)
        self.bound = 1.0 if settings.horizon is None else 2 ** (1 / settings.horizon)
        self.u_D = nn.Parameter(torch.empty(width))
        self.h0_D = nn.Parameter(torch.empty(width)) if settings.h0 == "learned" else None

    def draw(self, generator: Generator) -> None:
        """Own weights uniform up to their bound, a learned start of zeros."""
        nn.init.uniform_(self.u_D, 0.0, self.bound, generator=generator)
        if self.h0_D is not None:
            nn.init.zeros_(self.h0_D)

    def forward(self, x_BLD: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D); `lengths` is not needed."""
        return self.chunk(x_BLD, None)[0]

    def chunk(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next positions; the state is that of `step`."""
        u_D = self._u()  # under autocast the recurrence keeps its dtype
        p_LBD = self.linear(x_BLD).to(u_D.dtype).transpose(0, 1)
        h_LBD = kernels.indrnn_scan(p_LBD, u_D, self._before(x_BLD[:, 0], state).to(u_D.dtype))
        h_BLD = h_LBD.transpose(0, 1)
        return h_BLD, (h_BLD[:, -1].clone(),)  # a view would keep the whole chunk

    def step(self, x_BD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position; the state is (h,), (B, D)."""
        h_B1D, state = self.chunk(x_BD[:, None], state)
        return h_B1D[:, 0], state

    def _u(self) -> Tensor:
        if kernels.as_graph():
            return self.u_D.clamp(-self.bound, self.bound)
        return cast("Tensor", Bounded.apply(self.u_D, self.bound))  # type: ignore[no-untyped-call]

    def _before(self, x_BD: Tensor, state: State | None) -> Tensor:
        if state is not None:
            return cast("tuple[Tensor]", state)[0]
        return torch.zeros_like(x_BD) if self.h0_D is None else self.h0_D.expand_as(x_BD)

    def reach(self, length: int) -> int | None:
        """Unbounded: the state may keep anything."""
        return None

    def state_bytes(self, length: int) -> int:
        """The state, whatever the length."""
        return FLOAT_BYTES * self.u_D.numel()

    def flops(self, length: int) -> int:
        """The linear map, once a position, and the recurrence."""
        sums = kernels.indrnn_scan_flops(length, self.u_D.numel())
        return 2 * self.linear.weight.numel() * length + sums


def build_body(sizes: Sizes, settings: IndRnnSettings) -> Stack:
    """The body of the family."""
    return Stack(sizes, [IndRnn(sizes.width, settings) for _ in range(settings.depth)])
