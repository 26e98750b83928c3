"""One reader a format, all giving the same `Cells`.

Idea     the ending names the format; a dict says which reader that is
"""

from collections.abc import Callable
from dataclasses import dataclass

from howfar.core.errors import DataError
from howfar.data import decode, delimited, jsonl
from howfar.data.cells import Cells, Ledger
from howfar.data.columns import check_names
from howfar.data.faults import Fault, error, place
from howfar.data.source import Source, ending

LINE_CAP_CELLS = 16  # a line may be as long as this many of the longest cells
_MOST_KEYS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to read; see `read.read_table`."""

    encoding: str | None
    separator: str | None
    no_header: bool
    max_field: int


def read_delimited(source: Source, options: Options, ledger: Ledger) -> Cells:
    """Read CSV or TSV; the first row names the columns unless there is no header."""
    lines = decode.lines(source, options.encoding, LINE_CAP_CELLS * options.max_field)
    first, whole = delimited.sample(lines)
    separator, said = delimited.separator_for(
        first, options.separator, ending(source.path), source.path
    )
    names: list[str] = []
    rows: list[list[str]] = []
    numbers: list[int] = []
    for item in delimited.parse(delimited.Feed(whole), separator, options.max_field):
        if isinstance(item, Fault):
            if not names:
                raise error(item, source.path)
            ledger.add(item)
            continue
        line, cells = item
        if not names:
            names = _header(cells, options.no_header)
            check_names(names, source.path, line)
            if not options.no_header:
                continue
        if len(cells) == len(names):
            rows.append(cells)
            numbers.append(line)
        else:
            ledger.add(delimited.ragged(line, len(cells), len(names)))
    return Cells(
        names=names,
        lines=numbers,
        column=lambda i: [row[i] for row in rows],
        notes=(said,) if said else (),
    )


def read_json_lines(source: Source, options: Options, ledger: Ledger) -> Cells:
    """Read JSON Lines; the columns are all keys, in order of appearance."""
    objects: list[jsonl.Object] = []
    numbers: list[int] = []
    names: dict[str, None] = {}
    for item in jsonl.parse(
        decode.lines(source, options.encoding, LINE_CAP_CELLS * options.max_field)
    ):
        if isinstance(item, Fault):
            ledger.add(item)
            continue
        numbers.append(item[0])
        objects.append(item[1])
        names.update(dict.fromkeys(item[1]))
        if len(names) > _MOST_KEYS:
            raise DataError(
                "E-COLUMN",
                f"More than {_MOST_KEYS:,} different keys by {place(source.path, item[0])}.",
                "give every object the same keys",
            )
    known = list(names)
    check_names(known, source.path, None)
    return Cells(
        names=known, lines=numbers, column=lambda i: [row.get(known[i]) for row in objects]
    )


def read_parquet(source: Source, options: Options, ledger: Ledger) -> Cells:
    """Read Parquet; options and ledger have nothing to say here."""
    from howfar.data import columnar  # noqa: PLC0415 - pyarrow is large, and only Parquet needs it

    names, rows = columnar.parse(source.file, source.path)
    check_names(names, source.path, None)
    found = list(rows)
    return Cells(
        names=names,
        lines=[number for number, _ in found],
        column=lambda i: [values[i] for _, values in found],
    )


def _header(cells: list[str], no_header: bool) -> list[str]:
    return [str(i + 1) if no_header else cell.strip() for i, cell in enumerate(cells)]


READERS: dict[str, Callable[[Source, Options, Ledger], Cells]] = {
    ".csv": read_delimited,
    ".csv.gz": read_delimited,
    ".tsv": read_delimited,
    ".tsv.gz": read_delimited,
    ".jsonl": read_json_lines,
    ".jsonl.gz": read_json_lines,
    ".ndjson": read_json_lines,
    ".ndjson.gz": read_json_lines,
    ".parquet": read_parquet,
}
