"""Rows of whatever the user names: a table, a text, a folder, a hub's data set, standard input.

Idea     `open_rows` holds all rows, by column, before any column has a meaning; `iterate` gives
         them one by one and holds none
Names    a path; "-" is standard input; "hf:NAME" and objects of the `datasets` library are read
         with that library
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from howfar.core.errors import DataError, UsageError
from howfar.data import folders, hub
from howfar.data.cells import Ledger
from howfar.data.decode import Errors
from howfar.data.delimited import Quote
from howfar.data.faults import place
from howfar.data.formats import READERS, STREAMS, Options, Stream
from howfar.data.read import MAX_FIELD, checked_options, new_ledger, whole_text
from howfar.data.shipped import resolve
from howfar.data.sniff import Format, ending_of, refuse_columnar
from howfar.data.source import Source, opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Columns of anything, before any of them has a role.

    path: as messages name it. lines: physical line where each row starts; its number in files
    without lines. column: the values of a column, raw: str, int, float, bool, bytes, list or None.
    dropped: reason -> rows left out. sha256: of the stored bytes; None where there are none.
    ledger: counts what is left out later, into the same list of rejects; `ledger.finish(rows)`
    writes that list again.
    """

    path: str
    names: tuple[str, ...]
    lines: Sequence[int]
    column: Callable[[int], Sequence[object]]
    notes: tuple[str, ...]
    kind: Literal["table", "folder", "text"]
    sha256: str | None = None
    dropped: dict[str, int] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=lambda: Ledger("", skip=False))

    def __len__(self) -> int:
        return len(self.lines)


def open_rows(  # noqa: PLR0913 - each is an option of the command line
    source: object,
    *,
    encoding: str | None = None,
    separator: str | None = None,
    no_header: bool = False,
    quote: Quote = '"',
    bad_rows: Literal["error", "skip"] = "error",
    max_field: int = MAX_FIELD,
    encoding_errors: Errors = "strict",
    rejects: str | os.PathLike[str] | None = None,
    format: Format | None = None,
) -> Rows:
    """Read all rows of anything.

    Args:
        source: a path, the name of a shipped data set, "-", "hf:NAME", or a data set object.
        encoding: as for `read.read_table`, with all that follows.
        separator: likewise.
        no_header: likewise.
        quote: likewise.
        bad_rows: likewise.
        max_field: the most characters of a line are 16 times this; cells are not measured here.
        encoding_errors: as for `read.read_table`.
        rejects: likewise.
        format: overrides what ending or first bytes say.

    Raises:
        DataError, UsageError, EnvironmentFault: as `read.read_table`; E-EXTRA and E-OFFLINE of
            data sets that need the `datasets` library or a network.
    """
    options = checked_options(
        encoding=encoding,
        separator=separator,
        no_header=no_header,
        quote=quote,
        max_field=max_field,
        encoding_errors=encoding_errors,
        bad_rows=bad_rows,
    )
    if hub.is_one(source):
        return _of_hub(source)
    path = _path(source)
    ledger = new_ledger(path, bad_rows, rejects)
    if _is_folder(path):
        return _of_folder(path, options, ledger)
    with opened(path) as file:
        end = ending_of(file, format)
        refuse_columnar(file, end)
        read = _as_table if end in READERS else _as_text
        return read(file, end, options, ledger)


def iterate(  # noqa: PLR0913 - as for `open_rows`
    source: object,
    *,
    encoding: str | None = None,
    separator: str | None = None,
    no_header: bool = False,
    quote: Quote = '"',
    bad_rows: Literal["error", "skip"] = "error",
    max_field: int = MAX_FIELD,
    encoding_errors: Errors = "strict",
    rejects: str | os.PathLike[str] | None = None,
    format: Format | None = None,
) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield (line, values by column) row by row, holding one row (4,096 of a columnar file).

    What is wrong with a later row is raised when it is met, after the rows before it were given;
    ragged rows and "no rows" are raised at the end. A text file is one row.

    Args:
        source: as for `open_rows`, with all that follows.
        encoding: likewise.
        separator: likewise.
        no_header: likewise.
        quote: likewise.
        bad_rows: likewise.
        max_field: likewise.
        encoding_errors: likewise.
        rejects: likewise; written at the end.
        format: likewise.

    Raises:
        DataError, UsageError, EnvironmentFault: as `open_rows`.
    """
    options = checked_options(
        encoding=encoding,
        separator=separator,
        no_header=no_header,
        quote=quote,
        max_field=max_field,
        encoding_errors=encoding_errors,
        bad_rows=bad_rows,
    )
    if hub.is_one(source):
        yield from hub.rows(hub.open_set(source))
        return
    path = _path(source)
    ledger = new_ledger(path, bad_rows, rejects)
    num_rows = 0
    for num_rows, row in enumerate(_rows(path, format, options, ledger), start=1):  # noqa: B007
        yield row
    ledger.finish(num_rows)


def _rows(
    path: str, asked: Format | None, options: Options, ledger: Ledger
) -> Iterator[tuple[int, dict[str, object]]]:
    if _is_folder(path):
        found = folders.look(path)
        for number, (text, label) in enumerate(folders.read(found, options, ledger), start=1):
            yield number, {"text": text} if label is None else {"text": text, "label": label}
        return
    with opened(path) as file:
        end = ending_of(file, asked)
        refuse_columnar(file, end)
        if end not in STREAMS:
            rows = _as_text(file, end, options, ledger)
            yield 1, {"text": rows.column(0)[0]}
            return
        yield from _named(STREAMS[end](file, options, ledger))
        file.sha256()  # was it written to meanwhile?


def _named(stream: Stream) -> Iterator[tuple[int, dict[str, object]]]:
    for line, row in stream.rows:
        if isinstance(row, dict):
            yield line, row
        else:
            yield line, dict(zip(stream.names or (), row, strict=True))


def _is_folder(path: str) -> bool:
    try:
        return path != "-" and Path(path).is_dir()
    except (OSError, ValueError):
        return False  # what it is, opening will say


def _path(source: object) -> str:
    if not isinstance(source, (str, bytes, os.PathLike)):
        message = f"What is of type {type(source).__name__} cannot be read."
        raise UsageError("E-OPTION", message, "a path, or datasets.Dataset.from_pandas(table)")
    path = os.fsdecode(source)
    return path if path == "-" else os.fspath(resolve(path))


def _as_table(file: Source, end: str, options: Options, ledger: Ledger) -> Rows:
    found = READERS[end](file, options, ledger)
    ledger.finish(len(found.lines))
    said = (f"Standard input was read as {end[1:].upper()}.",) if file.path == "-" else ()
    return Rows(
        path=file.path,
        names=tuple(found.names),
        lines=found.lines,
        column=found.column,
        notes=(*said, *found.notes, *ledger.notes()),
        dropped=dict(ledger.dropped),
        sha256=file.sha256(),
        kind="table",
        ledger=ledger,
    )


def _as_text(file: Source, end: str, options: Options, ledger: Ledger) -> Rows:
    folders.refuse_binary(file.path, end)
    text, notes = whole_text(file, options.text())
    if not text.strip():
        raise DataError("E-EMPTY", f"Nothing to read in {place(file.path)}: no text.")
    said = ("Standard input was read as text.",) if file.path == "-" else ()
    return Rows(
        path=file.path,
        names=("text",),
        lines=(1,),
        column=lambda _: (text,),
        notes=(*said, *notes),
        sha256=file.sha256(),
        kind="text",
        ledger=ledger,
    )


def _of_folder(path: str, options: Options, ledger: Ledger) -> Rows:
    found = folders.look(path)
    pairs = list(folders.read(found, options, ledger))
    ledger.finish(len(pairs))
    columns: list[Sequence[object]] = [[text for text, _ in pairs]]
    if found.classes:
        columns.append([label for _, label in pairs])
    return Rows(
        path=path,
        names=("text", "label")[: len(columns)],
        lines=range(1, len(pairs) + 1),
        column=columns.__getitem__,
        notes=(*found.notes, *ledger.notes()),
        dropped=dict(ledger.dropped),
        sha256=found.sha256(),
        kind="folder",
        ledger=ledger,
    )


def _of_hub(source: Any) -> Rows:  # noqa: ANN401 - an object of a library that may be missing
    found = hub.open_set(source)
    if not found.num_rows:
        raise DataError("E-EMPTY", f"Nothing to read in {place(found.path)}: no rows.")
    return Rows(
        path=found.path,
        names=found.names,
        lines=range(1, found.num_rows + 1),
        column=found.column,
        notes=found.notes,
        kind="table",
        ledger=Ledger(found.path, skip=False),
    )
