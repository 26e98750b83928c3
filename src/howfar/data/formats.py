"""One reader a format, all giving rows in the same form, one by one.

Idea     the ending names the format; a dict says which reader that is
Forms    a `Stream` gives rows as they are read; `Cells` holds all of them, by column
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from howfar.core.errors import DataError
from howfar.data import decode, delimited, jsonl
from howfar.data.cells import SURROGATE, Cells, Ledger
from howfar.data.columns import check_names
from howfar.data.decode import Errors, Text
from howfar.data.faults import RAW_KEPT, Fault, error, place
from howfar.data.source import Source

LINE_CAP_CELLS = 16  # a line may be as long as this many of the longest cells
_MOST_KEYS = 1000
_MOST_COLUMNS = 20_000

Record = tuple[int, list[object] | dict[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to read; see `read.read_table`. guess: whether the encoding may be guessed."""

    encoding: str | None = None
    separator: str | None = None
    no_header: bool = False
    quote: delimited.Quote = '"'
    max_field: int = 1_048_576
    encoding_errors: Errors = "strict"
    guess: bool = False

    def text(self) -> Text:
        """How bytes become text."""
        return Text(self.encoding, self.encoding_errors, guess=self.guess)


@dataclass(slots=True, kw_only=True)
class Stream:
    """Rows as they are read.

    rows: (physical line, cells by position; by name where names is None). names: None where they
    are not known before the end. notes: may grow while rows are read.
    """

    rows: Iterator[Record]
    names: list[str] | None = None
    notes: Callable[[], tuple[str, ...]] = field(default=tuple)


Reader = Callable[[Source, Options, Ledger], Stream]


def delimited_rows(suffix: str) -> Reader:
    """A reader of CSV, or of TSV: the first row names the columns unless there is no header."""

    def read(source: Source, options: Options, ledger: Ledger) -> Stream:
        text = options.text()
        cap = LINE_CAP_CELLS * options.max_field
        first, whole = delimited.sample(decode.lines(source, text, cap))
        separator, said = delimited.separator_for(
            first, options.separator, suffix, source.path, options.quote
        )
        feed = delimited.Feed(whole, cap)
        parsed = delimited.parse(feed, separator, options.max_field, options.quote)
        items = _wholly(parsed, feed, source.path)
        names, begun = _header(items, options.no_header, source.path)
        return Stream(
            names=names,
            rows=_table_rows(items, begun, feed, (len(names), ledger)),
            notes=lambda: (*([said] if said else []), *text.notes),
        )

    return read


def json_rows(source: Source, options: Options, ledger: Ledger) -> Stream:
    """JSON Lines: every row names its own columns."""
    text = options.text()
    lines = decode.lines(source, text, LINE_CAP_CELLS * options.max_field)
    return Stream(rows=_objects(lines, ledger), notes=lambda: text.notes)


def columnar_rows(source: Source, options: Options, ledger: Ledger) -> Stream:
    """Parquet, Arrow or Feather; options and ledger have nothing to say here."""
    from howfar.data import columnar  # noqa: PLC0415 - pyarrow is large, and few need it

    names, rows = columnar.parse(source.file, source.path)
    try:
        check_names(names, source.path, None)
    except DataError:
        rows.close()
        raise
    return Stream(names=names, rows=rows)


def collect(stream: Stream, path: str) -> Cells:
    """Read all rows.

    Raises:
        DataError: whatever the rows raise; E-COLUMN for too many different names.
    """
    lines: list[int] = []
    rows: list[list[object] | dict[str, object]] = []
    known = dict.fromkeys(stream.names or ())
    for line, row in stream.rows:
        lines.append(line)
        rows.append(row)
        if isinstance(row, dict):
            known.update(dict.fromkeys(row))
            if len(known) > _MOST_KEYS:
                raise DataError(
                    "E-COLUMN",
                    f"More than {_MOST_KEYS:,} different keys by {place(path, line)}.",
                    "give every object the same keys",
                )
    names = list(known)
    if stream.names is None:
        check_names(names, path, None)

    def column(index: int) -> list[object]:
        return [row.get(names[index]) if isinstance(row, dict) else row[index] for row in rows]

    return Cells(names=names, lines=lines, column=column, notes=stream.notes())


def _wholly(
    items: Iterator[delimited.Row | Fault], feed: delimited.Feed, path: str
) -> Iterator[delimited.Row | Fault]:
    try:
        yield from items
    except delimited.TooBrokenError:
        raise DataError(
            "E-QUOTE",
            f"Broken quotes in too many rows of {place(path)}, up to row {feed.number:,}.",
            delimited.BROKEN_HINT,
        ) from None


def _header(
    items: Iterator[delimited.Row | Fault], no_header: bool, path: str
) -> tuple[list[str], list[delimited.Row]]:
    """The columns' names, and the row that was read for them where it is data."""
    for item in items:
        if isinstance(item, Fault):
            raise error(item, path)
        line, cells = item
        if len(cells) > _MOST_COLUMNS:
            message = f"{len(cells):,} columns in {place(path, line)}: more than {_MOST_COLUMNS:,}."
            raise DataError("E-COLUMN", message, "is it a table? give each row a line")
        names = [str(i + 1) if no_header else cell.strip() for i, cell in enumerate(cells)]
        check_names(names, path, line)
        return names, [item] if no_header else []
    return [], []


def _table_rows(
    items: Iterator[delimited.Row | Fault],
    begun: list[delimited.Row],
    feed: delimited.Feed,
    expected: tuple[int, Ledger],
) -> Iterator[Record]:
    width, ledger = expected
    record = len(begun)
    for line, cells in begun:
        yield line, list(cells)
    for record, item in enumerate(items, start=record + 1):  # noqa: B020 - goes on counting
        if isinstance(item, Fault):
            ledger.add(item, record)
            continue
        line, cells = item
        if len(cells) != width:
            ledger.add(delimited.ragged(line, len(cells), width, feed.raw()), record)
        elif any(not cell.isascii() and SURROGATE.search(cell) for cell in cells):
            ledger.add(_wrong_bytes(line, feed.raw()), record)
        else:
            yield line, list(cells)


def _objects(lines: Iterator[str], ledger: Ledger) -> Iterator[Record]:
    for record, item in enumerate(jsonl.parse(lines), start=1):
        if isinstance(item, Fault):
            ledger.add(item, record)
        else:
            yield item


def _wrong_bytes(line: int, raw: str) -> Fault:
    what, hint = "Bytes that are not UTF-8", "name the encoding, or leave the row out"
    why = "UTF-8 elsewhere, but not here"
    return Fault(line, "E-ENCODING", what, why, "not UTF-8", hint, raw=raw[:RAW_KEPT])


STREAMS: dict[str, Reader] = {
    ".csv": delimited_rows(".csv"),
    ".tsv": delimited_rows(".tsv"),
    ".jsonl": json_rows,
    ".ndjson": json_rows,
    ".parquet": columnar_rows,
    ".arrow": columnar_rows,
    ".feather": columnar_rows,
    ".ipc": columnar_rows,
}
STREAMS |= {f"{end}.gz": STREAMS[end] for end in (".csv", ".tsv", ".jsonl", ".ndjson")}


def _collecting(reader: Reader) -> Callable[[Source, Options, Ledger], Cells]:
    return lambda source, options, ledger: collect(reader(source, options, ledger), source.path)


READERS = {end: _collecting(reader) for end, reader in STREAMS.items()}
