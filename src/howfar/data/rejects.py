"""The list of rows left out: one JSON object a row, with the line, the reason and the row itself.

Idea     rows wait in a nameless file, so that a million of them cost no memory, and the list
         appears whole or not at all
Fields   line (physical, from 1), record (rows of data counted from 1, None where not known), code,
         reason, column, raw (the row as it stands, cut at 1,000 characters)
"""

import errno
import json
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import IO

from howfar.core.errors import EnvironmentFault, UsageError
from howfar.data.faults import RAW_KEPT, Fault, place

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Rejects:
    """Gathers rejected rows; `publish` writes all of them to the path, and may be called again."""

    def __init__(self, path: str | os.PathLike[str], source: str) -> None:
        """`source`: the file being read, which must not be written over.

        Raises:
            UsageError: E-OPTION. EnvironmentFault: E-PERMISSION where the folder is missing or
                closed.
        """
        self.path = Path(path)
        self.count = 0
        if _same(self.path, source):
            message = f"The rejects cannot be written to {place(source)}: it is the file to read."
            raise UsageError("E-OPTION", message, "--rejects rejects.jsonl")
        if not _writable(self.path):
            message = f"Cannot write {place(os.fspath(path))}: the folder is missing or closed."
            raise EnvironmentFault("E-PERMISSION", message, "name a file in a folder of yours")
        self._waiting: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - gone with this object

    def add(self, fault: Fault, record: int | None) -> None:
        """Note one row."""
        entry = {
            "line": fault.line,
            "record": record,
            "code": fault.code,
            "reason": fault.reason,
            "column": fault.column,
            "raw": fault.raw[:RAW_KEPT],
        }
        try:
            # Half surrogate pairs stay escapes: no encoding can store them.
            self._waiting.write(json.dumps(entry).encode() + b"\n")
        except OSError as fault_:
            raise _cannot(self.path, fault_) from fault_
        self.count += 1

    def publish(self) -> None:
        """Write the list: temporary file, fsync, rename, fsync of the folder.

        Raises:
            EnvironmentFault: E-DISK, E-PERMISSION, E-WRITE, with the path.
        """
        new = self.path.with_name(f".{self.path.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
        try:
            self._waiting.seek(0)
            with new.open("xb") as file:
                shutil.copyfileobj(self._waiting, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
            _sync(self.path.parent)
        except OSError as fault:
            raise _cannot(self.path, fault) from fault
        finally:
            new.unlink(missing_ok=True)
            self._waiting.seek(0, os.SEEK_END)

    def note(self) -> str:
        """Where the list is."""
        return f"They are listed in {place(os.fspath(self.path))}."

    def close(self) -> None:
        """Let go of what waits; what was published stays."""
        self._waiting.close()

    def __del__(self) -> None:
        waiting = getattr(self, "_waiting", None)
        if waiting is not None:
            waiting.close()


def _writable(path: Path) -> bool:
    if "\0" in os.fspath(path):
        return False
    return os.access(path.parent, os.W_OK | os.X_OK) and not path.is_dir()


def _same(path: Path, source: str) -> bool:
    try:
        return path.samefile(source)
    except (OSError, ValueError):
        return False


def _sync(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _cannot(path: Path, fault: OSError) -> EnvironmentFault:
    code = "E-WRITE"
    if fault.errno in _FULL:
        code = "E-DISK"
    elif isinstance(fault, PermissionError):
        code = "E-PERMISSION"
    why = fault.strerror or str(fault)
    return EnvironmentFault(code, f"Cannot write {place(os.fspath(path))}: {why}.", "another disk")
