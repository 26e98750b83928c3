"""Many rows of ids in one flat array: as small in memory as the ids, and mappable from a file.

Idea     row i is flat[offsets[i] : offsets[i + 1]]
Shapes   flat (tokens,) of any integer type, offsets (rows + 1,) int64
Memory   rows joined from an iterator are held once; a slice of rows is a view
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Protocol, TypeAlias, overload, runtime_checkable

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]
Offsets = npt.NDArray[np.int64]
_AT_ONCE = 1 << 22  # ids compared at once
_READ = 1 << 18  # ids read at once, where rows are walked in order


@runtime_checkable
class Mapped(Protocol):
    """A flat array of ids in a file, read piece by piece."""

    def __len__(self) -> int:
        """How many ids."""
        ...

    def __getitem__(self, index: slice, /) -> npt.NDArray[Any]:
        """The ids of a slice."""
        ...

    def cut(self, starts: Offsets, width: int) -> npt.NDArray[np.int64]:
        """(starts, width): the ids from each start on."""
        ...


Flat: TypeAlias = npt.NDArray[Any] | Mapped


class Ragged(Sequence[Ids]):
    """Rows of different lengths. `flat` may lie in a mapped file: rows are copied out of it."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, flat: Flat, offsets: Offsets) -> None:
        self.flat: Any = flat
        self.offsets = offsets

    @classmethod
    def of(cls, rows: Iterable[npt.ArrayLike], dtype: npt.DTypeLike = np.int32) -> "Ragged":
        """Rows joined into one array, which grows in place: no second copy is held."""
        held, ends = bytearray(), array("q", [0])
        total = 0
        for row in rows:
            found = np.ascontiguousarray(row, dtype=dtype)
            held += found.data
            total += len(found)
            ends.append(total)
        return cls(np.frombuffer(held, dtype=dtype), np.frombuffer(ends, dtype=np.int64))

    @classmethod
    def whole(cls, flat: Flat) -> "Ragged":
        """One row: all of `flat`, which is not copied."""
        return cls(flat, np.asarray([0, len(flat)], dtype=np.int64))

    @property
    def lengths(self) -> Offsets:
        """(rows,) tokens of each row."""
        return np.diff(self.offsets)

    @property
    def num_tokens(self) -> int:
        """Tokens of all rows."""
        return int(self.offsets[-1] - self.offsets[0])

    def take(self, rows: npt.ArrayLike) -> "Ragged":
        """The rows at these places, in this order, copied."""
        chosen = np.asarray(rows, dtype=np.int64)
        starts = self.offsets[chosen]
        lengths = self.offsets[chosen + 1] - starts
        offsets = np.zeros(len(chosen) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return Ragged(taken(self.flat, starts, lengths), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> Ids: ...
    @overload
    def __getitem__(self, index: slice) -> "Ragged": ...
    def __getitem__(self, index: int | slice) -> "Ids | Ragged":
        """Row `index` as int32; a slice of rows as a `Ragged`, a view where they are neighbours."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                return self.take(np.arange(start, stop, step))
            return self._between(start, max(start, stop))
        place = range(len(self))[index]  # refuses what is out of range, counts from the end
        row: Ids = np.asarray(
            self.flat[self.offsets[place] : self.offsets[place + 1]], dtype=np.int32
        )
        return row

    def __iter__(self) -> Iterator[Ids]:
        if isinstance(self.flat, np.ndarray):
            yield from (self[i] for i in range(len(self)))
            return
        start = 0
        while start < len(self):
            # Neighbours are read together, up to so many ids, or one longer row.
            most = self.offsets[start] + _READ
            stop = max(start + 1, int(np.searchsorted(self.offsets, most, side="right")) - 1)
            bounds = (self.offsets[start : stop + 1] - self.offsets[start]).tolist()
            read = np.asarray(self.flat[self.offsets[start] : self.offsets[stop]], dtype=np.int32)
            yield from (read[first:last] for first, last in pairwise(bounds))
            start = stop

    def __eq__(self, other: object) -> bool:
        """Whether the rows are the same; their integer types and where they lie may differ."""
        if not isinstance(other, Ragged):
            return NotImplemented
        if not np.array_equal(self.lengths, other.lengths):
            return False
        mine, theirs = int(self.offsets[0]), int(other.offsets[0])
        return all(
            np.array_equal(
                self.flat[mine + at : mine + min(at + _AT_ONCE, self.num_tokens)],
                other.flat[theirs + at : theirs + min(at + _AT_ONCE, self.num_tokens)],
            )
            for at in range(0, self.num_tokens, _AT_ONCE)
        )

    def _between(self, start: int, stop: int) -> "Ragged":
        offsets = self.offsets[start : stop + 1]
        if not isinstance(self.flat, np.ndarray):
            return Ragged(self.flat, offsets)
        # Counted from its own first token, so that a pickled slice takes no more along.
        return Ragged(self.flat[offsets[0] : offsets[-1]], offsets - offsets[0])


def taken(flat: Flat, starts: Offsets, lengths: Offsets) -> npt.NDArray[Any]:
    """(sum of lengths,) ids of several stretches of `flat`, one after another."""
    if isinstance(flat, np.ndarray):
        found: npt.NDArray[Any] = flat[places(starts, lengths)]
        return found
    if len(starts) and lengths[0] > 0 and (lengths == lengths[0]).all():
        return flat.cut(starts, int(lengths[0])).reshape(-1)
    pieces = [flat[a : a + n] for a, n in zip(starts.tolist(), lengths.tolist(), strict=True)]
    return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int64)


def places(starts: Offsets, lengths: Offsets) -> Offsets:
    """(sum of lengths,) the numbers start, start + 1, ... of every stretch."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    found: Offsets = np.repeat(starts - (ends - lengths), lengths) + np.arange(total)
    return found
