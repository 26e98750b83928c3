"""A table larger than memory: its rows go to a nameless file, and columns are views of it.

Idea     what reads a table by columns reads this one the same way; only where the cells lie differs
Same     rows, faults, notes and hash are those of `anything.open_rows`
"""

import os
from array import array
from pathlib import Path

import numpy as np

from howfar.core.disk import check_writable
from howfar.core.errors import DataError
from howfar.core.store import sweep
from howfar.data.anything import Rows
from howfar.data.columns import check_names
from howfar.data.faults import place
from howfar.data.formats import STREAMS, Options, Stream
from howfar.data.read import new_ledger
from howfar.data.sniff import ending_of, refuse_columnar
from howfar.data.source import ending, opened
from howfar.data.spool import Spool, Stored

LARGE = 64 << 20
_PACKED = 4  # about how much gzip, or a columnar file, makes of text
_COLUMNAR = (".parquet", ".feather", ".arrow", ".ipc")
_MOST_KEYS = 1000


def is_large_table(source: object) -> bool:
    """Whether a path is a table of about 64 MB of text or more."""
    if not isinstance(source, (str, os.PathLike)) or source == "-":
        return False
    path = os.fsdecode(source)
    try:
        size = Path(path).stat().st_size if Path(path).is_file() else 0
    except (OSError, ValueError):
        return False
    suffix = ending(path)
    packed = suffix.endswith((".gz", *_COLUMNAR))
    return suffix in STREAMS and size * (_PACKED if packed else 1) >= LARGE


def open_large_table(
    path: str | os.PathLike[str],
    options: Options,
    *,
    folder: Path,
    bad_rows: str = "error",
    rejects: str | os.PathLike[str] | None = None,
) -> Rows:
    """Read all rows of a table into a nameless file of `folder`.

    Args:
        path: a file of one of `formats.STREAMS`.
        options: how to read it.
        folder: made where it is missing; nothing is left in it.
        bad_rows: "error" or "skip".
        rejects: as for `read.read_table`.

    Raises:
        DataError, UsageError: as for `anything.open_rows`.
        EnvironmentFault: likewise; E-DISK, E-WRITE where the file cannot be written.
    """
    name = os.fsdecode(path)
    with opened(name) as file:
        end = ending_of(file, None)
        refuse_columnar(file, end)
        check_writable(folder, 0)
        sweep(folder)
        ledger = new_ledger(name, bad_rows, rejects)
        spool = Spool(folder)
        stream = STREAMS[end](file, options, ledger)
        names, lines = _spooled(stream, spool, name)
        ledger.finish(len(lines))
        every = np.arange(len(lines), dtype=np.int64)
        return Rows(
            path=name,
            names=tuple(names),
            lines=lines,
            column=lambda i: Stored(spool, every, lambda row: row[i] if i < len(row) else None),
            notes=(*stream.notes(), *ledger.notes()),
            dropped=dict(ledger.dropped),
            sha256=file.sha256(),
            kind="table",
            ledger=ledger,
        )


def _spooled(stream: Stream, spool: Spool, path: str) -> "tuple[list[str], array[int]]":
    """The columns' names, and the line of each row that was written."""
    lines = array("q")
    known = {name: place for place, name in enumerate(stream.names or ())}
    for line, row in stream.rows:
        lines.append(line)
        if not isinstance(row, dict):
            spool.append(row)
            continue
        for key in row:
            known.setdefault(key, len(known))
        if len(known) > _MOST_KEYS:
            raise DataError(
                "E-COLUMN",
                f"More than {_MOST_KEYS:,} different keys by {place(path, line)}.",
                "give every object the same keys",
            )
        spool.append([row.get(key) for key in known])
    if stream.names is None:
        check_names(list(known), path, None)
    return list(known), lines
