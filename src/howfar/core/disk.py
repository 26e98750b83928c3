"""Writing that outlives a power cut, and a plain word when the disk will not have it.

Idea     bytes go to a temporary name beside the target and are fsynced; a rename then puts them in
         place, and an fsync of the folder makes the name last
Errors   every OSError becomes an EnvironmentFault with the path, and sizes where the disk is full
"""

import contextlib
import errno
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from howfar.core.errors import EnvironmentFault, shown
from howfar.core.failpoints import reached
from howfar.core.leftovers import held

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Write = Callable[[IO[bytes]], None]
BUFFER_BYTES = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Entry:
    """One file as it should be: its size in bytes and the SHA-256 of its bytes."""

    size: int
    sha256: str


class _Hashed(io.RawIOBase):
    """A descriptor that counts and hashes what is written through it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.descriptor, self.size, self.digest = descriptor, 0, hashlib.sha256()
        self.tried, self.given_up = 0, False

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size

    def write(self, data: "ReadableBuffer", /) -> int:
        view = memoryview(data).cast("B")
        left = view[len(view) :] if self.given_up else view
        self.tried = max(self.tried, self.size + len(left))
        while len(left):
            written = os.write(self.descriptor, left)
            if written == 0:
                raise OSError(errno.EIO, "nothing was written")
            self.digest.update(left[:written])
            self.size += written
            left = left[written:]
        return len(view)


def write_new(path: Path, content: bytes | Write, point: str, final: Path) -> Entry:
    """Write a file that must not exist yet, and fsync it.

    point: the prefix of its failpoints. final: where it will be, for messages.

    Raises:
        EnvironmentFault: E-DISK, E-PERMISSION or E-WRITE.
    """
    raw = None
    try:
        descriptor = os.open(path, _NEW, 0o666)
        try:
            raw = _Hashed(descriptor)
            _pour(raw, content)
            reached(f"{point}:after_write")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        reached(f"{point}:after_fsync")
    except OSError as error:
        raise fault(error, final, raw.tried if raw else 0) from error
    return Entry(raw.size, raw.digest.hexdigest())


def _pour(raw: _Hashed, content: bytes | Write) -> None:
    if isinstance(content, bytes):
        raw.write(content)
        return
    out = io.BufferedWriter(raw, BUFFER_BYTES)
    try:
        content(out)
        if not out.closed:
            out.flush()
    except BaseException:
        raw.given_up = True  # or what is still in the buffer would be tried again on closing
        raise
    finally:
        if not out.closed:
            out.detach()


def write_file(path: Path, data: bytes | Write) -> None:
    """Put `data` at `path` in one step: after a crash there is the old file or the new one.

    data: what is to stand there, or what writes it to the open file.

    Raises:
        EnvironmentFault: E-DISK, E-PERMISSION or E-WRITE; the old file is then as it was.
    """
    path = Path(path)
    size = len(data) if isinstance(data, bytes) else 0
    with held(path, "tmp") as temporary, saying(path, size):
        try:
            write_new(temporary, data, "file", path)
            os.replace(temporary, path)  # noqa: PTH105 - the tests watch every call on `os`
            reached("file:after_rename")
            sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last. Raises OSError, but not where folders have no fsync."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder and those above it, each with a name that lasts. Raises OSError."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder)  # noqa: PTH102 - the tests watch every call on `os`
    sync_folder(folder.parent)


def check_writable(folder: Path, needed: int) -> None:
    """Create `folder` where it is missing, write a probe file and compare the free space.

    needed: bytes that will be written later.

    Raises:
        EnvironmentFault: E-PERMISSION, E-DISK (needed and free bytes) or E-WRITE.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow links
    with held(folder / "probe", "tmp") as probe, saying(folder, needed):
        make_folder(folder)
        try:
            write_new(probe, b"probe", "file", folder)
        finally:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)
        check_space(folder, needed)


def check_space(folder: Path, needed: int) -> None:
    """Raise OSError (no space) where less than `needed` bytes are free."""
    free = free_bytes(folder)
    if free is not None and free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def free_bytes(path: Path) -> int | None:
    """Bytes free for this user where `path` is or would be; None where that cannot be known."""
    for place in (path, *path.parents):
        try:
            return shutil.disk_usage(place).free
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return None
    return None


@contextlib.contextmanager
def saying(path: Path, needed: int = 0) -> Iterator[None]:
    """Turn an OSError into the EnvironmentFault that names `path` and the bytes needed and free."""
    try:
        yield
    except OSError as error:
        raise fault(error, path, needed) from error


def fault(error: OSError, path: Path, needed: int = 0) -> EnvironmentFault:
    """E-DISK, E-PERMISSION or E-WRITE for what the system said while writing."""
    where, why = named(path), error.strerror or str(error)
    if error.errno in _FULL:
        free = free_bytes(path)
        room = "unknown" if free is None else f"{free:,} bytes"
        message = f"No room to write {where} ({why}): needed {needed:,} bytes, free {room}."
        return EnvironmentFault("E-DISK", message, "free some space, or choose another folder")
    if error.errno in _FORBIDDEN:
        message = f"Not allowed to write {where}: {why}."
        return EnvironmentFault("E-PERMISSION", message, "a folder that you may write to")
    message = f"Cannot write {where}: {why}."
    return EnvironmentFault("E-WRITE", message, "look at the folder and the disk it is on")


def named(path: Path) -> str:
    """The path, escaped where it does not print."""
    return str(path) if str(path).isprintable() else shown(path, 400)
