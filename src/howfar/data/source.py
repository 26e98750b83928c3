"""Opening a file a user named: regular local files only, gzip under caps, unchanged while read.

Idea     open once without blocking, then ask the open file what it is; hash it when reading is over
Caps     a gzip file may grow to 200 times its size, or to 16 MiB where that is more; standard input
         may give 1 GiB
"-"      standard input, copied to a nameless file first, so that it can be hashed and read twice
"""

import gzip
import hashlib
import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from howfar.core.errors import DataError, EnvironmentFault, UsageError, closest
from howfar.data.faults import place
from howfar.data.standard_input import STDIN, spooled

GZIP_RATIO = 200
GZIP_FLOOR = 16 * 1024 * 1024

_REMOTE = re.compile(r"^(?:[A-Za-z][A-Za-z0-9+.-]*://|\\\\|file:)")
_GZIP = b"\x1f\x8b"
_PICKLE = ("it is a Python pickle", "pickles run code, so none is read: export it as CSV")
_MAGIC = {
    b"PK\x03\x04": ("it is a zip archive or a spreadsheet", "export it as CSV"),
    b"PK\x05\x06": ("it is an empty zip archive", "export the table as CSV"),
    b"\x28\xb5\x2f\xfd": ("it is Zstandard data", "unpack it, or pack it with gzip"),
    b"\xfd7zXZ\x00": ("it is xz data", "unpack it, or pack it with gzip"),
    **{
        b"BZh%d1AY&SY" % level: ("it is bzip2 data", "unpack it, or pack it with gzip")
        for level in range(1, 10)
    },
    b"7z\xbc\xaf\x27\x1c": ("it is a 7z archive", "unpack it"),
    b"\xd0\xcf\x11\xe0": ("it is an old spreadsheet or document", "export it as CSV"),
    b"%PDF-": ("it is a PDF document", "export its text"),
    b"\x93NUMPY": ("it is a NumPy array", "export it as CSV"),
    b"\x89HDF\r\n": ("it is HDF5 data", "export it as CSV"),
    **{bytes([0x80, protocol]): _PICKLE for protocol in (2, 3, 4, 5)},
}


def ending(path: str | os.PathLike[str]) -> str:
    """The file's ending in lower case, `.csv` or `.csv.gz`."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    return "".join(suffixes[-2:]) if suffixes[-1:] == [".gz"] else "".join(suffixes[-1:])


class Source:
    """The bytes of one open file, unpacked where it is gzip."""

    def __init__(self, path: str, file: IO[bytes], packed: bool | None = None) -> None:
        """`packed`: whether it is gzip; None: as its first bytes say."""
        self.path = path
        self.file = file
        self._opened = os.fstat(file.fileno())
        self.packed = file.read(2) == _GZIP if packed is None else packed
        self._cap = max(GZIP_FLOOR, GZIP_RATIO * self._opened.st_size) if self.packed else None
        self.rewind()
        self.head = self._rest
        self._refuse_archives()

    def rewind(self) -> None:
        """Start again at the first byte."""
        self.file.seek(0)
        self._stream: IO[bytes] = (
            gzip.GzipFile(fileobj=self.file) if self.packed else self.file  # type: ignore[assignment]
        )
        self._count = 0
        self._rest = b""
        self._rest = self.read(4096)

    def _refuse_archives(self) -> None:
        where = place(self.path)
        if self.head.startswith(_GZIP):
            why = "it holds another gzip file" if self.packed else "it is gzip data"
            hint = "unpack it, or let the name of a gzip file end in .gz"
            raise DataError("E-ARCHIVE", f"Cannot read {where}: {why}.", hint)
        for magic, (why, hint) in _MAGIC.items():
            if self.head.startswith(magic):
                raise DataError("E-FORMAT", f"Cannot read {where}: {why}.", hint)

    def read(self, size: int) -> bytes:
        """At most `size` bytes (the first call may give fewer); b"" at the end."""
        if self._rest:
            first, self._rest = self._rest, b""
            return first
        try:
            data = self._stream.read(size)
        except (gzip.BadGzipFile, EOFError, zlib.error) as broken:
            raise DataError(
                "E-ARCHIVE", f"Cannot unpack {place(self.path)}: {broken}.", "pack the file again"
            ) from broken
        except OSError as fault:
            raise EnvironmentFault("E-READ", f"Cannot read {place(self.path)}: {fault}.") from fault
        self._count += len(data)
        if self._cap is not None and self._count > self._cap:
            raise DataError(
                "E-ARCHIVE",
                f"Cannot unpack {place(self.path)}: it grows more than {GZIP_RATIO} times.",
                "unpack it yourself if you trust it",
            )
        return data

    def sha256(self) -> str:
        """Hash of the stored bytes; DataError E-CHANGED if the file was written to meanwhile."""
        self.file.seek(0)
        digest = hashlib.file_digest(self.file, "sha256").hexdigest()  # type: ignore[arg-type]
        now = os.fstat(self.file.fileno())
        if (now.st_size, now.st_mtime_ns) != (self._opened.st_size, self._opened.st_mtime_ns):
            raise DataError(
                "E-CHANGED",
                f"{place(self.path)} changed while it was read.",
                "read it again when done",
            )
        return digest


def check_local(name: str) -> None:
    """Raise UsageError E-REMOTE for an address: no request is ever made."""
    if _REMOTE.match(name):
        raise UsageError(
            "E-REMOTE",
            f"{place(name)} is an address; howfar reads local files.",
            "download it first",
        )


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Source]:
    """Open a regular local file, or standard input where the path is "-", for reading.

    Raises:
        UsageError: E-REMOTE for addresses, E-NO-FILE for anything that is not a regular file.
        EnvironmentFault: E-PERMISSION, E-READ.
        DataError: E-ARCHIVE, E-FORMAT where the content is an archive; E-EMPTY, E-SIZE where
            standard input gives nothing or too much.
    """
    name = os.fsdecode(path)
    if name == STDIN:
        with spooled() as file:
            yield Source(STDIN, file)
        return
    check_local(name)
    with os.fdopen(_descriptor(name), "rb") as file:
        yield Source(name, file, packed=ending(name).endswith(".gz"))


def _descriptor(name: str) -> int:
    # Without O_NONBLOCK, opening a FIFO waits for a writer for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(name, flags)
    except PermissionError as fault:
        if Path(name).is_dir():
            raise _not_a_file(name, "it is a folder") from fault
        raise EnvironmentFault(
            "E-PERMISSION", f"Permission denied for {place(name)}.", "check who may read the file"
        ) from fault
    except FileNotFoundError as fault:
        raise _missing(name) from fault
    except (OSError, ValueError) as fault:
        why = getattr(fault, "strerror", None) or str(fault)
        raise _not_a_file(name, why) from fault
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise _not_a_file(
            name, "it is a folder" if stat.S_ISDIR(mode) else "it is not a regular file"
        )
    return descriptor


def _not_a_file(name: str, why: str) -> UsageError:
    return UsageError("E-NO-FILE", f"Cannot read {place(name)}: {why}.", "give the path of a file")


def _missing(name: str) -> UsageError:
    folder = Path(name).parent
    try:
        known = [entry.name for entry in folder.iterdir()]
    except OSError:
        return UsageError("E-NO-FILE", f"No file {place(name)}: its folder cannot be read.")
    near = closest(Path(name).name, known)
    return UsageError("E-NO-FILE", f"No file {place(name)}. {near}".strip(), "check the path")
