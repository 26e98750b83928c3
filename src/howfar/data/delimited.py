r"""CSV and TSV, strictly, row by row, with the physical line of each row.

Idea     the standard `csv` reader with strict=True over lines that keep their endings
Faults   E-RAGGED other cell count than the header, E-QUOTE where the quote opened, E-FIELD, E-NUL
After    a fault, reading goes on at the line after the one where the bad row started
Quotes   `none`: a quotation mark is text like any other, and every line is a row
Bound    a row has a most length, and lines read again are counted: broken quotes in every line
         must not cost the square of the file
Source   RFC 4180, https://www.rfc-editor.org/rfc/rfc4180
"""

import csv
import itertools
from collections import deque
from collections.abc import Iterator
from typing import Literal, TypeAlias

from howfar.core.errors import DataError, UsageError, shown
from howfar.data.faults import RAW_KEPT, Fault, place

SEPARATORS = {",": ",", ";": ";", "\t": "tab", "|": "|"}
_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}
_SAMPLE_LINES = 50
_SAMPLE_SIZE = 1 << 20
_NO_LIMIT = 1 << 30  # a sample's lines are capped already
_AGAIN = 1 << 23  # characters read again, beside those of the file once more
BROKEN_HINT = (
    'double a quotation mark inside a quoted cell: ""; or --quote none, where quotes are text'
)

Row = tuple[int, list[str]]
Quote: TypeAlias = Literal['"', "none"]
_QUOTING: dict[Quote, Literal[0, 3]] = {'"': csv.QUOTE_MINIMAL, "none": csv.QUOTE_NONE}


class _RowTooLongError(csv.Error):
    """A quoted cell that goes on over too many lines."""


class TooBrokenError(Exception):
    """So many rows with broken quotes that reading on would take for ever."""


class Feed:
    """Physical lines for the csv reader, remembering those of the row being read."""

    def __init__(self, lines: Iterator[str], most: int = _NO_LIMIT) -> None:
        """`most`: characters a row may have, all its lines together."""
        self._lines = lines
        self._most = most
        self._back: deque[str] = deque()
        self.taken: list[str] = []
        self.number = 0
        self._size = self._read = self._again = 0

    def __iter__(self) -> "Feed":
        return self

    def __next__(self) -> str:
        if self._back:
            line = self._back.popleft()
        else:
            line = next(self._lines)
            self._read += len(line)
        self.taken.append(line)
        self.number += 1
        self._size += len(line)
        if self._size > self._most:
            raise _RowTooLongError
        return line

    def begin(self) -> int:
        """Start a row; the number of its first line."""
        self.taken = []
        self._size = 0
        return self.number + 1

    def give_back(self) -> None:
        """Return all lines of this row but its first."""
        self._again += self._size
        if self._again > _AGAIN + self._read:
            raise TooBrokenError
        self._back.extendleft(reversed(self.taken[1:]))
        self.number -= len(self.taken) - 1

    def raw(self, lines: int | None = None) -> str:
        """The row as it stands in the file, or its first lines, as far as it is kept."""
        return "".join(self.taken[: lines or RAW_KEPT])[:RAW_KEPT].rstrip("\r\n")


def separator_for(
    lines: list[str], asked: str | None, suffix: str, path: str, quote: Quote = '"'
) -> tuple[str, str]:
    """Choose the separator from the option, the ending and the first lines.

    Returns:
        The separator and a sentence saying that it was guessed, or "".

    Raises:
        DataError: E-DELIM where the header is one column and another separator fits.
        UsageError: E-OPTION for a separator that is not one character.
    """

    def columns(mark: str, header_only: bool = False) -> int:
        return columns_of(lines, mark, header_only, quote)

    fitting = [mark for mark in SEPARATORS if columns(mark) > 1]
    if asked == "auto":
        if not fitting:
            raise DataError(
                "E-DELIM",
                f"No separator fits {place(path)}: tried comma, semicolon, tab and |.",
                "name it with --sep",
            )
        best = max(fitting, key=columns)
        return best, f"The separator {_quoted(best)} was guessed from the first rows."
    chosen = _NAMES.get(asked, asked) if asked else ("\t" if suffix.startswith(".tsv") else ",")
    if len(chosen) != 1 or chosen in '"\r\n\0':
        raise UsageError("E-OPTION", f"{shown(chosen)} cannot separate columns.", "--sep ';'")
    others = [mark for mark in fitting if mark != chosen]
    if others and columns(chosen, header_only=True) == 1:
        raise DataError(
            "E-DELIM",
            f"Only one column in {place(path, 1)}: the separator looks like {_quoted(others[0])}, "
            f"not {_quoted(chosen)}.",
            f"use --sep {_quoted(others[0])}",
        )
    return chosen, ""


def parse(feed: Feed, separator: str, max_field: int, quote: Quote = '"') -> Iterator[Row | Fault]:
    """Yield rows as (line, cells) and faults; blank lines are passed over.

    Raises:
        TooBrokenError: after a fault, where going on would mean to read the file many times.
    """
    quoting = _QUOTING[quote]
    reader = csv.reader(feed, delimiter=separator, quoting=quoting, strict=True)
    while True:
        first = feed.begin()
        try:
            cells = _next(reader, max_field)
        except StopIteration:
            return
        except csv.Error as broken:
            yield _broken(broken, first, feed, separator, max_field)
            feed.give_back()
            reader = csv.reader(feed, delimiter=separator, quoting=quoting, strict=True)
            continue
        if not cells or (len(cells) == 1 and not cells[0].strip()):
            continue
        if any("\0" in cell for cell in cells):
            hint = "write the file again as text; UTF-16 without a mark: --encoding utf-16-le"
            why, name, raw = "text holds none", "NUL character", feed.raw()
            yield Fault(first, "E-NUL", name, why, name, hint, raw=raw)
            continue
        yield first, cells


def ragged(line: int, count: int, width: int, raw: str) -> Fault:
    """The fault of a row whose cell count is not the header's."""
    why = f"{count} cells where the header has {width}"
    hint = "quote cells that hold the separator, or use --bad-rows skip"
    reason = "other number of cells than the header"
    return Fault(line, "E-RAGGED", "Ragged row", why, reason, hint, raw=raw)


def _next(reader: Iterator[list[str]], max_field: int) -> list[str]:
    # The limit of the csv module is global: put it back for others.
    before = csv.field_size_limit(max_field)
    try:
        return next(reader)
    finally:
        csv.field_size_limit(before)


def _broken(broken: csv.Error, first: int, feed: Feed, separator: str, max_field: int) -> Fault:
    # Reading goes on at the second line, so only the first is lost.
    raw = feed.raw(1)
    if isinstance(broken, _RowTooLongError) or "field larger" in str(broken):
        why = f"a cell has more than {max_field:,} characters, or a quote is never closed"
        hint = "close the quote, --bad-rows skip leaves the row out, --quote none reads it as text"
        return Fault(first, "E-FIELD", "Cell too long", why, "cell too long", hint, raw=raw)
    line = first + _open_quote(feed.taken, separator)
    unclosed = "end of data" in str(broken)
    why = "the quote is never closed" if unclosed else "text follows the closing quote"
    hint = BROKEN_HINT
    return Fault(line, "E-QUOTE", "Broken quote", why, "broken quote", hint, raw=raw)


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


def columns_of(
    lines: list[str], separator: str, header_only: bool = False, quote: Quote = '"'
) -> int:
    """Columns of the header where most rows after it agree, else 0."""
    before = csv.field_size_limit(_NO_LIMIT)
    try:
        reader = csv.reader(lines, delimiter=separator, quoting=_QUOTING[quote])
        rows = [row for row in reader if row]
    except csv.Error:
        return 0
    finally:
        csv.field_size_limit(before)
    if not rows:
        return 0
    # The last row of a sample may be cut inside a quoted cell.
    cut = len(lines) == _SAMPLE_LINES or sum(map(len, lines)) >= _SAMPLE_SIZE
    body = [] if header_only else rows[1 : -1 if cut else None]
    agreeing = sum(len(row) == len(rows[0]) for row in body)
    return len(rows[0]) if agreeing >= 0.8 * len(body) else 0


def sample(lines: Iterator[str]) -> tuple[list[str], Iterator[str]]:
    """The first lines, and an iterator over all of them."""
    first: list[str] = []
    size = 0
    while len(first) < _SAMPLE_LINES and size < _SAMPLE_SIZE:
        line = next(lines, None)
        if line is None:
            break
        first.append(line)
        size += len(line)
    return first, itertools.chain(first, lines)


def _quoted(separator: str) -> str:
    return "tab" if separator == "\t" else f"'{separator}'"
