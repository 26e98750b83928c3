"""A table or a text file, read strictly: every row is kept, or counted with the reason why not.

Idea     one reader a format yields rows and faults; the ledger raises a fault or counts it
Formats  .csv .tsv .jsonl .ndjson (each also .gz), .parquet, .arrow, .feather and .ipc; any other
         text for `read_text`; "-" is standard input, whose format is found by its first bytes
Values   texts as they stand; labels are stripped strings; "NA", "null" and "nan" are text
"""

import os
from dataclasses import dataclass, field
from typing import Literal, TypedDict, get_args

from howfar.core.errors import DataError, UsageError, shown
from howfar.data import columns, decode
from howfar.data.cells import SURROGATE, Ledger, clean, near_duplicates
from howfar.data.decode import Errors, Text
from howfar.data.delimited import Quote
from howfar.data.faults import place
from howfar.data.formats import READERS, Options
from howfar.data.rejects import Rejects
from howfar.data.sniff import Format, ending_of, refuse_columnar
from howfar.data.source import Source, opened

MAX_FIELD = 1_048_576
NOT_TEXT = (
    *(".xlsx", ".xls", ".ods", ".npy", ".npz", ".pkl", ".pt", ".pth"),
    *(".zip", ".bz2", ".xz", ".zst", ".7z", ".tar", ".tgz", ".pdf", ".docx", ".safetensors"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Labelled texts of one file; what stands at one index belongs to one row."""

    path: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    lines: tuple[int, ...]  # physical line where the row starts; the row's number in Parquet
    text_column: str
    label_column: str
    notes: tuple[str, ...]
    sha256: str  # of the file's bytes
    dropped: dict[str, int] = field(default_factory=dict)  # reason -> rows

    @property
    def num_rows(self) -> int:
        """Rows kept."""
        return len(self.texts)

    @property
    def num_dropped(self) -> int:
        """Rows left out, for all reasons."""
        return sum(self.dropped.values())


class Reading(TypedDict, total=False):
    """Options of `read_table` that say how to read, as keyword arguments to pass on."""

    encoding: str | None
    separator: str | None
    bad_rows: Literal["error", "skip"]
    empty: Literal["error", "drop", "keep"]
    no_header: bool
    quote: Quote
    max_field: int
    encoding_errors: Errors
    rejects: str | os.PathLike[str] | None
    format: Format | None


def read_table(  # noqa: PLR0913 - each is an option of the command line
    path: str | os.PathLike[str],
    *,
    text: str | None = None,
    label: str | None = None,
    encoding: str | None = None,
    separator: str | None = None,
    bad_rows: Literal["error", "skip"] = "error",
    empty: Literal["error", "drop", "keep"] = "error",
    no_header: bool = False,
    quote: Quote = '"',
    max_field: int = MAX_FIELD,
    encoding_errors: Errors = "strict",
    rejects: str | os.PathLike[str] | None = None,
    format: Format | None = None,
) -> Table:
    """Read labelled texts from a table.

    Args:
        path: a file of one of `READERS`, or "-" for standard input.
        text: the column of texts; guessed where obvious, and said in the notes.
        label: the column of labels; likewise.
        encoding: a Python codec; UTF-8 by default, or a guess where bad rows are skipped.
        separator: one character, "tab", or "auto"; by default a comma, and a tab for .tsv.
        bad_rows: "skip" leaves out rows that cannot be read, and counts them by reason.
        empty: what to do with texts that are empty or white space.
        no_header: the first row is data; the columns are called "1", "2", ...
        quote: what a cell may stand in; "none": quotation marks are text, and a line is a row.
        max_field: the most characters a cell may have.
        encoding_errors: "replace" puts U+FFFD for what cannot be decoded, and counts it.
        rejects: a file that lists the rows left out, as JSON Lines; see `rejects`.
        format: overrides the file's ending.

    Raises:
        DataError: what is wrong with the content, and where.
        UsageError: E-NO-FILE, E-REMOTE, E-OPTION.
        EnvironmentFault: E-PERMISSION, E-READ, E-DISK.
    """
    _one_of("--empty", empty, ("error", "drop", "keep"))
    options = checked_options(
        encoding=encoding,
        separator=separator,
        no_header=no_header,
        quote=quote,
        max_field=max_field,
        encoding_errors=encoding_errors,
        bad_rows=bad_rows,
    )
    with opened(path) as source:
        suffix = table_ending(source, format)
        ledger = new_ledger(source.path, bad_rows, rejects)
        found = READERS[suffix](source, options, ledger)
        ledger.finish(len(found.lines))
        *at, said = columns.choose(found.names, (text, label), found.column, source.path)
        kept = clean(found, (at[0], at[1]), ledger, empty=empty, max_field=max_field)
        sha256 = source.sha256()
    return Table(
        path=source.path,
        texts=tuple(kept.texts),
        labels=tuple(kept.labels),
        lines=tuple(kept.lines),
        text_column=found.names[at[0]],
        label_column=found.names[at[1]],
        notes=(*found.notes, *said, *kept.notes, *near_duplicates(kept.labels), *ledger.notes()),
        dropped=dict(ledger.dropped),
        sha256=sha256,
    )


def checked_options(  # noqa: PLR0913 - each is an option of the command line
    *,
    encoding: str | None,
    separator: str | None,
    no_header: bool,
    quote: Quote = '"',
    max_field: int,
    encoding_errors: Errors,
    bad_rows: str,
) -> Options:
    """The options of a reader.

    Raises:
        UsageError: E-OPTION for a value that is none.
    """
    _one_of("--bad-rows", bad_rows, ("error", "skip"))
    _one_of("--encoding-errors", encoding_errors, get_args(Errors))
    _one_of("--quote", quote, get_args(Quote))
    if not 1 <= max_field <= 1 << 30:
        raise UsageError("E-OPTION", f"--max-field {max_field} is not from 1 to {1 << 30:,}.")
    return Options(
        encoding=encoding,
        separator=separator,
        no_header=no_header,
        quote=quote,
        max_field=max_field,
        encoding_errors=encoding_errors,
        guess=bad_rows == "skip",
    )


def new_ledger(path: str, bad_rows: str, rejects: str | os.PathLike[str] | None) -> Ledger:
    """A ledger that raises, counts, or counts and lists."""
    listing = None if rejects is None else Rejects(rejects, path)
    return Ledger(path, skip=bad_rows == "skip", rejects=listing)


def table_ending(source: Source, asked: Format | None) -> str:
    """The key of `READERS` for this source.

    Raises:
        DataError: E-FORMAT where it is no table.
    """
    suffix = ending_of(source, asked)
    if suffix not in READERS:
        raise _no_table(source.path, suffix)
    refuse_columnar(source, suffix)
    return suffix


def read_text(
    path: str | os.PathLike[str],
    *,
    encoding: str | None = None,
    encoding_errors: Errors = "strict",
    guess: bool = False,
) -> tuple[str, tuple[str, ...], str]:
    """Read running text, with LF line ends.

    Args:
        path: a .txt, .md or other plain text file, also .gz, or "-" for standard input.
        encoding: a Python codec; UTF-8 by default.
        encoding_errors: "replace" puts U+FFFD for what cannot be decoded, and counts it.
        guess: read what is not UTF-8 in an encoding guessed from its bytes, and say so.

    Returns:
        The text, notes on what was changed, and the SHA-256 of the file's bytes.

    Raises:
        DataError: E-FORMAT for a table or a binary file, E-EMPTY, E-ENCODING, E-NUL, E-ARCHIVE.
        UsageError: E-NO-FILE, E-REMOTE, E-OPTION.
        EnvironmentFault: E-PERMISSION, E-READ.
    """
    with opened(path) as source:
        suffix = ending_of(source, "text" if source.path == "-" else None)
        if suffix in READERS or suffix.removesuffix(".gz") in NOT_TEXT:
            raise DataError(
                "E-FORMAT",
                f"{place(source.path)} is no running text: its name ends in {shown(suffix)}.",
                "give a .txt or .md file",
            )
        how = Text(encoding, encoding_errors, guess=guess)
        text, notes = whole_text(source, how)
        sha256 = source.sha256()
    if not text.strip():
        raise DataError("E-EMPTY", f"Nothing to read in {place(source.path)}: no text.")
    return text, notes, sha256


def whole_text(source: Source, how: Text) -> tuple[str, tuple[str, ...]]:
    """All of a text file, with LF line ends, and notes on what was changed.

    Raises:
        DataError: E-FORMAT for a binary table, E-NUL, and as `decode.decoded`.
    """
    refuse_columnar(source, "")
    raw = "".join(decode.decoded(source, how))
    text = raw.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        row = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(
            "E-NUL",
            f"NUL character in {place(source.path, row)}: text holds none.",
            "is it UTF-16 without a mark? --encoding utf-16-le",
        )
    wrong = SURROGATE.search(text) if not text.isascii() else None
    if wrong is not None:
        row = text.count("\n", 0, wrong.start()) + 1
        where = place(source.path, row)
        raise DataError(
            "E-ENCODING",
            f"Wrong bytes in {where}: it is not UTF-8.",
            "--encoding-errors replace, or name the encoding",
        )
    changed = ("Line ends CR LF and CR were read as LF.",) if text != raw else ()
    return text, (*changed, *how.notes)


def _no_table(path: str, suffix: str) -> DataError:
    known = ", ".join(sorted(READERS))
    why = f"its name ends in {shown(suffix)}" if suffix else "its name has no ending"
    return DataError(
        "E-FORMAT", f"Cannot read {place(path)} as a table: {why}.", f"a file of one of {known}"
    )


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError("E-OPTION", f"{option} {shown(value)} is none of {', '.join(known)}.")
