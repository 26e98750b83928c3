"""Rows with a target each: one class, several labels, a number, or a class a token.

Shapes   targets (B,) int64, (B, C) float32, (B,) float32, or (B, L) int64 with `IGNORED` on padding
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from howfar.core.batch import IGNORED, Batch
from howfar.data.batches.lay import Rows, laid
from howfar.data.examples import Examples
from howfar.data.ragged import Ragged, taken


class Maker(Protocol):
    """What an aim makes of the rows of one part.

    widths: (n, k) padded lengths of each row. alike: all rows have the same lengths, and may be too
    many to hold an order of. tokens: real ones of all rows, as a batch counts.
    """

    widths: npt.NDArray[np.int64]
    alike: bool
    tokens: int

    def batch(self, rows: Rows, epoch: int) -> Batch:
        """These rows, as they are in this epoch."""
        ...


class Targeted:
    """The `Maker` of rows that have their targets."""

    def __init__(self, part: Examples, *, pack: bool) -> None:
        _check_targets(part)
        self._part, self._pack = part, pack
        self.widths = part.ids.lengths[:, None]
        self.alike = False
        self.tokens = part.ids.num_tokens

    def batch(self, rows: Rows, epoch: int) -> Batch:
        """Tokens (B, L) or packed (1, T), and the rows' targets."""
        flat, lengths = gathered(self._part.ids, rows)
        if isinstance(self._part.targets, Ragged):
            found, _ = gathered(self._part.targets, rows)
            targets = laid(found, lengths, pack=self._pack, filler=IGNORED)
        else:
            targets = torch.from_numpy(np.asarray(self._part.targets)[rows])
        tokens = laid(flat, lengths, pack=self._pack)
        return Batch(tokens, torch.from_numpy(lengths), targets, packed=self._pack)


def gathered(ids: Ragged, rows: Rows) -> tuple[npt.NDArray[np.int64], Rows]:
    """(T,) ids of these rows, one after another, and (B,) their lengths."""
    starts = ids.offsets[rows]
    lengths = ids.offsets[rows + 1] - starts
    return taken(ids.flat, starts, lengths).astype(np.int64, copy=False), lengths


def _check_targets(part: Examples) -> None:
    if part.targets is None or len(part.targets) != len(part):
        raise ValueError("Every row needs its target.")
    if isinstance(part.targets, Ragged) and not np.array_equal(
        part.targets.lengths, part.ids.lengths
    ):
        raise ValueError("Every token needs its target.")
