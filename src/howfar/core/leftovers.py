"""Names of what is being written, and what to do with those that a dead process left behind.

Idea     `.NAME.tmp-PID-HOST+RANDOM` is being written, `.NAME.old-...` made way for a new NAME
Dead     of this machine: its process is gone; of another: nothing changed for a day
"""

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STALE_SECONDS = 86_400.0
_LEFTOVER = re.compile(r"\.(.+)\.(tmp|old)-([0-9]{1,9})-([0-9a-f]{6})[0-9a-f]{8}", re.DOTALL)
_held: set[Path] = set()  # by this process, whose number a leftover of a dead one may bear too


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something under a temporary name. `name`: what it was to become, or was."""

    path: Path
    name: str
    kind: str
    pid: int
    host: str

    @property
    def target(self) -> Path:
        """Where it belongs."""
        return self.path.with_name(self.name)

    def dead(self) -> bool:
        """Nobody is working on it any more."""
        if self.path in _held:
            return False
        if self.host == _host() and not (self.pid != os.getpid() and _alive(self.pid)):
            return True
        with contextlib.suppress(OSError):
            return time.time() - self.path.lstat().st_mtime > STALE_SECONDS
        return False

    def remove(self) -> None:
        """Delete it, or as much of it as may be deleted."""
        with contextlib.suppress(OSError):
            if self.path.is_dir() and not self.path.is_symlink():
                shutil.rmtree(self.path, ignore_errors=True)
            else:
                self.path.unlink(missing_ok=True)


def leftovers(parent: Path, name: str | None = None) -> list[Leftover]:
    """What lies under a temporary name in a folder, of one name or of all. May raise OSError."""
    found = []
    for entry in sorted(os.listdir(parent)):  # noqa: PTH208 - names, not paths
        match = _LEFTOVER.fullmatch(entry)
        if match and name in (None, match[1]):
            found.append(Leftover(parent / entry, match[1], match[2], int(match[3]), match[4]))
    return found


@contextlib.contextmanager
def held(path: Path, kind: str) -> Iterator[Path]:
    """A new name beside `path` that this process uses until the end of the block."""
    unique = f"{_host()}{secrets.token_hex(4)}"
    temporary = path.with_name(f".{path.name}.{kind}-{os.getpid()}-{unique}")
    _held.add(temporary)
    try:
        yield temporary
    finally:
        _held.discard(temporary)


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
