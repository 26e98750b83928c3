"""The folder of a run: what may lie in it, and whether it can be written to.

Idea     a folder is empty, a run (checkpoints, and the tokens of a large text), or a finished
         bundle; anything else is left alone
"""

from dataclasses import dataclass
from pathlib import Path

from howfar.core.errors import StoreError, UsageError, shown
from howfar.core.store import MANIFEST, check_writable, sweep

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
    sweep(folder)


def check_free(place: Place) -> None:
    """Refuse a folder with a model in it, or with anything that is not a run's.

    Raises:
        UsageError, StoreError: as for `prepare`.
    """
    name = shown(str(place.folder), limit=4096)
    try:
        inside = {path.name for path in place.folder.iterdir()}
    except FileNotFoundError:
        return
    except NotADirectoryError as fault:
        raise UsageError("E-NO-FILE", f"{name} is a file.", "another --out") from fault
    if MANIFEST in inside:
        if place.overwrite:
            return
        message = f"There is a finished model in {name}."
        raise StoreError("E-EXISTS", message, "another --out, or --overwrite")
    strange = sorted(entry for entry in inside - OURS if not entry.startswith("."))
    if strange:
        message = f"{name} holds other files, such as {shown(strange[0])}."
        raise UsageError("E-EXISTS", message, "an empty folder for --out")
    if inside & {CHECKPOINTS, PRETRAINED} and not place.resume:
        message = f"A run was begun in {name}."
        raise StoreError("E-EXISTS", message, "--resume goes on with it; or another --out")
