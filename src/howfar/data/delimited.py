r"""CSV and TSV, strictly, row by row, with the physical line of each row.

Idea     the standard `csv` reader with strict=True over lines that keep their endings
Faults   E-RAGGED other cell count than the header, E-QUOTE where the quote opened, E-FIELD, E-NUL
After    a fault, reading goes on at the line after the one where the bad row started
Source   RFC 4180, https://www.rfc-editor.org/rfc/rfc4180
"""

import csv
import itertools
from collections import deque
from collections.abc import Iterator

from howfar.core.errors import DataError, UsageError, shown
from howfar.data.faults import Fault, place

SEPARATORS = {",": ",", ";": ";", "\t": "tab", "|": "|"}
_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}
_SAMPLE_LINES = 50
_NO_LIMIT = 1 << 30  # a sample's lines are capped already

Row = tuple[int, list[str]]


class Feed:
    """Physical lines for the csv reader, remembering those of the row being read."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._back: deque[str] = deque()
        self.taken: list[str] = []
        self.number = 0

    def __iter__(self) -> "Feed":
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else next(self._lines)
        self.taken.append(line)
        self.number += 1
        return line

    def give_back(self) -> None:
        """Return all lines of this row but its first."""
        self._back.extendleft(reversed(self.taken[1:]))
        self.number -= len(self.taken) - 1


def separator_for(lines: list[str], asked: str | None, suffix: str, path: str) -> tuple[str, str]:
    """Choose the separator from the option, the ending and the first lines.

    Returns:
        The separator and a sentence saying that it was guessed, or "".

    Raises:
        DataError: E-DELIM where the header is one column and another separator fits.
        UsageError: E-OPTION for a separator that is not one character.
    """
    fitting = [mark for mark in SEPARATORS if _columns(lines, mark) > 1]
    if asked == "auto":
        if not fitting:
            raise DataError(
                "E-DELIM",
                f"No separator fits {place(path)}: tried comma, semicolon, tab and |.",
                "name it with --sep",
            )
        best = max(fitting, key=lambda mark: _columns(lines, mark))
        return best, f"The separator {_quoted(best)} was guessed from the first rows."
    chosen = _NAMES.get(asked, asked) if asked else ("\t" if suffix.startswith(".tsv") else ",")
    if len(chosen) != 1 or chosen in '"\r\n\0':
        raise UsageError("E-OPTION", f"{shown(chosen)} cannot separate columns.", "--sep ';'")
    others = [mark for mark in fitting if mark != chosen]
    if others and _columns(lines, chosen, header_only=True) == 1:
        raise DataError(
            "E-DELIM",
            f"Only one column in {place(path, 1)}: the separator looks like {_quoted(others[0])}, "
            f"not {_quoted(chosen)}.",
            f"use --sep {_quoted(others[0])}",
        )
    return chosen, ""


def parse(feed: Feed, separator: str, max_field: int) -> Iterator[Row | Fault]:
    """Yield rows as (line, cells) and faults; blank lines are passed over."""
    reader = csv.reader(feed, delimiter=separator, strict=True)
    while True:
        feed.taken = []
        first = feed.number + 1
        try:
            cells = _next(reader, max_field)
        except StopIteration:
            return
        except csv.Error as broken:
            yield _broken(str(broken), first, feed.taken, separator, max_field)
            feed.give_back()
            reader = csv.reader(feed, delimiter=separator, strict=True)
            continue
        if not cells or (len(cells) == 1 and not cells[0].strip()):
            continue
        if any("\0" in cell for cell in cells):
            hint = "write the file again as text; UTF-16 without a mark: --encoding utf-16-le"
            yield Fault(first, "E-NUL", "NUL character", "text holds none", "NUL character", hint)
            continue
        yield first, cells


def ragged(line: int, count: int, width: int) -> Fault:
    """The fault of a row whose cell count is not the header's."""
    why = f"{count} cells where the header has {width}"
    hint = "quote cells that hold the separator, or use --bad-rows skip"
    return Fault(line, "E-RAGGED", "Ragged row", why, "other number of cells than the header", hint)


def _next(reader: Iterator[list[str]], max_field: int) -> list[str]:
    # The limit of the csv module is global: put it back for others.
    before = csv.field_size_limit(max_field)
    try:
        return next(reader)
    finally:
        csv.field_size_limit(before)


def _broken(message: str, first: int, taken: list[str], separator: str, max_field: int) -> Fault:
    if "field larger" in message:
        why = f"a cell has more than {max_field:,} characters, or a quote is never closed"
        hint = "close the quote, or leave the row out with --bad-rows skip"
        return Fault(first, "E-FIELD", "Cell too long", why, "cell too long", hint)
    line = first + _open_quote(taken, separator)
    unclosed = "end of data" in message
    why = "the quote is never closed" if unclosed else "text follows the closing quote"
    hint = 'double a quotation mark inside a quoted cell: ""'
    return Fault(line, "E-QUOTE", "Broken quote", why, "broken quote", hint)


def _open_quote(taken: list[str], separator: str) -> int:
    """Index of the line where the last quoted cell began."""
    state, opened = "start", 0
    for index, line in enumerate(taken):
        for mark in line:
            if state == "inside":
                state = "closing" if mark == '"' else "inside"
            elif mark == '"' and state == "start":
                state, opened = "inside", index
            elif mark == '"' and state == "closing":
                state = "inside"
            elif mark == separator:
                state = "start"
            elif state == "closing" and mark not in "\r\n":
                return opened
            else:
                state = "plain"
    return opened


def _columns(lines: list[str], separator: str, header_only: bool = False) -> int:
    """Columns of the header where most rows after it agree, else 0."""
    before = csv.field_size_limit(_NO_LIMIT)
    try:
        rows = [row for row in csv.reader(lines, delimiter=separator) if row]
    except csv.Error:
        return 0
    finally:
        csv.field_size_limit(before)
    if not rows:
        return 0
    # The last row of a sample may be cut inside a quoted cell.
    body = [] if header_only else rows[1 : -1 if len(lines) == _SAMPLE_LINES else None]
    agreeing = sum(len(row) == len(rows[0]) for row in body)
    return len(rows[0]) if agreeing >= 0.8 * len(body) else 0


def sample(lines: Iterator[str]) -> tuple[list[str], Iterator[str]]:
    """The first lines, and an iterator over all of them."""
    first = list(itertools.islice(lines, _SAMPLE_LINES))
    return first, itertools.chain(first, lines)


def _quoted(separator: str) -> str:
    return "tab" if separator == "\t" else f"'{separator}'"
