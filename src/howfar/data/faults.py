"""How a fault in a file is said: WHAT in PATH:ROW (column NAME): WHY.

Idea     a reader yields rows and `Fault`s; whether a fault ends the reading is decided in one place
Rows     numbers are physical lines, counted from 1, as an editor shows them
"""

from collections.abc import Sequence
from dataclasses import dataclass

from howfar.core.errors import DataError, shown

SHOWN_ROWS = 5
RAW_KEPT = 1000  # characters of a rejected row
_STDIN_NAME = "standard input"


@dataclass(frozen=True, slots=True)
class Fault:
    """One row that cannot be used.

    line: physical line where the row starts. what, why, hint: the parts of the message.
    reason: the name under which a skipped row is counted. column: the column's name, if it is one.
    raw: the row as it stands in the file, as far as it is kept for the list of rejects.
    """

    line: int
    code: str
    what: str
    why: str
    reason: str
    hint: str = ""
    column: str | None = None
    raw: str = ""


def place(path: str, row: int | None = None, column: str | None = None) -> str:
    """`PATH:ROW (column NAME)` with unprintable paths escaped."""
    name = _STDIN_NAME if path == "-" else path if path.isprintable() else shown(path)
    at = "" if row is None else f":{row}"
    return f"{name}{at}" if column is None else f"{name}{at} (column {shown(column)})"


def error(fault: Fault, path: str) -> DataError:
    """The exception that says this fault."""
    where = place(path, fault.line, fault.column)
    return DataError(fault.code, f"{fault.what} in {where}: {fault.why}.", fault.hint)


def listed(lines: Sequence[int], total: int | None = None) -> str:
    """`row 3` or `rows 3, 7, 9, 12, 15 and 212 more`; `total` where `lines` are but the first."""
    first = ", ".join(str(line) for line in lines[:SHOWN_ROWS])
    rest = (total or len(lines)) - SHOWN_ROWS
    more = f" and {rest:,} more" if rest > 0 else ""
    return f"row{'s' if len(lines) > 1 else ''} {first}{more}"


def counted(rows: int) -> str:
    """`1 row` or `1,200 rows`."""
    return f"{rows:,} row" if rows == 1 else f"{rows:,} rows"


def share(part: int, whole: int) -> str:
    """`12 of 5,000 rows (0.2 %)`."""
    return f"{part:,} of {whole:,} rows ({100 * part / whole:.1f} %)"
