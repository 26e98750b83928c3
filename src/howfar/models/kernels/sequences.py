"""How sequences lie in memory: step by step, or row by row.

Idea     a scan over (L, B, X) is given either a tensor that lies so, or the transpose of one that
         lies (B, L, X), as every block has them. A compiled scan walks through both as they are:
         step t of row b is vector `t * by_step + b * by_row`. Nothing is copied and the gradient
         lies as its tensor does
Shapes   x (L, B, X); flat (L B, X), contiguous
"""

from typing import NamedTuple

from torch import Tensor

from howfar.models.kernels.memory import empty


class Order(NamedTuple):
    """Where a vector lies."""

    length: int
    by_step: int
    by_row: int

    @classmethod
    def of(cls, x_LBX: Tensor) -> "Order":
        """Row by row where the tensor lies so, else step by step."""
        length, rows = x_LBX.shape[:2]
        if x_LBX.transpose(0, 1).is_contiguous():
            return cls(length, 1, length)
        return cls(length, rows, 1)

    @property
    def rows_first(self) -> bool:
        """Whether the steps of one row lie beside each other."""
        return self.by_row == self.length and self.by_step == 1

    def flat(self, x_LBX: Tensor) -> Tensor:
        """(L B, X) in this order, copied only where the tensor lies otherwise."""
        x = x_LBX.transpose(0, 1) if self.rows_first else x_LBX
        return x.contiguous().flatten(0, 1)

    def shaped(self, x_RX: Tensor, rows: int) -> Tensor:
        """(L, B, X), a view of what lies flat."""
        if self.rows_first:
            return x_RX.view(rows, self.length, x_RX.shape[1]).transpose(0, 1)
        return x_RX.view(self.length, rows, x_RX.shape[1])


def earlier(order: Order, h_LBD: Tensor, h0_BD: Tensor) -> Tensor:
    """The state before each step, h_0 .. h_{L-1}, flat in this order."""
    length, rows, width = h_LBD.shape
    before_RD = empty(h_LBD, length * rows, width)
    before_LBD = order.shaped(before_RD, rows)
    before_LBD[1:] = h_LBD[:-1]
    before_LBD[:1] = h0_BD
    return before_RD
