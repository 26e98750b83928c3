"""What format a file is: by its ending, by the option, or, for standard input, by its first bytes.

Idea     an ending is believed unless the bytes say that it cannot be
Order    Parquet and Arrow by their magic; JSON Lines by the first brace; CSV or TSV where rows
         agree on their cells, or the first line is a well-known column; else text
"""

from typing import Literal, TypeAlias, get_args

from howfar.core.errors import DataError, UsageError, shown
from howfar.data.columns import LABEL_NAMES, TEXT_NAMES
from howfar.data.delimited import columns_of
from howfar.data.faults import place
from howfar.data.source import Source, ending

Format: TypeAlias = Literal["csv", "tsv", "jsonl", "parquet", "arrow", "text"]
_PARQUET, _ARROW, _ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
_COLUMNAR = (".parquet", ".arrow", ".feather", ".ipc")
_KNOWN = {name for tier in (*TEXT_NAMES, *LABEL_NAMES) for name in tier}


def ending_of(source: Source, asked: Format | None) -> str:
    """The ending that stands for the source's format, such as ".csv"; ".txt" for text.

    Raises:
        UsageError: E-OPTION for an unknown format.
    """
    if asked is not None:
        if asked not in get_args(Format):
            known = ", ".join(get_args(Format))
            raise UsageError("E-OPTION", f"--format {shown(asked)} is none of {known}.")
        return ".txt" if asked == "text" else f".{asked}"
    return ending(source.path) if source.path != "-" else _sniffed(source.head)


def refuse_columnar(source: Source, suffix: str) -> None:
    """Raise E-FORMAT for Parquet or Arrow bytes under another ending."""
    if suffix in _COLUMNAR:
        return
    for magic, name, end in ((_PARQUET, "a Parquet", ".parquet"), (_ARROW, "an Arrow", ".arrow")):
        if source.head.startswith(magic):
            message = f"Cannot read {place(source.path)} as text: it is {name} file."
            raise DataError("E-FORMAT", message, f"let its name end in {end}")


def _sniffed(head: bytes) -> str:
    if head.startswith(_PARQUET):
        return ".parquet"
    if head.startswith((_ARROW, _ARROW_STREAM)):
        return ".arrow"
    text = _as_text(head)
    if text.lstrip().startswith("{"):
        return ".jsonl"
    lines = [line + "\n" for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    lines = [line for line in lines if line.strip()]
    if len(head) >= 4096 and len(lines) > 2:
        lines.pop()  # it may be cut
    first = lines[0].strip().strip('"').casefold() if lines else ""
    if first in _KNOWN:
        return ".csv"
    for mark, suffix in ((",", ".csv"), ("\t", ".tsv")):
        names = {name.strip().strip('"').casefold() for name in first.split(mark)}
        if (len(names) > 1 and names & _KNOWN) or (len(lines) > 2 and columns_of(lines, mark) > 1):
            return suffix
    return ".txt"


def _as_text(head: bytes) -> str:
    for mark, codec in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if head.startswith(mark):
            return head.decode(codec, "replace").lstrip("\ufeff")
    return head.decode("utf-8-sig", "replace")
