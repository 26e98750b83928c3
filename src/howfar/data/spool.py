"""Rows of a table in a nameless file: a table may be far larger than memory.

Idea     each row is written once, as the values of its cells; a column is a view that reads rows in
         stretches, and a view of some rows is their numbers
Memory   8 bytes a row for its place, and 8 more in each view of some rows
File     without a name, so that nothing is left behind, however the process ends
"""

import marshal
import tempfile
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt

from howfar.core.disk import saying

T = TypeVar("T", covariant=True)
S = TypeVar("S", bound=Sized)
Numbers = npt.NDArray[np.int64]
_WRITTEN = 1 << 20  # bytes gathered before they are written
_READ = 1 << 20  # bytes read at once, and the rest of the last row
_AT_ONCE = 1 << 16  # rows whose numbers are looked at together


class Spool:
    """Rows that were written, by number; threads may share it.

    Args:
        folder: where the file lies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._offsets = array("q", [0])
        self._waiting = bytearray()
        self._written = 0
        self._lock = threading.Lock()
        with saying(folder):
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - gone with this object

    def append(self, row: Sequence[object]) -> None:
        """Write one row: texts, bytes, numbers, truth values, None, and lists and dicts of them.

        Raises:
            EnvironmentFault: E-DISK, E-WRITE.
        """
        # What this process wrote itself, and it alone reads: marshal keeps each value as it is.
        self._waiting += marshal.dumps(list(row))
        self._offsets.append(self._written + len(self._waiting))
        if len(self._waiting) >= _WRITTEN:
            self._write()

    def _write(self) -> None:
        with saying(self.folder, len(self._waiting)):
            self._file.seek(self._written)
            self._file.write(self._waiting)
            self._file.flush()
        self._written += len(self._waiting)
        self._waiting.clear()

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __del__(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()

    def rows(self, numbers: Sequence[int] | Numbers) -> Iterator[list[Any]]:
        """The rows of these numbers, in this order; neighbours are read together."""
        if self._waiting:
            self._write()
        for start in range(0, len(numbers), _AT_ONCE):
            wanted = np.asarray(numbers[start : start + _AT_ONCE], dtype=np.int64).tolist()
            yield from self._some(wanted)

    def _some(self, wanted: list[int]) -> Iterator[list[Any]]:
        offsets, done = self._offsets, 0
        while done < len(wanted):
            first = last = wanted[done]
            most, stop = offsets[first] + _READ, done + 1
            while stop < len(wanted) and last <= wanted[stop] and offsets[wanted[stop]] < most:
                last, stop = wanted[stop], stop + 1
            start = offsets[first]
            data = memoryview(self._at(start, offsets[last + 1] - start))
            for number in wanted[done:stop]:
                yield marshal.loads(data[offsets[number] - start : offsets[number + 1] - start])
            done = stop

    def size(self, numbers: Sequence[int] | Numbers) -> int:
        """Bytes of these rows in the file, about those of their texts."""
        at = np.asarray(numbers, dtype=np.int64)
        offsets = np.frombuffer(self._offsets, dtype=np.int64)
        return int((offsets[at + 1] - offsets[at]).sum())

    def _at(self, start: int, size: int) -> bytes:
        with self._lock, saying(self.folder):
            self._file.seek(start)
            return self._file.read(size)


class Stored(Sequence[T], Generic[T]):
    """Something of each of some rows of a spool, made when it is read.

    Args:
        spool: the rows.
        numbers: (n,) which of them, in this order.
        make: from the values of a row to what is wanted of it.
    """

    def __init__(self, spool: Spool, numbers: Numbers, make: Callable[[list[Any]], T]) -> None:
        self.spool, self.numbers, self.make = spool, numbers, make

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> "Stored[T]": ...
    def __getitem__(self, index: int | slice) -> "T | Stored[T]":
        if isinstance(index, slice):
            return Stored(self.spool, self.numbers[index], self.make)
        return next(iter(Stored(self.spool, self.numbers[[index]], self.make)))

    def __iter__(self) -> Iterator[T]:
        return map(self.make, self.spool.rows(self.numbers))

    def take(self, rows: Sequence[int] | Numbers) -> "Stored[T]":
        """Those at these places, in this order."""
        return Stored(self.spool, self.numbers[np.asarray(rows, dtype=np.int64)], self.make)

    @property
    def size(self) -> int:
        """Bytes of the rows in their file."""
        return self.spool.size(self.numbers)


def some(values: Sequence[Any], rows: Sequence[int] | Numbers) -> Sequence[Any]:
    """The values at these places: in memory where they are in memory, else a view."""
    if isinstance(values, Stored):
        return values.take(rows)
    if isinstance(values, array):
        found = np.frombuffer(values, dtype=values.typecode)[np.asarray(rows, dtype=np.int64)]
        return array(values.typecode, found.tobytes())
    at = rows.tolist() if isinstance(rows, np.ndarray) else rows
    return tuple(values[i] for i in at)


def chunks(values: Iterable[S], most: int) -> Iterator[list[S]]:
    """The values in order, about so many letters or ids at a time."""
    found: list[S] = []
    size = 0
    for value in values:
        found.append(value)
        size += len(value) + 1
        if size >= most:
            yield found
            found, size = [], 0
    if found:
        yield found
