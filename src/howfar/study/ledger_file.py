"""The file of a ledger: opened for one transaction, checked, put in place; SQLite's errors said.

Idea     `work` runs in one transaction of one short-lived connection. "Locked" is tried again until
         the patience is over; what else SQLite says becomes an error that names the file
Safe     journal_mode=DELETE; synchronous=EXTRA is FULL and an fsync of the folder when the journal
         goes: else a power cut could bring the journal back and undo what was told to be kept
Source   https://www.sqlite.org/pragma.html#pragma_synchronous
"""

import contextlib
import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from howfar.core.disk import fault, named, saying, sync_folder, write_file, write_new
from howfar.core.errors import EnvironmentFault, HowfarError, StoreError
from howfar.core.leftovers import held
from howfar.study.ledger_rows import SCHEMA, VERSION, Head, damaged, select

T = TypeVar("T")
ROOM_BYTES = 1 << 16  # more than one transaction of one cell writes
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DENIED = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN)


def session(
    path: Path, work: Callable[[sqlite3.Connection], T], busy: float, *, write: bool = True
) -> T:
    """Do `work` in one transaction; it may be done several times, but counts once.

    busy: seconds to try while others hold the file.

    Raises:
        StoreError: E-STORE, E-VERSION.
        EnvironmentFault: E-LOCKED, E-DISK, E-PERMISSION, E-WRITE.
    """
    patience = time.monotonic() + busy
    while True:
        try:
            with _opened(path, max(0.0, patience - time.monotonic()), write) as db:
                done = work(db)
                db.execute("COMMIT")
                return done
        except (sqlite3.ProgrammingError, sqlite3.InterfaceError):
            raise
        except UnicodeDecodeError as error:  # SQLite quotes damaged bytes in what it says
            raise damaged(path, "it is malformed") from error
        except sqlite3.Error as error:
            if _kind(error) not in _LOCKED or time.monotonic() >= patience:
                raise _said(error, path) from error
        time.sleep(0.01)


@contextlib.contextmanager
def _opened(path: Path, busy: float, write: bool) -> Iterator[sqlite3.Connection]:
    _check_there(path)
    where = f"file:{quote(os.fsencode(path))}?mode=rw"  # never makes a file
    db = sqlite3.connect(where, uri=True, timeout=busy, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA synchronous = EXTRA")
        db.execute("PRAGMA cell_size_check = ON")
        db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found > VERSION:
            message = f"The ledger {named(path)} is of version {found}, this is {VERSION}."
            raise StoreError("E-VERSION", message, "a newer howfar")
        yield db
    finally:
        db.close()  # without a commit nothing has happened


def _check_there(path: Path) -> None:
    with saying(path):
        if path.is_file():
            return
        if not path.parent.is_dir():
            raise OSError(errno.ENOENT, "its folder is gone")
        raise damaged(path, "it is no file" if path.exists() else "it is missing")


def inspect(db: sqlite3.Connection, path: Path) -> None:
    """Look at every page and every row of an open ledger. Raises StoreError: E-STORE."""
    found = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise damaged(path, " ".join(str(found).split()))
    tables = [sql for (sql,) in db.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL")]
    if tables != list(SCHEMA):
        raise damaged(path, "its tables are not those of a ledger")
    Head.read(db, path)
    orders = [cell.order for cell in select(db, path, 'ORDER BY "order"')]
    if orders != list(range(len(orders))):
        raise damaged(path, "a row is missing")


def put_new(path: Path, data: bytes) -> None:
    """Put a ledger in place, unless another process was quicker.

    Raises:
        StoreError: E-STORE, the journal of a lost ledger is there.
        EnvironmentFault: E-DISK, E-PERMISSION, E-WRITE.
    """
    journal = _journal(path).exists()
    if os.path.lexists(path):
        return
    if journal:  # SQLite would undo in the new ledger what was half done in the old one
        raise damaged(path, "it is missing, its journal is there")
    with held(path, "tmp") as temporary, saying(path, len(data)):
        try:
            write_new(temporary, data, "file", path)
            _link(temporary, path)
            sync_folder(path.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _link(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        os.replace(temporary, path)  # noqa: PTH105 - the tests watch every call on `os`


def put_again(path: Path, data: bytes) -> None:
    """Put a ledger in the place of one that may be damaged.

    Raises:
        EnvironmentFault: E-DISK, E-PERMISSION, E-WRITE.
    """
    with saying(path):
        _journal(path).unlink(missing_ok=True)  # or it would be played back into the new one
    write_file(path, data)


def _journal(path: Path) -> Path:
    return path.with_name(path.name + "-journal")


def _kind(error: sqlite3.Error) -> int:
    """SQLite's primary code; 0 where Python itself could not read what was there."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _said(error: sqlite3.Error, path: Path) -> HowfarError:
    kind = _kind(error)
    if kind in _LOCKED:
        message = f"The ledger {named(path)} is locked by another process."
        hint = "again when that process is over; one that is stopped must be ended or go on"
        return EnvironmentFault("E-LOCKED", message, hint)
    if kind == sqlite3.SQLITE_FULL:
        return fault(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), path, ROOM_BYTES)
    forbidden = not (os.access(path, os.R_OK | os.W_OK) and os.access(path.parent, os.W_OK))
    if kind in _DENIED and forbidden:
        return fault(OSError(errno.EACCES, os.strerror(errno.EACCES)), path)
    if kind in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return fault(OSError(errno.EIO, str(error)), path)
    return damaged(path, str(error))
