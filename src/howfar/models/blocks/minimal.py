"""A recurrence whose gates read the input alone: h_t = a_t h_{t-1} + b_t.

Idea     a_t and b_t come from one linear map of x_t, so all steps but the sum are done at once
Shapes   (B, L, D) -> (B, L, D)
Reach    unbounded
State    h, D floats
Source   Feng et al. 2024, https://arxiv.org/abs/2410.01201, sections 3.1 and 3.2
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Generator, Tensor, nn

import howfar.models.kernels as kernels
from howfar.core.protocols import State
from howfar.models.blocks.base import FLOAT_BYTES
from howfar.models.blocks.linear import Linear

Gates = Callable[[Tensor], tuple[Tensor, Tensor]]


def positive_part(x: Tensor) -> Tensor:
    """g(x) = x + 0.5 where x >= 0, else sigmoid(x): continuous, and never below 0."""
    return torch.where(x >= 0, x + 0.5, x.sigmoid())


class GatedAverage(nn.Module):
    """One layer.

    Args:
        width: D.
        maps: linear maps of x, of D values each.
        gates: from their values (..., maps D) to a and b, each (..., D).
        learned: whether h_0 is g of a parameter instead of zeros.
    """

    causal = True

    def __init__(self, width: int, maps: int, gates: Gates, *, learned: bool) -> None:
        super().__init__()
        self.linear = Linear(width, maps * width)
        self.gates = gates
        self.h0_D = nn.Parameter(torch.empty(width)) if learned else None

    def draw(self, generator: Generator) -> None:
        """A learned start of g(0) = 0.5; the linear map draws itself."""
        if self.h0_D is not None:
            nn.init.zeros_(self.h0_D)

    def forward(self, x_BLD: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D); `lengths` is not needed."""
        return self.chunk(x_BLD, None)[0]

    def chunk(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next positions; the state is that of `step`."""
        a_BLD, b_BLD = self.gates(self.linear(x_BLD))
        h_BLD = kernels.linear_recurrence(a_BLD, b_BLD, self._before(x_BLD.shape[0], state))
        return h_BLD, (h_BLD[:, -1].clone(),)  # a view would keep the whole chunk

    def step(self, x_BD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position; the state is (h,), (B, D)."""
        a_BD, b_BD = self.gates(self.linear(x_BD))
        before_BD = self._before(x_BD.shape[0], state)
        h_BD = b_BD if before_BD is None else torch.addcmul(b_BD, a_BD, before_BD)
        return h_BD, (h_BD,)

    def _before(self, rows: int, state: State | None) -> Tensor | None:
        if state is not None:
            return cast("tuple[Tensor]", state)[0]
        return None if self.h0_D is None else positive_part(self.h0_D).expand(rows, -1)

    def reach(self, length: int) -> int | None:
        """Unbounded: the state may keep anything."""
        return None

    def state_bytes(self, length: int) -> int:
        """The state, whatever the length."""
        return FLOAT_BYTES * self.linear.in_features

    def flops(self, length: int) -> int:
        """The linear maps, once a position, and the recurrence."""
        sums = kernels.linear_recurrence_flops(length, self.linear.in_features)
        return 2 * self.linear.weight.numel() * length + sums
