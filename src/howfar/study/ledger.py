"""Which cells of a study are waiting, running or over; each is handed out once at a time.

Idea     one row a cell in SQLite. A claim gives the row a token, larger than every token before;
         whoever comes with an older one is told `Lost`, and nothing it says is kept
Dead     a running cell is handed out again when its process is gone. Of a process of another
         machine only its beats are seen: it counts as dead when they have stood still for `lease`
         seconds of our own monotonic clock. A living process of this machine never does
Safe     rollback journal (SQLite before 3.51.3 may lose data with WAL); a connection for each
         call, so that threads, forks and a ledger rebuilt meanwhile are no matter
Source   fencing tokens: Kleppmann, https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from howfar.core.errors import HowfarError, UsageError, shown
from howfar.record.codec import printable
from howfar.study import owner as owners
from howfar.study.ledger_file import inspect, put_again, put_new, session
from howfar.study.ledger_rows import OVER, STATES, Cell, Head, damaged, fresh, image, select, text

T = TypeVar("T")
Cells = Sequence[tuple[str, Mapping[str, Any]]]
Results = Mapping[str, tuple[str, Mapping[str, Any] | None]]
BUSY_SECONDS = 30.0
LEASE_SECONDS = 120.0


class Lost(HowfarError):  # noqa: N818 - not an error: the cell has another owner now
    """The cell was taken over, or given back: stop working on it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A cell that is yours until it is finished, released or lost. attempt: 1 for the first."""

    run: str
    settings: dict[str, Any]
    attempt: int
    token: int
    owner: str


class Ledger:
    """The ledger at `path`; `with` checks it first.

    Args:
        path: made by `Ledger.create`.
        busy: seconds to wait while others hold it.
        lease: seconds without a beat after which a process of another machine is dead.
        steal_stopped: the lease holds for processes of this machine too that are stopped.
    """

    def __init__(
        self,
        path: Path,
        *,
        busy: float = BUSY_SECONDS,
        lease: float = LEASE_SECONDS,
        steal_stopped: bool = False,
    ) -> None:
        self.path = Path(path).absolute()
        self.busy, self.lease, self.steal_stopped = busy, lease, steal_stopped
        self._seen: dict[str, tuple[int, int, float]] = {}  # run -> token, beat, first seen

    @classmethod
    def create(
        cls, path: Path, study: Mapping[str, Any], cells: Cells, *, busy: float = BUSY_SECONDS
    ) -> Self:
        """Make the ledger, or add to it the cells that it does not have.

        Raises:
            ValueError: NaN or infinity.
            StoreError: E-STORE; it holds another study, or a run with other settings.
            EnvironmentFault: E-DISK, E-PERMISSION, E-WRITE, E-LOCKED.
        """
        ledger = cls(path, busy=busy)
        head = Head(text(study))
        put_new(ledger.path, image(head, ()))
        ledger._ask(lambda db: _add(db, ledger.path, head.study, fresh(cells)))
        return ledger

    @classmethod
    def rebuild(cls, path: Path, study: Mapping[str, Any], cells: Cells, results: Results) -> Self:
        """Write a ledger anew from what the runs left; no worker may be at work.

        results: run -> state ("done", "failed", "diverged") and result; other cells wait.

        Raises:
            UsageError: E-OPTION, another state; E-RUN, a result of no cell.
            EnvironmentFault: E-DISK, E-PERMISSION, E-WRITE; the old ledger is then as it was.
        """
        ledger = cls(path)
        rows = fresh(cells)
        for run, (state, result) in results.items():
            _known(state, OVER)
            if run not in rows:
                raise UsageError("E-RUN", f"Run {shown(run)} is no cell of this study.")
            kept = None if result is None else dict(result)
            rows[run] = replace(rows[run], state=state, attempt=1, result=kept)
        put_again(ledger.path, image(Head(text(study)), rows.values()))
        return ledger

    def __enter__(self) -> Self:
        self.check()
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held between calls."""

    def check(self) -> None:
        """Look at every page and row. Raises StoreError: E-STORE, damaged; E-VERSION."""
        self._look(lambda db: inspect(db, self.path))

    def claim(self, owner: str) -> Claim | None:
        """Take the first waiting cell, or one whose owner is dead; None: there is none now.

        owner: as `owner.me()` says it.
        """
        return self._ask(lambda db: self._claim(db, owner))

    def _claim(self, db: sqlite3.Connection, owner: str) -> Claim | None:
        waiting = select(db, self.path, "WHERE state = 'waiting' ORDER BY \"order\" LIMIT 1")
        running = () if waiting else select(db, self.path, "WHERE state = 'running'")
        free = waiting or [cell for cell in running if self._dead(cell)]
        if not free:
            return None
        head = Head.read(db, self.path)
        head, was = replace(head, token=head.token + 1), free[0]
        head.write(db)
        cell = replace(was, state="running", attempt=was.attempt + 1, token=head.token)
        cell.write(db, owner=owner, beat=0)
        return Claim(cell.run, cell.settings, cell.attempt, cell.token, owner)

    def _dead(self, cell: Cell) -> bool:
        condition = owners.condition(cell.owner or "")
        if condition == owners.GONE:
            return True
        if condition == owners.ALIVE or (condition == owners.STOPPED and not self.steal_stopped):
            return False
        now, seen = time.monotonic(), self._seen.get(cell.run)
        if seen is None or seen[:2] != (cell.token, cell.beat):
            self._seen[cell.run] = (cell.token, cell.beat, now)
            return False
        return now - seen[2] >= self.lease

    def beat(self, claim: Claim) -> None:
        """Say that the work goes on; at least four times a lease.

        Raises:
            Lost: the cell is no longer this claim's.
        """

        def again(db: sqlite3.Connection) -> None:
            (cell := self._mine(db, claim)).write(db, beat=cell.beat + 1)

        self._ask(again)

    def finish(
        self,
        claim: Claim,
        state: str,
        result: Mapping[str, Any] | None = None,
        reason: str | None = None,
    ) -> None:
        """End the cell as "done", "failed" or "diverged"; on the disk when this returns.

        Raises:
            UsageError: E-OPTION, another state.
            ValueError: NaN or infinity in the result.
            Lost: the cell is no longer this claim's; nothing is kept.
        """
        _known(state, OVER)
        said = {"state": state, "result": result, "reason": reason and printable(reason)}
        self._ask(lambda db: self._mine(db, claim).write(db, **said))

    def release(self, claim: Claim) -> None:
        """Give the cell back: it waits again. The attempt still counts.

        Raises:
            Lost: the cell is no longer this claim's.
        """
        self._ask(lambda db: self._mine(db, claim).write(db, state="waiting", owner=None))

    def _mine(self, db: sqlite3.Connection, claim: Claim) -> Cell:
        for cell in select(db, self.path, "WHERE run = ?", claim.run):
            if (cell.state, cell.token, cell.owner) == ("running", claim.token, claim.owner):
                return cell
        message = f"Run {shown(claim.run)} is no longer this worker's: another took it over."
        raise Lost("E-LOST", message, "let the worker go on with another run")

    def counts(self) -> dict[str, int]:
        """How many cells are in each of the five states."""
        query = "SELECT state, count(*) FROM cells GROUP BY state"
        found = dict(self._look(lambda db: db.execute(query).fetchall()))
        if not set(found) <= set(STATES):
            raise damaged(self.path, "a cell is in a state that there is not")
        return {state: found.get(state, 0) for state in STATES}

    def cells(self, state: str | None = None) -> Iterator[Cell]:
        """The cells in order, all or those in one state, as they are now."""
        if state is not None:
            _known(state, STATES)
        where = 'WHERE ?1 IS NULL OR state = ?1 ORDER BY "order"'
        return iter(self._look(lambda db: select(db, self.path, where, state)))

    def retry(self, run: str) -> None:
        """Let a failed or diverged cell wait again; its reason and result go.

        Raises:
            UsageError: E-RUN, an unknown run or one in another state.
        """

        def again(db: sqlite3.Connection) -> None:
            for cell in select(db, self.path, "WHERE run = ?", run):
                if cell.state in ("failed", "diverged"):
                    cell.write(db, state="waiting", owner=None, reason=None, result=None)
                    return
            raise UsageError("E-RUN", f"Run {shown(run)} has neither failed nor diverged.")

        self._ask(again)

    def _ask(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return session(self.path, work, self.busy)

    def _look(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return session(self.path, work, self.busy, write=False)


def _add(db: sqlite3.Connection, path: Path, study: str, cells: Mapping[str, Cell]) -> None:
    if Head.read(db, path).study != study:
        raise damaged(path, "it belongs to another study", "another folder")
    known = {cell.run: cell for cell in select(db, path, "")}
    for run, cell in cells.items():
        if run not in known:
            cell.write(db, order=len(known))
            known[run] = cell
        elif known[run].settings != cell.settings:
            raise damaged(path, f"run {shown(run)} has other settings there", "another folder")


def _known(state: str, states: Sequence[str]) -> None:
    if state not in states:
        raise UsageError("E-OPTION", f"state={shown(state)} is not known here.", ", ".join(states))
