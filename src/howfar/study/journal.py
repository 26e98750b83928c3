r"""An append-only file of records that tells a torn end from damage.

Idea     one record a line, `LENGTH CRC32 JSON\n` with 8 hexadecimal digits each; the JSON is ASCII,
         so a line feed only ever ends a record. A record is written whole again and compared, so
         that no byte of it may differ
Torn     what follows the last line feed, while it is shorter than its LENGTH says: a writer died
         or the disk was full, and nobody was told that it was kept. Zeros at the end count as
         nothing: a power cut may leave them. Whatever else does not fit is damage
Lock     `flock` where the file system has one, for cutting a torn end; each append is one write at
         the end of the file, whole without a lock too
"""

import contextlib
import errno
import fcntl
import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from howfar.core.disk import named, saying, sync_folder
from howfar.core.errors import EnvironmentFault, StoreError

LOCK_SECONDS = 30.0
SETTLE_SECONDS = 0.05  # a torn end that another process is still writing has grown by then
_HEAD = 18  # bytes before the JSON
_PIECE = 1 << 16


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add one record; it is on the disk when this returns. A torn end is cut first.

    Raises:
        ValueError: NaN or infinity in the record.
        StoreError: E-STORE, the end of the file is damaged.
        EnvironmentFault: E-DISK, E-PERMISSION or E-WRITE, and the file ends as it did; E-LOCKED.
    """
    path = Path(path)
    line = _line(json.dumps(dict(record), allow_nan=False).encode("ascii"))
    with saying(path, len(line)), _locked(path, os.O_CREAT) as descriptor:
        _cut(descriptor, path)
        new = os.fstat(descriptor).st_size == 0
        _write(descriptor, line)
        if new:
            sync_folder(path.parent)


def read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """All whole records, and the bytes of a torn end that were ignored. No file: no records.

    Raises:
        StoreError: E-STORE, with the byte at which a damaged record starts.
        EnvironmentFault: E-READ.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        message = f"Cannot read {named(path)}: {error.strerror or error}."
        raise EnvironmentFault("E-READ", message, "look at the file and its permissions") from error
    records, start = [], 0
    while end := data.find(b"\n", start) + 1:
        records.append(_record(data[start:end], path, start))
        start = end
    _check_torn(data[start:], path, start)
    return records, len(data) - start


def mend(path: Path) -> int:
    """Cut a torn end off; returns its bytes.

    Raises:
        StoreError: E-STORE, the end of the file is damaged.
        EnvironmentFault: E-PERMISSION, E-WRITE, E-LOCKED.
    """
    path = Path(path)
    with saying(path), _locked(path) as descriptor:
        cut = _cut(descriptor, path)
        os.fsync(descriptor)
    return cut


def _line(text: bytes) -> bytes:
    return b"%08x %08x %s\n" % (len(text), zlib.crc32(text), text)


def _record(line: bytes, path: Path, start: int) -> dict[str, Any]:
    text = line[_HEAD:-1]
    if line != _line(text):
        raise _damaged(path, start)
    found = json.loads(text)
    if not isinstance(found, dict):
        raise _damaged(path, start)
    return found


def _check_torn(tail: bytes, path: Path, start: int) -> None:
    """Refuse an end that no torn write leaves."""
    left = tail.rstrip(b"\0")
    if len(left) >= _HEAD:
        try:
            whole = _HEAD + int(left[:8], 16) + 1
        except ValueError:
            whole = 0
        if len(left) + (len(left) < len(tail)) >= whole:
            raise _damaged(path, start)


def _damaged(path: Path, start: int) -> StoreError:
    message = f"{named(path)} is damaged: the record at byte {start:,} is not as it was written."
    hint = f"howfar study repair {named(path.parent)}"
    return StoreError("E-STORE", message, hint)


@contextlib.contextmanager
def _locked(path: Path, more: int = 0) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | more, 0o666)
    try:
        _lock(descriptor, path)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    patience = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= patience:
                message = f"{named(path)} is locked by another process."
                hint = "end that process, or let it go on where it is stopped"
                raise EnvironmentFault("E-LOCKED", message, hint) from error
            time.sleep(0.005)
        except OSError:  # a file system without locks
            return None


def _cut(descriptor: int, path: Path) -> int:
    start, tail = _tail(descriptor)
    if not tail:
        return 0
    time.sleep(SETTLE_SECONDS)
    if _tail(descriptor) != (start, tail):
        return 0  # it was no torn end, but a record on its way
    _check_torn(tail, path, start)
    os.ftruncate(descriptor, start)
    return len(tail)


def _tail(descriptor: int) -> tuple[int, bytes]:
    """What follows the last line feed, and where."""
    start, tail = os.fstat(descriptor).st_size, b""
    while start > 0:
        step = min(start, _PIECE)
        piece = os.pread(descriptor, step, start - step)
        tail, start = piece + tail, start - step
        if b"\n" in piece:
            kept = tail.rindex(b"\n") + 1
            return start + kept, tail[kept:]
    return start, tail


def _write(descriptor: int, line: bytes) -> None:
    done = 0
    try:
        while done < len(line):  # one write, but where the disk is nearly full
            written = os.write(descriptor, line[done:])
            if written == 0:
                raise OSError(errno.EIO, "nothing was written")
            done += written
        os.fsync(descriptor)
    except OSError:
        end = os.lseek(descriptor, 0, os.SEEK_CUR)
        with contextlib.suppress(OSError):
            if done and os.fstat(descriptor).st_size == end:
                os.ftruncate(descriptor, end - done)
        raise
