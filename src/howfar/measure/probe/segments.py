"""Stretches of positions to compare, the changed rows compared there, and what is handed back.

Shapes   tokens (N, L) or (N, L, D); outputs of a block (R, P, V) for R rows and P positions
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Changed:
    """Rows with other tokens at places first .. last - 1, out of `given` (N, L) or (N, L, D).

    donor: (N,) rows whose own tokens stand before the segment; None: the row's own do.
    """

    given: Tensor
    first: int
    last: int
    donor: Tensor | None = None

    def tokens(self, own: Tensor, rows: Tensor) -> Tensor:
        """Some rows of the changed tokens: (R, L) or (R, L, D)."""
        here = slice(self.first, self.last)
        changed = own[rows]
        changed[:, here] = self.given[rows][:, here]
        return changed


@dataclass(frozen=True, slots=True)
class Segment:
    """Positions begin .. end - 1 to compare, and the changed rows to compare there."""

    begin: int
    end: int
    changed: tuple[Changed, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows at some positions of a segment.

    rows: (R,) numbers; segment, changed: which; first: the first position. clean, other: (R, P, V).
    """

    rows: Tensor
    segment: int
    changed: int
    first: int
    clean: Tensor
    other: Tensor

    @property
    def last(self) -> int:
        """One more than the last position."""
        return self.first + self.clean.shape[1]

    @property
    def largest(self) -> float:
        """Of the clean answers that are finite, the largest size."""
        size = float(self.clean.abs().amax())
        if size < torch.inf:
            return size
        return float(self.clean.where(self.clean.isfinite(), 0).abs().amax())
