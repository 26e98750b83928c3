"""The folder of a run: what may lie in it, and whether it can be written to.

Idea     a folder is empty, a run (checkpoints, and the tokens of a large text), or a finished
         bundle; anything else is left alone
"""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from howfar.core.errors import EnvironmentFault, StoreError, UsageError, shown
from howfar.core.leftovers import held, leftovers
from howfar.core.store import MANIFEST, check_writable, saying, sweep

CHECKPOINTS, PRETRAINED, TOKENS = "checkpoints", "pretraining", "tokens"
OURS = {CHECKPOINTS, PRETRAINED, TOKENS}
COPIES = 8  # of the weights: in two checkpoints the weights, the best ones and two moments


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a run is kept.

    resume: go on if it was begun. inexact: go on where software or threads have changed, so that
    other bits may come out. overwrite: a finished model that stands there.
    """

    folder: Path
    resume: bool = False
    inexact: bool = False
    overwrite: bool = False


def prepare(place: Place, weight_bytes: int) -> None:
    """Make sure that a run can be kept here, before anything is computed.

    Raises:
        UsageError: E-NO-FILE, E-EXISTS for a folder with other things in it.
        StoreError: E-EXISTS for a finished model, or a run that is not to be resumed.
        EnvironmentFault: E-PERMISSION, E-DISK.
    """
    folder = place.folder
    parent = folder.absolute().parent
    if parent.is_dir():
        sweep(parent)  # puts back what a kill in the last exchange left aside
    check_free(place)
    check_writable(folder, COPIES * weight_bytes)
    _check_exchange(folder)
    sweep(folder)


def _check_exchange(folder: Path) -> None:
    """Make sure that a model can be written beside the folder, and so take its place at the end.

    Raises:
        EnvironmentFault: E-PERMISSION, E-DISK, or E-WRITE where its name is too long for that.
    """
    folder = folder.resolve()
    with saying(folder), held(folder, "tmp") as beside:
        beside.mkdir()
        beside.rmdir()


def check_free(place: Place) -> None:
    """Refuse the current folder, one with a model in it, or with anything that is not a run's.

    Raises:
        UsageError, StoreError: as for `prepare`. EnvironmentFault: E-PERMISSION.
    """
    name = shown(str(place.folder), limit=400)
    inside = _inside(place.folder, name)
    if inside is None:
        return
    if Path.cwd().is_relative_to(place.folder.resolve()):
        message = f"{name} is the current folder, or above it; a model is put in its place."
        raise UsageError("E-EXISTS", message, "another --out")
    if MANIFEST in inside and not place.overwrite:
        message = f"There is a finished model in {name}."
        raise StoreError("E-EXISTS", message, "another --out, or --overwrite")
    strange = sorted(inside - OURS - _kept(place.folder))
    if strange:
        message = f"{name} holds other files, such as {shown(strange[0])}."
        raise UsageError("E-EXISTS", message, "an empty folder for --out")
    if begun(place.folder) and not place.resume:
        message = f"A run was begun in {name}."
        raise StoreError("E-EXISTS", message, "--resume goes on with it; or another --out")


def begun(folder: Path) -> bool:
    """Whether a run in this folder came as far as a checkpoint."""
    kept = (path for name in (CHECKPOINTS, PRETRAINED) for path in (folder / name).glob("*"))
    return any(not path.name.startswith(".") for path in kept)


def _kept(folder: Path) -> set[str]:
    """Names of a finished model's files, and of what a dead process was writing."""
    known = {left.path.name for left in leftovers(folder)}
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        known |= {MANIFEST, *json.loads((folder / MANIFEST).read_bytes())["files"]}
    return known


def _inside(folder: Path, name: str) -> set[str] | None:
    """The names in a folder; None where there is none.

    Raises:
        UsageError: E-NO-FILE. EnvironmentFault: E-PERMISSION.
    """
    try:
        return {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return None
    except ValueError as fault:
        raise UsageError("E-NO-FILE", f"{name} is no name of a folder.", "another --out") from fault
    except PermissionError as fault:
        message = f"Not allowed to look into {name}: {fault.strerror}."
        raise EnvironmentFault("E-PERMISSION", message, "another --out") from fault
    except NotADirectoryError as fault:
        raise UsageError("E-NO-FILE", f"{name} is a file.", "another --out") from fault
    except OSError as fault:
        message = f"No folder can be {name}: {fault.strerror}."
        raise UsageError("E-NO-FILE", message, "another --out") from fault
