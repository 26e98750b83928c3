"""One source with its roles chosen: clean texts, their targets, and what decides the split.

Idea     the texts are judged by `howfar.data.cells`; what a target is, each aim says itself
Ledger   a row that cannot be used ends the reading, or is counted under its reason
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from howfar.core.errors import DataError, closest, shown
from howfar.data.aims.opening import Source, open_source
from howfar.data.aims.options import CorpusOptions
from howfar.data.anything import Rows
from howfar.data.cells import Cells, Ledger, clean
from howfar.data.faults import Fault, place
from howfar.data.split import normalised
from howfar.data.split_by import parse_times

_NO_CAP = 1 << 62  # characters of a document that is a file of its own

Names: TypeAlias = tuple[str | None, str | None]
# value, text, line, column -> the target, or what is wrong with it
Convert: TypeAlias = Callable[[object, str, int, str], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """What an aim reads.

    choose: positions of the text and the target column (None: there is none), and what was guessed.
    convert: a target from its cell. plain: the cell is a clean string first, and may not be empty.
    texts: a cell of the text column as the text it stands for. rows: another view of all rows.
    """

    choose: Callable[[Rows, Names], tuple[int, int | None, tuple[str, ...]]]
    convert: Convert = lambda value, text, line, column: value
    plain: bool = True
    texts: Callable[[object], object] = lambda value: value
    rows: Callable[[Rows], Rows] = lambda rows: rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Rows of one source, or a part of them; what stands at one index belongs to one row.

    keys: normalised texts. lines: physical lines. columns: the names of text and target.
    groups, times: what decides the split, where columns for it are named. dropped: rows left out.
    """

    path: str
    kind: str
    texts: tuple[str, ...]
    keys: tuple[str, ...]
    targets: tuple[Any, ...]
    lines: tuple[int, ...]
    columns: tuple[str, str | None]
    groups: tuple[str, ...] | None = None
    times: tuple[float, ...] | None = None
    dropped: int = 0
    notes: tuple[str, ...] = ()
    sha256: str | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int]) -> "Read":
        """Some of the rows, in this order."""
        return replace(
            self,
            texts=tuple(self.texts[i] for i in rows),
            keys=tuple(self.keys[i] for i in rows),
            targets=tuple(self.targets[i] for i in rows),
            lines=tuple(self.lines[i] for i in rows),
            groups=None if self.groups is None else tuple(self.groups[i] for i in rows),
            times=None if self.times is None else tuple(self.times[i] for i in rows),
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
    lines = rows.lines
    if len(set(lines)) < len(lines):
        lines = range(1, len(lines) + 1)
    raw = rows.column(target) if target is not None else None
    texts = [roles.texts(value) for value in rows.column(text)]
    labels = raw if roles.plain and raw is not None else ["-"] * len(texts)
    kept = clean(
        Cells(
            names=(names[0], names[1] or "-"), lines=lines, column=lambda i: labels if i else texts
        ),
        (0, 1),
        ledger,
        empty=options.empty,
        max_field=options.max_field if rows.kind == "table" else _NO_CAP,
    )
    index = {line: i for i, line in enumerate(lines)}
    found: list[tuple[int, str, Any]] = []
    for text_value, label, line in zip(kept.texts, kept.labels, kept.lines, strict=True):
        value = label if roles.plain or raw is None else raw[index[line]]
        made = roles.convert(value, text_value, line, names[1] or "")
        if isinstance(made, Fault):
            ledger.add(made)
        else:
            found.append((index[line], text_value, made))
    if main is None:
        found, groups, times = _deciding(rows, lines, found, ledger, options)
    else:
        groups, times = None, None
    ledger.finish(len(found))
    # What the reader left out is in the ledger's own sentence.
    before = [note for note in rows.notes if not note.startswith("Left out: ")]
    return Read(
        path=rows.path,
        kind=rows.kind,
        texts=tuple(text for _, text, _ in found),
        keys=tuple(normalised(text) for _, text, _ in found),
        targets=tuple(made for _, _, made in found),
        lines=tuple(lines[i] for i, _, _ in found),
        columns=names,
        groups=groups,
        times=times,
        dropped=ledger.dropped.total(),
        notes=(*before, *said, *kept.notes, *ledger.notes()),
        sha256=rows.sha256,
    )


def _deciding(
    rows: Rows,
    lines: Sequence[int],
    found: list[tuple[int, str, Any]],
    ledger: Ledger,
    options: CorpusOptions,
) -> tuple[list[tuple[int, str, Any]], tuple[str, ...] | None, tuple[float, ...] | None]:
    """The rows that have a group or time, where one is asked for, and those."""
    if options.group is not None:
        column = rows.column(position(rows, options.group, "--group"))
        values = {i: "" if column[i] is None else str(column[i]).strip() for i, _, _ in found}
        for i, value in values.items():
            if not value:
                why, hint = "every row needs one", "fill it in, or --bad-rows skip"
                fault = Fault(lines[i], "E-GROUP", "No group", why, "no group", hint, options.group)
                ledger.add(fault)
        found = [item for item in found if values[item[0]]]
        return found, tuple(values[i] for i, _, _ in found), None
    if options.time is not None:
        column = rows.column(position(rows, options.time, "--time"))
        at = [lines[i] for i, _, _ in found]
        times = parse_times([column[i] for i, _, _ in found], at, rows.path, options.time)
        return found, None, tuple(times)
    return found, None, None


def position(rows: Rows, name: str, option: str) -> int:
    """Where the column of this name stands; DataError E-COLUMN lists those there are."""
    names = [known.strip() for known in rows.names]
    if name.strip() in names:
        return names.index(name.strip())
    listed = ", ".join(shown(known, 40) for known in names[:20])
    near = closest(name, names)
    message = f"No column {shown(name)} in {place(rows.path)}: its columns are {listed}. {near}"
    raise DataError("E-COLUMN", message.strip(), f"name one of them with {option}")
