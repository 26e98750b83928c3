"""Texts without labels: a running text as one, a column of a table as many.

Idea     what a trained model is asked about needs no labels, so a table needs only its text column
"""

import os
from dataclasses import dataclass

from howfar.core.errors import DataError, closest, shown
from howfar.data.cells import Ledger
from howfar.data.columns import TEXT_NAMES
from howfar.data.decode import Text
from howfar.data.faults import place
from howfar.data.formats import READERS, Options
from howfar.data.read import read_text, whole_text
from howfar.data.shipped import resolve
from howfar.data.sniff import ending_of, refuse_columnar
from howfar.data.source import opened


@dataclass(frozen=True, slots=True)
class Texts:
    """texts: one of a running text, one a row of a table. table: which of the two it was."""

    texts: tuple[str, ...]
    table: bool
    notes: tuple[str, ...]


def read_texts(
    path: str | os.PathLike[str],
    *,
    text: str | None = None,
    encoding: str | None = None,
    separator: str | None = None,
    no_header: bool = False,
) -> Texts:
    """Read texts of any file that `howfar compare` reads, labels left aside.

    Args:
        path: a plain text or a table, also .gz, the name of a shipped data set, or "-" for
            standard input.
        text: the column of texts of a table; None: well known by its name, or the only one.
        encoding: a Python codec; UTF-8 by default.
        separator: as for `read_table`.
        no_header: the first row is data; the columns are called "1", "2", ...

    Raises:
        DataError, UsageError, EnvironmentFault: as for `read_text` and `read_table`.
    """
    found = resolve(path)
    with opened(found) as source:
        suffix = ending_of(source, None)
        if suffix in READERS:
            refuse_columnar(source, suffix)
            options = Options(encoding=encoding, separator=separator, no_header=no_header)
            ledger = Ledger(source.path, skip=False)
            cells = READERS[suffix](source, options, ledger)
            ledger.finish(len(cells.lines))
            at = _column(list(cells.names), text, source.path)
            values = list(cells.column(at))
            return _kept(values, cells.names[at], source.path, cells.notes)
        if source.path == "-":
            whole, notes = whole_text(source, Text(encoding))
            if not whole.strip():
                raise DataError("E-EMPTY", "Nothing to read in standard input: no text.")
            return Texts((whole,), False, notes)
    whole, notes, _ = read_text(found, encoding=encoding)
    return Texts((whole,), False, notes)


def _column(names: list[str], asked: str | None, path: str) -> int:
    if asked is not None and asked.strip() in [name.strip() for name in names]:
        return [name.strip() for name in names].index(asked.strip())
    listed = ", ".join(shown(name, 40) for name in names[:20])
    if asked is not None:
        near = closest(asked, names)
        message = f"No column {shown(asked)} in {place(path)}: its columns are {listed}. {near}"
        raise DataError("E-COLUMN", message.strip(), "name one of them with --text")
    for tier in TEXT_NAMES:
        known = [i for i, name in enumerate(names) if name.strip().casefold() in tier]
        if len(known) == 1:
            return known[0]
    if len(names) == 1:
        return 0
    message = f"It is not obvious which column of {place(path)} is the text: {listed}."
    raise DataError("E-COLUMN", message, "name it with --text")


def _kept(values: list[object], column: str, path: str, notes: tuple[str, ...]) -> Texts:
    """The cells with text in them; empty ones are counted in the notes."""
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    if not texts:
        where = place(path, None, column)
        raise DataError("E-EMPTY", f"Nothing to read in {where}: no text.", "another column")
    left = len(values) - len(texts)
    said = (f"{left:,} rows without text are left out.",) if left else ()
    return Texts(tuple(texts), True, (*notes, *said))
