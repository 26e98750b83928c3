"""Documents as one running stream, an end after each, without a copy of them.

Idea     ends are put in where a stretch is read: the ids between them lie in the documents' own
         array, or in a mapped file of billions
Shapes   stretches of the stream, (sum of lengths,) int64, one after another
"""

import numpy as np
import numpy.typing as npt

from howfar.data.batches.lay import Rows
from howfar.data.ragged import Ragged, places, taken


class Stream:
    """The stream of `documents`; `end` follows each of them, or nothing if it is None.

    Attributes:
        bounds: (documents + 1,) where each document begins; its end stands last in it.
    """

    def __init__(self, documents: Ragged, end: int | None) -> None:
        self._flat = documents.flat
        self._first = int(documents.offsets[0])
        self._end = end
        self.bounds = documents.offsets - self._first
        if end is not None:
            self.bounds = self.bounds + np.arange(len(self.bounds))

    def __len__(self) -> int:
        return int(self.bounds[-1])

    def take(self, starts: Rows, lengths: Rows) -> npt.NDArray[np.int64]:
        """The stretches from each start on, one after another."""
        if self._end is None:
            return taken(self._flat, self._first + starts, lengths).astype(np.int64, copy=False)
        # Document k's end stands at bounds[k + 1] - 1: so many stand before a place.
        before = np.searchsorted(self.bounds[1:] - 1, starts)
        inside = np.searchsorted(self.bounds[1:] - 1, starts + lengths) - before
        found = np.empty(int(lengths.sum()), dtype=np.int64)
        offsets = np.cumsum(lengths) - lengths
        which = places(before, inside)  # documents whose end is read
        at = self.bounds[which + 1] - 1 + np.repeat(offsets - starts, inside)
        real = np.ones(len(found), dtype=np.bool_)
        real[at] = False
        found[at] = self._end
        found[real] = taken(self._flat, self._first + starts - before, lengths - inside)
        return found

    def cut(self, starts: Rows, width: int) -> npt.NDArray[np.int64]:
        """(starts, width) of equally long stretches."""
        return self.take(starts, np.full(len(starts), width, dtype=np.int64)).reshape(-1, width)
