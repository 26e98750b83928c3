"""A text file larger than memory, for language modelling: token files that are read by mapping.

Idea     passes over the file measure it, learn the tokeniser from the training part and write the
         ids of each part; the folder's manifest says of which file and with which settings, so that
         the next run begins at once
Same     parts, tokeniser and ids are those of `running.load_running`, as long as the training part
         is learned from as a whole
"""

import os
from pathlib import Path
from typing import Any

from howfar.core.errors import DataError, StoreError, UsageError, shown
from howfar.core.store import Folder, open_folder, verify
from howfar.data.decode import Errors
from howfar.data.examples import Corpus, Examples
from howfar.data.faults import place
from howfar.data.formats import READERS
from howfar.data.mapped import MappedIds
from howfar.data.ragged import Ragged
from howfar.data.read import NOT_TEXT
from howfar.data.source import ending, opened
from howfar.data.stretches import PARTS, Part, Progress, stamp
from howfar.data.token_files import write_token_files
from howfar.data.tokenise import MAX_VOCABULARY, Kind, Tokeniser, check_kind
from howfar.record.comparison import Data

LARGE = 64 << 20
_SCHEMA = 1
_PACKED = 4  # about how much gzip makes of text


def is_large(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a text file (not a table) of 64 MB or more, for `load_large`."""
    suffix = ending(path)
    try:
        size = Path(path).stat().st_size if Path(path).is_file() else 0
    except (OSError, ValueError):
        return False
    return not _other(suffix) and size * (_PACKED if suffix.endswith(".gz") else 1) >= LARGE


def load_large(  # noqa: PLR0913 - each is an option of the command line
    path: str | os.PathLike[str],
    *,
    folder: Path,
    tokens: Kind | None = None,
    length: int = 128,
    encoding: str | None = None,
    encoding_errors: Errors = "strict",
    name: str | None = None,
    max_vocabulary: int = MAX_VOCABULARY,
    progress: Progress | None = None,
) -> Corpus:
    """Tokenise a text file to `folder`, or take what lies there of the same file and settings.

    Args:
        path: a plain text file, also .gz.
        folder: gets train.arrow, validation.arrow, test.arrow, tokenizer.json and a manifest.
        tokens: "byte", "char" (the default), "word", "bpe" or "unigram".
        length: tokens of a window.
        encoding: a Python codec; UTF-8 by default.
        encoding_errors: "replace" puts U+FFFD for what cannot be decoded, and counts it.
        name: what the record calls the data; by default the file's name.
        max_vocabulary: the most ids.
        progress: called with the share that is done, 0 to 1.

    Raises:
        DataError: whatever is wrong with the content; E-TOO-SHORT for a part of less than a window.
        UsageError: E-OPTION, E-NO-FILE, E-REMOTE.
        EnvironmentFault: E-PERMISSION, E-READ, E-DISK, E-WRITE.
        StoreError: E-VERSION where a later howfar wrote the folder.
    """
    if length < 2:
        raise UsageError("E-OPTION", f"--length {length} is less than 2.", "--length 128")
    kind: Kind = tokens or "char"
    check_kind(kind, max_vocabulary)
    settings = {
        "schema": _SCHEMA,
        "tokens": kind,
        "max_vocabulary": max_vocabulary,
        "encoding": encoding,
        "encoding_errors": encoding_errors,
    }
    said = progress or _silent
    kept, why = _kept(path, folder, settings)
    if kept is None:
        _refuse_tables(path)
        write_token_files(path, folder, settings, said)
        kept = open_folder(folder)
    said(1.0)
    return _corpus(kept, length, name or Path(path).name.split(".")[0], why)


def _kept(
    path: str | os.PathLike[str], folder: Path, settings: dict[str, Any]
) -> tuple[Folder | None, tuple[str, ...]]:
    """The folder, where it holds this file's ids, undamaged; and what is to be said."""
    with opened(path) as source:
        size, changed = stamp(source)
        try:
            about = open_folder(folder).about
            of = about["source"]
            if about["settings"] != settings or of["size"] != size:
                return None, ()
            if of["mtime_ns"] != changed and of["sha256"] != source.sha256():
                return None, ()
            return verify(folder), ()
        except StoreError as fault:
            if fault.code == "E-VERSION":
                raise
            damaged = fault.code == "E-DAMAGED"
            note = f"The token files in {place(str(folder))} were damaged and are written again."
            return None, (note,) if damaged else ()
        except (KeyError, TypeError):  # of another kind of folder
            return None, ()


def _corpus(kept: Folder, length: int, name: str, notes: tuple[str, ...]) -> Corpus:
    about = kept.about
    counts: dict[Part, int] = {part: about["tokens"][part] for part in PARTS}
    tokeniser = Tokeniser.from_json(
        kept.read("tokenizer.json"), name=str(kept.path / "tokenizer.json")
    )
    if min(counts.values()) <= length:
        raise DataError(
            "E-TOO-SHORT",
            f"The text is too short for windows of {length:,} {tokeniser.unit}s: its parts have "
            f"{', '.join(f'{count:,}' for count in counts.values())}.",
            f"--length {min(counts.values()) - 1}" if min(counts.values()) > 2 else "more text",
        )
    train, validation, test = (_mapped(kept.path / f"{part}.arrow", counts[part]) for part in PARTS)
    data = Data(
        kind="text",
        name=name,
        unit=tokeniser.unit,
        train=counts["train"],
        validation=counts["validation"],
        test=counts["test"],
        vocabulary=tokeniser.vocabulary,
        unknown_tokens=about["unknown"],
        length=length,
        sha256=about["source"]["sha256"],
        notes=(*about["notes"], *notes),
    )
    return Corpus(
        aim="lm",
        train=train,
        validation=validation,
        test=test,
        tokeniser=tokeniser,
        vocabulary=tokeniser.vocabulary,
        length=length,
        data=data,
    )


def _mapped(path: Path, count: int) -> Examples:
    """One row: the whole part, which `Ragged` reads in slices only."""
    flat = MappedIds(path)
    if len(flat) != count:
        raise StoreError(
            "E-DAMAGED",
            f"The token file {place(str(path))} has {len(flat):,} ids, not {count:,}.",
            "remove it, so that it is written again",
        )
    return Examples(ids=Ragged.whole(flat))


def _refuse_tables(path: str | os.PathLike[str]) -> None:
    suffix = ending(path)
    if _other(suffix):
        raise DataError(
            "E-FORMAT",
            f"{place(os.fspath(path))} is no running text: its name ends in {shown(suffix)}.",
            "give a .txt or .md file",
        )


def _other(suffix: str) -> bool:
    """Whether a file's ending is that of a table or a binary file."""
    return suffix in READERS or suffix.removesuffix(".gz") in NOT_TEXT


def _silent(_: float) -> None:
    pass
