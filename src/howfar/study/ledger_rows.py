"""The rows of a ledger: its head and its cells, each sealed with a checksum of its own.

Idea     SQLite notices damage to its own trees, not to the text in them: a row carries the CRC-32
         of its fields, written with them and compared whenever it is read
"""

import json
import sqlite3
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from howfar.core.disk import named
from howfar.core.errors import StoreError, shown

OVER = ("done", "failed", "diverged")
STATES = ("waiting", "running", *OVER)
VERSION = 1
SCHEMA = (
    "CREATE TABLE head (one INTEGER PRIMARY KEY, study TEXT NOT NULL, token INTEGER NOT NULL,"
    " seal INTEGER NOT NULL)",
    'CREATE TABLE cells ("order" INTEGER PRIMARY KEY, run TEXT NOT NULL UNIQUE,'
    " settings TEXT NOT NULL, state TEXT NOT NULL"
    f" CHECK (state IN ({', '.join(repr(state) for state in STATES)})),"
    " attempt INTEGER NOT NULL, token INTEGER NOT NULL, beat INTEGER NOT NULL, owner TEXT,"
    " reason TEXT, result TEXT, seal INTEGER NOT NULL)",
    'CREATE INDEX cells_by_state ON cells (state, "order")',
)
_COLUMNS = '"order", run, settings, state, attempt, token, beat, owner, reason, result'


@dataclass(frozen=True, slots=True)
class Head:
    """What the ledger is of, as canonical JSON, and the last token given."""

    study: str
    token: int = 0

    @classmethod
    def read(cls, db: sqlite3.Connection, path: Path) -> Self:
        """The head of an open ledger. Raises StoreError: E-STORE."""
        rows = db.execute("SELECT study, token, seal FROM head").fetchall()
        if len(rows) != 1 or _seal(rows[0][:-1]) != rows[0][-1]:
            raise damaged(path, "its first row is not as it was written")
        return cls(*rows[0][:-1])

    def write(self, db: sqlite3.Connection) -> None:
        """Put it into an open ledger."""
        fields = (self.study, self.token)
        db.execute("REPLACE INTO head VALUES (1, ?, ?, ?)", (*fields, _seal(fields)))


@dataclass(frozen=True, slots=True)
class Cell:
    """One run: `order` from 0; attempt: how often claimed; token, beat: of the last claim."""

    order: int
    run: str
    settings: dict[str, Any]
    state: str = "waiting"
    attempt: int = 0
    token: int = 0
    beat: int = 0
    owner: str | None = None
    reason: str | None = None
    result: dict[str, Any] | None = None

    def write(self, db: sqlite3.Connection, **changes: Any) -> None:  # noqa: ANN401 - its fields
        """Put it into an open ledger, with some fields changed."""
        new = replace(self, **changes)
        result = None if new.result is None else text(new.result)
        start = (new.order, new.run, text(new.settings), new.state, new.attempt)
        fields = (*start, new.token, new.beat, new.owner, new.reason, result)
        places = ", ".join("?" * (len(fields) + 1))
        db.execute(f"REPLACE INTO cells VALUES ({places})", (*fields, _seal(fields)))


def select(db: sqlite3.Connection, path: Path, rest: str, *values: object) -> list[Cell]:
    """The cells that the rest of a SELECT asks for. Raises StoreError: E-STORE."""
    rows = db.execute(f"SELECT {_COLUMNS}, seal FROM cells {rest}", values)
    return [_parsed(row, path) for row in rows]


def _parsed(row: tuple[Any, ...], path: Path) -> Cell:
    if _seal(row[:-1]) != row[-1]:
        raise damaged(path, f"the row of run {shown(row[1])} is not as it was written")
    result = None if row[-2] is None else json.loads(row[-2])
    fields = [*row[:2], json.loads(row[2]), *row[3:-2], result]
    return Cell(*fields)


def fresh(cells: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Cell]:
    """Waiting cells in order, by run; the settings as JSON gives them back."""
    given = dict(cells)
    return {run: Cell(n, run, json.loads(text(given[run]))) for n, run in enumerate(given)}


def image(head: Head, cells: Iterable[Cell]) -> bytes:
    """The bytes of a new ledger."""
    db = sqlite3.connect(":memory:")
    try:
        for statement in SCHEMA:
            db.execute(statement)
        head.write(db)
        for cell in cells:
            cell.write(db)
        db.commit()
        db.execute(f"PRAGMA user_version = {VERSION}")
        return db.serialize()
    finally:
        db.close()


def text(value: Mapping[str, Any]) -> str:
    """Canonical JSON. Raises ValueError for NaN and infinity."""
    return json.dumps(value, allow_nan=False, sort_keys=True)


def damaged(path: Path, why: str, hint: str = "") -> StoreError:
    """E-STORE, with the repair as a hint where none is given."""
    hint = hint or f"howfar study repair {named(path.parent)}"
    return StoreError("E-STORE", f"The ledger {named(path)} cannot be used: {why}.", hint)


def _seal(fields: tuple[Any, ...]) -> int:
    return zlib.crc32(repr(fields).encode("utf-8", "backslashreplace"))
