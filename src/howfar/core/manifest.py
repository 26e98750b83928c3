"""Reading a saved folder: nothing is believed that its manifest does not prove.

Idea     MANIFEST.json {schema, about, files: {name: {size, sha256}}, seal}; the seal is the SHA-256
         of the rest in its one canonical form, so that a changed bit anywhere shows
Extra    files that the manifest does not name are never read and do no harm; `Folder.extra` lists
         them. Links to ordinary files are followed (hub caches are made of them): hashes decide
Replaced a crash between the two renames of a replacement leaves the old folder under
         `.NAME.old-...`: where NAME is missing, that one is read
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from howfar.core.disk import Entry, named
from howfar.core.errors import EnvironmentFault, StoreError, shown
from howfar.core.leftovers import leftovers

MANIFEST = "MANIFEST.json"
SCHEMA = 1
MANIFEST_BYTES = 16 << 20
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with a whole manifest. `about`: what the writer said; `extra`: not in the manifest.

    `path` is where it lies, which is not where it was asked for after an interrupted replacement.
    """

    path: Path
    about: dict[str, Any]
    files: dict[str, Entry]
    extra: tuple[str, ...] = ()

    def read(self, name: str) -> bytes:
        """The bytes of one file, checked.

        Raises:
            StoreError: E-DAMAGED, missing, of another size or with other bytes.
            EnvironmentFault: E-READ or E-PERMISSION.
        """
        if name not in self.files:
            raise _damaged(self.path, f"it has no {shown(name)}")
        entry = self.files[name]
        with _reading(self.path / name), _file(self.path / name, entry.size) as file:
            data = file.read(entry.size)
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise _damaged(self.path, f"the bytes of {name} are not those that were written")
        return data


def open_folder(path: Path) -> Folder:
    """Read the manifest, and check names and sizes; `Folder.read` and `verify` check the bytes.

    Raises:
        StoreError: E-NO-MANIFEST, E-DAMAGED, or E-VERSION (written by a later howfar).
        EnvironmentFault: E-READ or E-PERMISSION.
    """
    place = _standing(Path(path))
    document = _read_manifest(place)
    files = {name: _entry(place, name, entry) for name, entry in document["files"].items()}
    for name, entry in files.items():
        with _reading(place / name):
            os.close(_opened(place / name, entry.size))
    with _reading(place):
        present = set(os.listdir(place))  # noqa: PTH208 - names, not paths
    return Folder(place, document["about"], files, tuple(sorted(present - {*files, MANIFEST})))


def verify(path: Path) -> Folder:
    """`open_folder`, and the bytes of every file. Raises the same."""
    folder = open_folder(path)
    for name, entry in folder.files.items():
        with _reading(folder.path / name), _file(folder.path / name, entry.size) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
                raise _damaged(folder.path, f"the bytes of {name} are not those that were written")
    return folder


def manifest_bytes(about: Mapping[str, Any], files: Mapping[str, Entry]) -> bytes:
    """The manifest of these files, in its canonical form. `about`: JSON without nan."""
    listed = {name: {"size": e.size, "sha256": e.sha256} for name, e in files.items()}
    return _sealed({"schema": SCHEMA, "about": dict(about), "files": listed})


def _sealed(document: Mapping[str, Any]) -> bytes:
    seal = hashlib.sha256(_canonical(document)).hexdigest()
    return _canonical({**document, "seal": seal})


def _canonical(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _standing(path: Path) -> Path:
    """The folder itself, or what made way for a new one that never came."""
    if os.path.lexists(path):
        return path
    path = Path(os.path.realpath(path))
    with contextlib.suppress(OSError):
        for left in leftovers(path.parent, path.name):
            if left.kind == "old" and (left.path / MANIFEST).is_file():
                return left.path
    return path


def _read_manifest(place: Path) -> dict[str, Any]:
    with _reading(place / MANIFEST):
        there = (place / MANIFEST).exists()
    if not there:
        why = f"there is no {MANIFEST}" if place.is_dir() else "there is no such folder"
        message = f"{named(place)} is not a saved folder, or was never finished: {why}."
        raise StoreError("E-NO-MANIFEST", message, "the folder that was saved, whole")
    with _reading(place / MANIFEST), _file(place / MANIFEST) as file:
        data = file.read(MANIFEST_BYTES + 1)
    try:
        document = json.loads(data) if len(data) <= MANIFEST_BYTES else None
        whole = isinstance(document, dict) and _sealed(_unsealed(document)) == data
    except (ValueError, RecursionError):
        document, whole = None, False
    if not isinstance(document, dict) or not whole:
        raise _damaged(place, f"{MANIFEST} is not as it was written")
    if document.get("schema") != SCHEMA:
        message = f"{named(place)} has schema {shown(document.get('schema'))}, not {SCHEMA}."
        raise StoreError("E-VERSION", message, "a later version of howfar")
    if not isinstance(document.get("about"), dict) or not isinstance(document.get("files"), dict):
        raise _damaged(place, f"{MANIFEST} lacks a part")
    return document


def _unsealed(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "seal"}


def _entry(place: Path, name: str, entry: object) -> Entry:
    size, sha256 = (entry.get("size"), entry.get("sha256")) if isinstance(entry, dict) else (0, 0)
    if type(size) is not int or size < 0 or not NAME.fullmatch(name):
        raise _damaged(place, f"{MANIFEST} lists {shown(name)}, which cannot be")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise _damaged(place, f"{MANIFEST} has no SHA-256 for {name}")
    return Entry(size, sha256)


def _opened(path: Path, size: int | None) -> int:
    """A descriptor of an ordinary file of this size."""
    with _reading(path):
        # without O_NONBLOCK a pipe of that name would wait for a writer for ever
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and size in (None, found.st_size):
            return descriptor
        os.close(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise _damaged(path.parent, f"{path.name} is not an ordinary file")
    why = f"{path.name} has {found.st_size:,} bytes, expected {size:,}"
    raise _damaged(path.parent, why)


def _file(path: Path, size: int | None = None) -> io.BufferedReader:
    return os.fdopen(_opened(path, size), "rb")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno in _GONE:
            raise _damaged(path.parent, f"{path.name} is missing") from error
        code = "E-PERMISSION" if error.errno in (errno.EACCES, errno.EPERM) else "E-READ"
        message = f"Cannot read {named(path)}: {why}."
        raise EnvironmentFault(code, message, "look at the file and the disk it is on") from error


def _damaged(place: Path, why: str) -> StoreError:
    message = f"{named(place)} is damaged: {why}."
    return StoreError("E-DAMAGED", message, "an undamaged copy, or an earlier one")
