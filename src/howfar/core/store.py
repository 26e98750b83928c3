"""A folder that is there whole or not at all.

Idea     write beside the target -> fsync each file -> MANIFEST.json -> fsync -> fsync the folder
         -> rename -> fsync the parent
Replace  the old folder is renamed to `.NAME.old-...` first, and deleted when the new one is safe. A
         crash between the two renames leaves both: `open_folder` reads the old one there, `sweep`
         and the next write put it back
"""

import hashlib
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from howfar.core.disk import (
    Entry,
    Write,
    check_space,
    check_writable,
    named,
    saying,
    sync_folder,
    write_file,
    write_new,
)
from howfar.core.errors import StoreError, shown
from howfar.core.failpoints import reached
from howfar.core.leftovers import held, leftovers
from howfar.core.manifest import MANIFEST, NAME, Folder, manifest_bytes, open_folder, verify

__all__ = [
    "MANIFEST",
    "Entry",
    "Folder",
    "Write",
    "check_writable",
    "open_folder",
    "remove_folder",
    "saying",
    "sweep",
    "verify",
    "write_file",
    "write_folder",
]


def write_folder(
    path: Path,
    files: Mapping[str, bytes | Write],
    *,
    about: Mapping[str, Any] | None = None,
    replace: bool = False,
    own: Collection[str] = (),
) -> str:
    """Write all files and a manifest, and put them at `path` in one step.

    files: name -> bytes, or a function that writes to the open file it is given; where it has an
    attribute `size` (bytes), that is counted in what is needed. about: JSON, kept in the manifest.
    own: what else may lie in the old folder, and goes with it when it is replaced.
    The folder above must exist: one that was moved away is not made anew.

    Returns:
        SHA-256 of the manifest.

    Raises:
        StoreError: E-EXISTS, something is there and `replace` is off, or it is not one of ours.
        EnvironmentFault: E-DISK, E-PERMISSION or E-WRITE; what was there before is still there.
    """
    if wrong := [name for name in files if not NAME.fullmatch(name) or name == MANIFEST]:
        raise ValueError(f"{wrong[0]!r} cannot be the name of a file in a folder of ours.")
    needed = sum(len(c) if isinstance(c, bytes) else getattr(c, "size", 0) for c in files.values())
    path = Path(path)
    with saying(path, needed):
        path = Path(os.path.realpath(path))
        _sweep(path.parent, path.name)
        _check_free(path, replace, own)
        check_space(path.parent, needed)
        with held(path, "tmp") as temporary, held(path, "old") as aside:
            try:
                written = _fill(temporary, path, files, about or {})
                _swap(temporary, path, aside)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
    return written


def remove_folder(path: Path) -> None:
    """Delete a folder; in a crash it is there whole or under a name that `sweep` clears away.

    Raises:
        EnvironmentFault: E-PERMISSION or E-WRITE.
    """
    with saying(path), held(Path(path), "tmp") as temporary:
        os.rename(path, temporary)  # noqa: PTH104 - the tests watch every call on `os`
        shutil.rmtree(temporary)


def sweep(parent: Path) -> list[Path]:
    """Clear away, or put back, what processes that are gone left in a folder; returns these paths.

    Raises:
        EnvironmentFault: E-PERMISSION or E-WRITE; a folder that is missing has no leftovers.
    """
    parent = Path(parent)
    with saying(parent):
        return _sweep(parent, None) if parent.is_dir() else []


def _sweep(parent: Path, name: str | None) -> list[Path]:
    gone = [left for left in leftovers(parent, name) if left.dead()]
    for left in gone:
        if left.kind == "old" and not os.path.lexists(left.target):
            os.rename(left.path, left.target)  # noqa: PTH104
        else:
            left.remove()
    return [left.path for left in gone]


def _fill(
    temporary: Path, path: Path, files: Mapping[str, bytes | Write], about: Mapping[str, Any]
) -> str:
    os.mkdir(temporary)  # noqa: PTH102 - the tests watch every call on `os`
    reached("save:start")
    entries = {
        name: write_new(temporary / name, files[name], "save", path / name)
        for name in sorted(files)
    }
    manifest = manifest_bytes(about, entries)
    write_new(temporary / MANIFEST, manifest, "save", path / MANIFEST)
    sync_folder(temporary)
    reached("save:after_folder_fsync")
    return hashlib.sha256(manifest).hexdigest()


def _swap(temporary: Path, path: Path, aside: Path) -> None:
    replaced = path.exists()
    if replaced:
        os.rename(path, aside)  # noqa: PTH104
    try:
        if replaced:
            reached("save:aside")
        os.rename(temporary, path)  # noqa: PTH104
    except BaseException:
        if replaced:
            os.rename(aside, path)  # noqa: PTH104
        raise
    reached("save:after_rename")
    sync_folder(path.parent)
    reached("save:after_parent_fsync")
    if replaced:
        shutil.rmtree(aside, ignore_errors=True)


def _check_free(path: Path, replace: bool, own: Collection[str]) -> None:
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise StoreError("E-EXISTS", f"{named(path)} is a file.", "another name")
    inside = os.listdir(path)  # noqa: PTH208 - names, not paths
    if not inside:
        return
    if not replace:
        message = f"{named(path)} exists and is not empty."
        raise StoreError("E-EXISTS", message, "another name, or say that it is to be replaced")
    if strange := sorted(set(inside) - {*own, *_known(path)}):
        message = f"{named(path)} holds {shown(strange[0])}, which is not part of what was saved."
        raise StoreError("E-EXISTS", message, "move it elsewhere, or choose another name")


def _known(path: Path) -> set[str]:
    """Names that may be deleted with the folder, as far as a damaged manifest still says."""
    try:
        return {MANIFEST, *open_folder(path).files}
    except StoreError:
        return {MANIFEST}
