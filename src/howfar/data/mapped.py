"""Token ids in a file, read through a memory map: a corpus may be far larger than memory.

Idea     an Arrow IPC file of record batches of 4,194,304 ids each, so that the place of an id
         follows from its number; any Arrow reader can open it
Memory   pages stay resident as long as they are mapped, so the map is dropped and made again after
         256 MB were touched; a touch counts at least 2 MB, since a system with large pages in its
         file cache maps a whole one
Shapes   one column "ids", (tokens,) of the smallest of uint8, uint16 and uint32 that holds them
"""

import contextlib
import mmap
import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from howfar.core.disk import Entry, saying, sync_folder, write_new
from howfar.core.errors import StoreError
from howfar.core.leftovers import held
from howfar.data.faults import place

ROWS = 1 << 22
_TOUCHED = 256 << 20
_LEAST = 2 << 20
_TYPES = (np.uint8, np.uint16, np.uint32)

AnyIds = npt.NDArray[Any]


def narrowest(vocabulary: int) -> np.dtype[Any]:
    """The smallest unsigned type that holds the ids below `vocabulary`."""
    return np.dtype(next(kind for kind in _TYPES if vocabulary - 1 <= np.iinfo(kind).max))


@dataclass(frozen=True, slots=True)
class Written:
    """How many ids went to a file, and its size and hash."""

    count: int
    entry: Entry


def write_ids(path: Path, chunks: Iterable[AnyIds], *, vocabulary: int | None = None) -> Written:
    """Write ids to a file, whole or not at all.

    Args:
        path: of the new file; an older one is replaced.
        chunks: stretches of ids, (tokens,) of any integer type.
        vocabulary: number of ids, which sets the type; without it that of the first chunk where
            it is unsigned, else uint32.

    Raises:
        ValueError: an id that does not fit.
        EnvironmentFault: E-DISK, E-PERMISSION or E-WRITE, with path, size and free space.
    """
    counts: list[int] = []
    with held(path, "tmp") as beside, saying(path):
        try:
            entry = write_new(
                beside, lambda file: counts.append(_write(file, chunks, vocabulary)), "file", path
            )
            beside.replace(path)
            sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            raise
    return Written(counts[0], entry)


def _write(file: IO[bytes], chunks: Iterable[AnyIds], vocabulary: int | None) -> int:
    source = iter(chunks)
    first = next(source, np.empty(0, dtype=np.uint8))
    if vocabulary is not None:
        kind = narrowest(vocabulary)
    else:
        kind = first.dtype if first.dtype in _TYPES else np.dtype(np.uint32)
    most = np.iinfo(kind).max if vocabulary is None else vocabulary - 1
    schema = pa.schema([pa.field("ids", pa.from_numpy_dtype(kind), nullable=False)])
    count = 0
    with pa.ipc.new_file(file, schema) as writer:
        for ids in _batches(_checked(source, first, most), kind):
            writer.write_batch(pa.record_batch([pa.array(ids)], schema=schema))
            count += len(ids)
    return count


def _checked(source: Iterator[AnyIds], first: AnyIds, most: int) -> Iterator[AnyIds]:
    ids: AnyIds | None = first
    while ids is not None:
        if ids.size and (ids.min() < 0 or ids.max() > most):
            raise ValueError(f"An id is outside 0 to {most}.")
        yield ids
        ids = next(source, None)


def _batches(chunks: Iterator[AnyIds], kind: np.dtype[Any]) -> Iterator[AnyIds]:
    """The ids in arrays of `ROWS`, the last one shorter."""
    full = np.empty(ROWS, dtype=kind)
    filled = 0
    for ids in chunks:
        start = 0
        while start < len(ids):
            part = ids[start : start + ROWS - filled]
            full[filled : filled + len(part)] = part
            filled += len(part)
            start += len(part)
            if filled == ROWS:
                yield full
                filled = 0
    if filled:
        yield full[:filled]


class MappedIds:
    """Ids of a file that `write_ids` wrote; slices are copies, so nothing keeps the map alive.

    The file is held open: one that takes its name later is not read. Threads may share it.

    Raises:
        StoreError: E-DAMAGED for a missing, cut or foreign file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._touched = 0
        try:
            self._file = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            self._closed = weakref.finalize(self, os.close, self._file)
            self._map = self._mapped()
            self.dtype, self._starts, self._count = _layout(self._map)
        except (OSError, ValueError, pa.ArrowException) as fault:
            raise StoreError(
                "E-DAMAGED",
                f"Cannot read the token file {place(str(self.path))}: {fault}.",
                "remove it, so that it is written again",
            ) from fault
        self._renew()

    def __len__(self) -> int:
        return self._count

    def __reduce__(self) -> tuple[type["MappedIds"], tuple[Path]]:
        """Another process opens the file itself."""
        return MappedIds, (self.path,)

    def __array__(self, *_: object, **__: object) -> AnyIds:
        """Refuse to be read as a whole: it may be larger than memory."""
        raise TypeError("Token files are read in slices: ids[a:b].")

    def __getitem__(self, index: slice) -> AnyIds:
        """A copy of ids[a:b], in the file's type."""
        start, stop, step = index.indices(self._count)
        if step != 1:
            raise ValueError("Token files are read with step 1.")
        ids = np.empty(max(0, stop - start), dtype=self.dtype)
        # In parts, so that a long slice does not hold the whole file resident.
        for at in range(0, len(ids), ROWS):
            part = ids[at : at + ROWS]
            with self._lock:
                self._fill(part, start + at)
        return ids

    def cut(self, starts: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.int64]:
        """(starts, width) int64: the windows that begin at `starts`.

        Raises:
            IndexError: a window that is not wholly inside.
        """
        if len(starts) and (starts.min() < 0 or starts.max() + width > self._count):
            raise IndexError(f"A window of {width:,} ids is outside 0 to {self._count:,}.")
        windows = np.empty((len(starts), width), dtype=np.int64)
        for window, start in zip(windows, starts.tolist(), strict=True):
            window[:] = self[start : start + width]
        return windows

    def close(self) -> None:
        """Give the file back; reading afterwards fails."""
        with self._lock:
            self._map.close()
            self._closed()

    def _fill(self, into: AnyIds, start: int) -> None:
        done = 0
        while done < len(into):
            batch, inside = divmod(start + done, ROWS)
            count = min(len(into) - done, ROWS - inside)
            offset = self._starts[batch] + inside * self.dtype.itemsize
            into[done : done + count] = np.frombuffer(self._map, self.dtype, count, offset)
            done += count
        self._touched += max(_LEAST, into.nbytes)
        if self._touched > _TOUCHED:
            self._renew()

    def _renew(self) -> None:
        self._map.close()
        self._map = self._mapped()
        self._touched = 0

    def _mapped(self) -> mmap.mmap:
        return mmap.mmap(self._file, 0, access=mmap.ACCESS_READ)


def _layout(mapped: mmap.mmap) -> tuple[np.dtype[Any], list[int], int]:
    """Type, where each batch's ids begin in the file, and how many there are.

    Raises:
        ValueError, pyarrow.ArrowException: a file of another form.
    """
    whole = pa.py_buffer(mapped)
    reader = pa.ipc.open_file(whole)
    if reader.schema.names != ["ids"] or not pa.types.is_unsigned_integer(reader.schema.types[0]):
        raise ValueError("it does not hold token ids")
    kind = np.dtype(reader.schema.types[0].to_pandas_dtype())
    starts, count = [], 0
    for number in range(reader.num_record_batches):
        column = reader.get_batch(number).column(0)
        if count % ROWS or not 0 < len(column) <= ROWS or column.null_count or column.offset:
            raise ValueError("its record batches are not those of a token file")
        data = column.buffers()[1]
        starts.append(data.address - whole.address)
        count += len(column)
        if starts[-1] < 0 or starts[-1] + len(column) * kind.itemsize > whole.size:
            raise ValueError("a record batch lies outside of it")
    return kind, starts, count
