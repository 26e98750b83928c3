"""A table or a text file, read strictly: every row is kept, or counted with the reason why not.

Idea     one reader a format yields rows and faults; the ledger raises a fault or counts it
Formats  .csv .tsv .jsonl .ndjson (each also .gz) and .parquet; any other text for `read_text`
Values   texts as they stand; labels are stripped strings; "NA", "null" and "nan" are text
"""

import os
from dataclasses import dataclass, field
from typing import Literal, TypedDict

from howfar.core.errors import DataError, UsageError, shown
from howfar.data import columns, decode
from howfar.data.cells import Ledger, clean, near_duplicates
from howfar.data.faults import place
from howfar.data.formats import READERS, Options
from howfar.data.source import ending, opened

MAX_FIELD = 1_048_576
_NOT_TEXT = (
    *(".feather", ".arrow", ".xlsx", ".xls", ".ods", ".npy", ".npz", ".pkl", ".pt", ".pth"),
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
    max_field: int


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
    max_field: int = MAX_FIELD,
) -> Table:
    """Read labelled texts from a table.

    Args:
        path: a .csv, .tsv, .jsonl, .ndjson (also .gz) or .parquet file.
        text: the column of texts; guessed where obvious, and said in the notes.
        label: the column of labels; likewise.
        encoding: a Python codec; UTF-8 by default.
        separator: one character, "tab", or "auto"; by default a comma, and a tab for .tsv.
        bad_rows: "skip" leaves out rows that cannot be read, and counts them by reason.
        empty: what to do with texts that are empty or white space.
        no_header: the first row is data; the columns are called "1", "2", ...
        max_field: the most characters a cell may have.

    Raises:
        DataError: what is wrong with the content, and where.
        UsageError: E-NO-FILE, E-REMOTE, E-OPTION.
        EnvironmentFault: E-PERMISSION, E-READ.
    """
    _one_of("--bad-rows", bad_rows, ("error", "skip"))
    _one_of("--empty", empty, ("error", "drop", "keep"))
    if not 1 <= max_field <= 1 << 30:
        raise UsageError("E-OPTION", f"--max-field {max_field} is not from 1 to {1 << 30:,}.")
    options = Options(
        encoding=encoding, separator=separator, no_header=no_header, max_field=max_field
    )
    with opened(path) as source:
        suffix = ending(source.path)
        if suffix not in READERS:
            raise _no_table(source.path, suffix)
        ledger = Ledger(source.path, skip=bad_rows == "skip")
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


def read_text(
    path: str | os.PathLike[str], *, encoding: str | None = None
) -> tuple[str, tuple[str, ...], str]:
    """Read running text, with LF line ends.

    Args:
        path: a .txt, .md or other plain text file, also .gz.
        encoding: a Python codec; UTF-8 by default.

    Returns:
        The text, notes on what was changed, and the SHA-256 of the file's bytes.

    Raises:
        DataError: E-FORMAT for a table or a binary file, E-EMPTY, E-ENCODING, E-NUL, E-ARCHIVE.
        UsageError: E-NO-FILE, E-REMOTE, E-OPTION.
        EnvironmentFault: E-PERMISSION, E-READ.
    """
    with opened(path) as source:
        suffix = ending(source.path)
        if suffix in READERS or suffix.removesuffix(".gz") in _NOT_TEXT:
            raise DataError(
                "E-FORMAT",
                f"{place(source.path)} is no running text: its name ends in {shown(suffix)}.",
                "give a .txt or .md file",
            )
        raw = "".join(decode.decoded(source, encoding))
        sha256 = source.sha256()
    text = raw.replace("\r\n", "\n").replace("\r", "\n")
    notes = ("Line ends CR LF and CR were read as LF.",) if text != raw else ()
    if not text.strip():
        raise DataError("E-EMPTY", f"Nothing to read in {place(source.path)}: no text.")
    if "\0" in text:
        row = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(
            "E-NUL",
            f"NUL character in {place(source.path, row)}: text holds none.",
            "is it UTF-16 without a mark? --encoding utf-16-le",
        )
    return text, notes, sha256


def _no_table(path: str, suffix: str) -> DataError:
    known = ", ".join(sorted(READERS))
    why = f"its name ends in {shown(suffix)}" if suffix else "its name has no ending"
    return DataError(
        "E-FORMAT", f"Cannot read {place(path)} as a table: {why}.", f"a file of one of {known}"
    )


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError("E-OPTION", f"{option} {shown(value)} is none of {', '.join(known)}.")
