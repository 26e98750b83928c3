"""One source with its roles chosen: clean texts, their targets, and what decides the split.

Idea     the texts are judged by `howfar.data.cells`; what a target is, each aim says itself
Ledger   a row that cannot be used ends the reading, or is counted under its reason
Large    of a row in a file only its place, its key, its line and a short target are held; its text
         is read again when it is asked for
"""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from howfar.core.errors import DataError, closest, shown
from howfar.data.aims.gathering import Convert, answers, converted, judged, told
from howfar.data.aims.opening import Source, open_source, refuse_on_text
from howfar.data.aims.options import CorpusOptions
from howfar.data.anything import Rows
from howfar.data.cells import Ledger
from howfar.data.columns import or_no_header
from howfar.data.faults import Fault, place
from howfar.data.split_by import parse_times, time_faults
from howfar.data.spool import Stored, some

Names: TypeAlias = tuple[str | None, str | None]
Numbers: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """What an aim reads.

    choose: positions of the text and the target column (None: there is none), and what was guessed.
    convert: a target from its cell; None: as it is. plain: the cell is a clean string first, and
    may not be empty. long: targets are as large as texts, so that those of a file stay in it.
    texts: a cell of the text column as the text it stands for. rows: another view of all rows.
    """

    choose: Callable[[Rows, Names], tuple[int, int | None, tuple[str, ...]]]
    convert: Convert | None = None
    plain: bool = True
    long: bool = False
    texts: Callable[[object], object] = lambda value: value
    rows: Callable[[Rows], Rows] = lambda rows: rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Rows of one source, or a part of them; what stands at one index belongs to one row.

    keys: numbers, equal where the normalised texts are. lines: physical lines. columns: the names
    of text and target.
    groups, times: what decides the split, where columns for it are named. dropped: rows left out.
    """

    path: str
    kind: str
    texts: Sequence[str]
    keys: Sequence[int]
    targets: Sequence[Any]
    lines: Sequence[int]
    columns: tuple[str, str | None]
    groups: Sequence[str] | None = None
    times: Sequence[float] | None = None
    dropped: int = 0
    notes: tuple[str, ...] = ()
    sha256: str | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> "Read":
        """Some of the rows, in this order."""
        return replace(
            self,
            texts=some(self.texts, rows),
            keys=some(self.keys, rows),
            targets=some(self.targets, rows),
            lines=some(self.lines, rows),
            groups=None if self.groups is None else some(self.groups, rows),
            times=None if self.times is None else some(self.times, rows),
        )


def read_source(
    source: Source, options: CorpusOptions, roles: Roles, main: Read | None = None
) -> Read:
    """Open a source and read its rows; a second file has the columns of the `main` one.

    Raises:
        DataError, UsageError, EnvironmentFault: as for `howfar.data.read.read_table`; E-GROUP,
            E-TIME for a row without its group or time.
    """
    rows = roles.rows(open_source(source, options))
    asked: Names = (options.text, options.label) if main is None else main.columns
    text, target, said = roles.choose(rows, asked)
    names = (rows.names[text], None if target is None else rows.names[target])
    ledger = rows.ledger
    ledger.skip = ledger.skip or options.bad_rows == "skip"
    if rows.kind == "text":
        refuse_on_text(rows.path, asdict(options))
    columns = rows.column(text), None if target is None else rows.column(target)
    lines = _lines(rows)
    gathered = judged(
        columns,
        ((names[0], names[1] or "-"), array("q", lines.tobytes())),
        roles,
        ledger,
        empty=options.empty,
        max_field=options.max_field if rows.kind == "table" else None,
    )
    places = _places(lines, gathered.lines)
    texts: Sequence[str] = tuple(gathered.texts)
    if isinstance(columns[0], Stored):
        texts = told(columns[0], places, roles)
    read = Read(
        path=rows.path,
        kind=rows.kind,
        texts=texts,
        keys=gathered.keys,
        targets=tuple(gathered.labels),
        lines=gathered.lines,
        columns=names,
        sha256=rows.sha256,
    )
    read, places = _with_targets(read, places, columns[1], roles, ledger)
    if main is None:
        read = _deciding(rows, read, places, ledger, options)
    ledger.finish(len(read))
    # What the reader left out is in the ledger's own sentence.
    before = [note for note in rows.notes if not note.startswith("Left out: ")]
    notes = (*before, *said, *gathered.kept.notes, *ledger.notes())
    return replace(read, dropped=ledger.dropped.total(), notes=notes)


def _lines(rows: Rows) -> Numbers:
    """The physical line of each row; its number where several rows stand in one line."""
    lines = np.asarray(rows.lines, dtype=np.int64)
    if len(np.unique(lines)) == len(lines):
        return lines
    return np.arange(1, len(lines) + 1)


def _places(lines: Numbers, kept: Sequence[int]) -> Numbers:
    """Where the rows of these lines stand among all."""
    order = np.argsort(lines, kind="stable")
    found: Numbers = order[np.searchsorted(lines, np.asarray(kept, np.int64), sorter=order)]
    return found


def _with_targets(
    read: Read,
    places: Numbers,
    column: Sequence[object] | None,
    roles: Roles,
    ledger: Ledger,
) -> tuple[Read, Numbers]:
    """The rows whose target can be used, with it; and where they stand."""
    afar = roles.long and isinstance(column, Stored)
    made: Sequence[Any] = read.targets
    if roles.convert is not None:
        raw = column is not None and not roles.plain
        cells = some(column, places) if raw and column is not None else read.targets
        name = read.columns[1] or ""
        given = cells, read.texts, read.lines
        stay, made = converted(roles.convert, given, name, ledger, held=not afar)
        if len(stay) < len(read):
            read, places = replace(read, targets=range(len(read))).take(stay), places[stay]
    if isinstance(column, Stored) and isinstance(read.texts, Stored) and afar:
        made = answers(column.take(places), read.texts, roles)
    return replace(read, targets=made), places


def _deciding(
    rows: Rows, read: Read, places: Numbers, ledger: Ledger, options: CorpusOptions
) -> Read:
    """The rows that have a group or time, where one is asked for, with those."""
    if options.group is not None:
        column = some(rows.column(position(rows, options.group, "--group")), places)
        known: dict[str, str] = {}
        values = ["" if value is None else str(value).strip() for value in column]
        values = [known.setdefault(value, value) for value in values]
        for line, value in zip(read.lines, values, strict=True):
            if not value:
                why, hint = "every row needs one", "fill it in, or --bad-rows skip"
                fault = Fault(line, "E-GROUP", "No group", why, "no group", hint, options.group)
                ledger.add(fault)
        stay = [i for i, value in enumerate(values) if value]
        read = read if len(stay) == len(read) else read.take(stay)
        return replace(read, groups=tuple(values[i] for i in stay))
    if options.time is not None:
        cells = some(rows.column(position(rows, options.time, "--time")), places)
        faults = time_faults(cells, read.lines, options.time) if ledger.skip else []
        for fault in faults:
            ledger.add(fault)
        if faults:
            gone = {fault.line for fault in faults}
            stay = [i for i, line in enumerate(read.lines) if line not in gone]
            read, cells = read.take(stay), some(cells, stay)
        times = parse_times(cells, read.lines, rows.path, options.time)
        return replace(read, times=array("d", times))
    return read


def position(rows: Rows, name: str, option: str) -> int:
    """Where the column of this name stands; DataError E-COLUMN lists those there are."""
    names = [known.strip() for known in rows.names]
    if name.strip() in names:
        return names.index(name.strip())
    listed = ", ".join(shown(known, 40) for known in names[:20])
    near = closest(name, names)
    message = f"No column {shown(name)} in {place(rows.path)}: its columns are {listed}. {near}"
    hint = f"name one of them with {option}{or_no_header(names, rows.path)}"
    raise DataError("E-COLUMN", message.strip(), hint)
