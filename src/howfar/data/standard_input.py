"""Standard input as a file: copied to a nameless temporary file under a cap.

Idea     a copy can be hashed, guessed at and read twice, which a pipe cannot
Cap      1 GiB; an endless stream ends in an error, not in a full disk
"""

import errno
import io
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from howfar.core.errors import DataError, EnvironmentFault, UsageError

STDIN = "-"
CAP = 1 << 30
_CHUNK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def spooled() -> Iterator[IO[bytes]]:
    """All that standard input gives, in a file that is gone when closed.

    Raises:
        UsageError: E-STDIN where it is closed, or a terminal or folder: nothing waits for typing.
        DataError: E-EMPTY where it gives nothing, E-SIZE where it gives more than the cap.
        EnvironmentFault: E-READ, E-DISK.
    """
    stream = _stream()
    with tempfile.TemporaryFile() as file:
        size = 0
        while data := _read(stream):
            size += len(data)
            if size > CAP:
                raise DataError(
                    "E-SIZE",
                    f"Standard input gives more than {CAP / 2**30:g} GiB.",
                    "write it to a file and name that",
                )
            _write(file, data)
        if not size:
            raise DataError("E-EMPTY", "Nothing to read in standard input: no bytes.")
        _write(file, b"")
        file.seek(0)
        yield file


def _stream() -> IO[bytes]:
    hint = "name a file, or pipe one in: howfar ... - < FILE"
    given: Any = sys.stdin  # None where it is closed, whatever its annotation says
    if given is None or given.closed:
        raise UsageError("E-STDIN", "Standard input is closed.", hint)
    stream: IO[bytes] = given.buffer
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError, io.UnsupportedOperation):
        return stream  # no file at all: a stand-in, such as a test's
    if os.isatty(stream.fileno()):
        raise UsageError("E-STDIN", "Standard input is a terminal.", hint)
    if stat.S_ISDIR(mode):
        raise UsageError("E-STDIN", "Standard input is a folder.", hint)
    return stream


def _read(stream: IO[bytes]) -> bytes:
    try:
        return stream.read(_CHUNK) or b""
    except OSError as fault:
        raise EnvironmentFault("E-READ", f"Cannot read standard input: {fault}.") from fault


def _write(file: IO[bytes], data: bytes) -> None:
    try:
        file.write(data) if data else file.flush()
    except OSError as fault:
        code = "E-DISK" if fault.errno in _FULL else "E-WRITE"
        folder = tempfile.gettempdir()
        raise EnvironmentFault(
            code, f"Cannot keep standard input in {folder}: {fault}.", "set TMPDIR to a larger disk"
        ) from fault
