"""A folder of text files: its sub-folders are classes, or its files are documents.

Idea     one level only, in the order of the names; what is passed over is counted and said
Links    a link to a file inside the folder is that file; any other link is refused
Hash     of the files' names and contents, in order
"""

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from howfar.core.errors import DataError, EnvironmentFault, HowfarError, shown
from howfar.data.cells import Ledger
from howfar.data.faults import Fault, place
from howfar.data.formats import STREAMS, Options
from howfar.data.read import NOT_TEXT, whole_text
from howfar.data.source import ending, opened

_TEXTS = (".txt", ".md", ".txt.gz", ".md.gz")
_SAVED_SET = ("dataset_info.json", "dataset_dict.json")


@dataclass(slots=True)
class Folder:
    """files: (path, class or None), in order. notes: what was passed over, or read otherwise."""

    path: str
    files: list[tuple[Path, str | None]]
    said: Counter[str] = field(default_factory=Counter)
    _digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    @property
    def classes(self) -> bool:
        """Whether sub-folders are classes."""
        return bool(self.files) and self.files[0][1] is not None

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what was passed over and how files were read."""
        return tuple(f"{_files(count)} {said}" for said, count in sorted(self.said.items()))

    def add(self, file: Path, sha256: str) -> None:
        """Take a file into the hash."""
        name = os.fsencode(file.relative_to(self.path))
        self._digest.update(name + b"\0" + sha256.encode() + b"\n")

    def sha256(self) -> str:
        """Hash of the names and contents of the files read."""
        return self._digest.hexdigest()


def look(path: str) -> Folder:
    """Find the text files of a folder; nothing is opened.

    Raises:
        DataError: E-EMPTY without any, E-FOLDER where sub-folders hold no texts, E-LINK.
        EnvironmentFault: E-PERMISSION.
    """
    root = Path(path)
    folder = Folder(path, [])
    entries = _entries(root, folder)
    _refuse_saved_set(path, [entry.name for entry in entries])
    classes = [entry for entry in entries if _kind(entry, root) == "folder"]
    loose = [entry for entry in entries if _is_text(entry, root, bare=False)]
    others = len(entries) - len(classes) - len(loose)
    for entry in classes:
        below = _entries(entry, folder)
        texts = [file for file in below if _is_text(file, root, bare=True)]
        folder.files += [(file, entry.name) for file in texts]
        others += len(below) - len(texts)
    if classes and not folder.files and not loose:
        _no_texts_below(path, classes)
    if folder.files:
        folder.said["beside the class folders were passed over."] = len(loose)
    else:
        folder.files = [(file, None) for file in loose]
    folder.said["that are no texts were passed over."] = others
    folder.said += Counter()  # without zeros
    if not folder.files:
        raise _empty(path, [entry.name for entry in entries])
    return folder


def read(folder: Folder, options: Options, ledger: Ledger) -> Iterator[tuple[str, str | None]]:
    """Yield (text, class) file by file, with LF line ends; an empty file is an empty text.

    Raises:
        DataError: as `read.read_text` for any file, unless the ledger skips.
    """
    for number, (file, label) in enumerate(folder.files, start=1):
        try:
            with opened(file) as source:
                text, notes = whole_text(source, options.text())
                folder.add(file, source.sha256())
        except DataError as error:
            if not ledger.skip:
                raise
            reason = f"unreadable file ({error.code})"
            fault = Fault(
                number, error.code, "", "", reason, raw=str(file.relative_to(folder.path))
            )
            ledger.leave_out(fault, number)
            continue
        folder.said.update(f"read so: {note}" for note in notes)
        yield text, label


def refuse_binary(path: str, suffix: str) -> None:
    """Raise E-FORMAT for an ending that is surely no text."""
    if suffix.removesuffix(".gz") in NOT_TEXT:
        raise DataError(
            "E-FORMAT",
            f"Cannot read {place(path)}: its name ends in {shown(suffix)}.",
            f"a table ({', '.join(sorted(STREAMS))}), a text file or a folder of texts",
        )


def _entries(path: Path, folder: Folder) -> list[Path]:
    try:
        found = sorted(path.iterdir(), key=lambda entry: entry.name)
    except PermissionError as fault:
        message = f"Permission denied for {place(os.fspath(path))}."
        raise EnvironmentFault("E-PERMISSION", message, "check who may read it") from fault
    except OSError as fault:
        message = f"Cannot read {place(os.fspath(path))}: {fault.strerror}."
        raise EnvironmentFault("E-READ", message) from fault
    kept = [entry for entry in found if not entry.name.startswith(".")]
    folder.said["with hidden names were passed over."] += len(found) - len(kept)
    return kept


def _kind(entry: Path, root: Path) -> str:
    """What an entry is: "file", "folder" or "other"; links are followed inside the root only."""
    try:
        mode = entry.lstat().st_mode
        if stat.S_ISLNK(mode):
            inside = entry.resolve(strict=True)
            if not inside.is_relative_to(root.resolve()) or not inside.is_file():
                raise _bad_link(entry, "it leads out of the folder, or to no file")
            mode = inside.stat().st_mode
    except (OSError, RuntimeError) as fault:
        if isinstance(fault, HowfarError):
            raise
        raise _bad_link(entry, "it leads nowhere") from fault
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "other"


def _is_text(entry: Path, root: Path, *, bare: bool) -> bool:
    """`bare`: whether a name without an ending, or with a number for one, is a text too."""
    suffix = ending(entry)
    named = suffix in _TEXTS or (bare and (not suffix or suffix[1:].isdecimal()))
    return _kind(entry, root) == "file" and named


def _bad_link(entry: Path, why: str) -> DataError:
    message = f"Will not follow the link {place(os.fspath(entry))}: {why}."
    return DataError("E-LINK", message, "put the file itself there")


def _refuse_saved_set(path: str, names: list[str]) -> None:
    if any(name in names for name in _SAVED_SET):
        message = f"{place(path)} is a data set saved by the `datasets` library."
        raise DataError("E-FOLDER", message, f"name it as hf:{place(path)}")


def _no_texts_below(path: str, classes: list[Path]) -> None:
    for entry in classes:
        if any(below.is_dir() for below in entry.iterdir()):
            raise DataError(
                "E-FOLDER",
                f"The folders in {place(path)} hold folders, not texts.",
                f"name the folder above the classes, such as {place(os.fspath(entry))}",
            )


def _empty(path: str, names: list[str]) -> DataError:
    message = f"Nothing to read in {place(path)}: it holds no .txt or .md files."
    tables = [name for name in names if ending(name) in STREAMS]
    hint = f"name a table in it, such as {shown(tables[0])}" if tables else "another folder"
    return DataError("E-EMPTY", message, hint)


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"
