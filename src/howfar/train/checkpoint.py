"""Checkpoints: everything a run needs to go on as if it had never stopped.

Idea     FOLDER/ckpt-000000123/ is written whole (core.store), then FOLDER/checkpoints.json knows of
         it, then the oldest beyond `keep` goes. The newest that is undamaged is the one read
Identity settings, data and versions that must be equal to go on; they lie in every checkpoint
Record   checkpoints.json says what was acknowledged: it can be rebuilt from the folders, and tells
         a run that lost all of them from one that never had any
"""

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from howfar.core import store
from howfar.core.errors import StoreError, UsageError, shown
from howfar.core.failpoints import reached
from howfar.core.protocols import State
from howfar.core.weights import Packed, unpack
from howfar.train.nested import join, split

RECORD = "checkpoints.json"
SCHEMA = 1
SHOWN_FIELDS = 5
INEXACT = "software"  # a field of identities; a run whose own has none goes on whatever it was
_NAME = re.compile(r"ckpt-(\d{9,})")
_DAMAGE = {"E-DAMAGED", "E-NO-MANIFEST", "E-CKPT", "E-UNSAFE"}
_TABLES = ("weights", "best", "optimiser", "carried")
_ABSENT = object()


@dataclass(slots=True, eq=False)
class RunState:
    """A run between two steps.

    step: steps done. weights: of the model; best: those with the best validation, may be empty.
    optimiser: `state_dict()` of a torch optimiser. carried: slot -> state of the model, for runs
    that carry it from batch to batch. counters: whatever else, without tensors.
    """

    step: int
    weights: dict[str, Tensor]
    best: dict[str, Tensor]
    optimiser: dict[str, Any]
    carried: dict[int, State]
    counters: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run, in a folder of their own.

    `notes` says what a user should know: damaged checkpoints that were passed over.

    Args:
        folder: created where missing; leftovers of killed runs are cleared away.
        identity: JSON, what must be equal to go on.
        keep: how many checkpoints are kept, at least 2, as one may turn out to be damaged.

    Raises:
        UsageError: E-OPTION, `keep` below 2.
        EnvironmentFault: E-PERMISSION, E-DISK or E-WRITE, before any training.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, keep: int = 2) -> None:
        if keep < 2:
            message = f"keep={keep!r} is out of range: one checkpoint may be damaged."
            raise UsageError("E-OPTION", message, "keep=2")
        self.folder, self.keep = Path(folder), keep
        self.identity: dict[str, Any] = json.loads(json.dumps(identity, allow_nan=False))
        self.notes: list[str] = []
        self._going_on = False
        self._damaged: set[int] = set()
        store.check_writable(self.folder, 0)
        store.sweep(self.folder)

    def save(self, state: RunState) -> Path:
        """Write a checkpoint, record it, and delete the oldest beyond `keep`.

        Raises:
            StoreError: E-EXISTS, the folder holds checkpoints that `newest` was never asked for.
            EnvironmentFault: E-DISK, E-PERMISSION or E-WRITE; earlier checkpoints are untouched.
        """
        found = self._found()
        if found and not self._going_on:
            message = f"{self.folder} holds checkpoints of an earlier run, up to step {max(found)}."
            raise StoreError("E-EXISTS", message, "to go on with that run, or another folder")
        self._going_on = True
        path = self._path(state.step)
        if state.step in found and not _whole(path):
            store.remove_folder(path)
        about = {"kind": "checkpoint", "step": state.step, "identity": self.identity}
        store.write_folder(path, _files(state), about=about, replace=True)
        reached("checkpoint:saved")
        self._damaged.discard(state.step)
        # a later step was passed over as damaged: this run has not come that far
        usable = [step for step in found if step < state.step and step not in self._damaged]
        kept = [*sorted(usable)[1 - self.keep :], state.step]
        record = {"schema": SCHEMA, "identity": self.identity, "steps": kept}
        store.write_file(self.folder / RECORD, _json(record))
        reached("checkpoint:recorded")
        for step in sorted(set(found) - set(kept)):
            store.remove_folder(self._path(step))
            reached("checkpoint:pruned")
        return path

    def newest(self) -> RunState | None:
        """The newest undamaged checkpoint; None where there never was one.

        Raises:
            StoreError: E-CKPT, all are damaged or gone; E-OTHER-RUN, they belong to another run;
                E-INEXACT, to other software or threads;
                E-VERSION, written by a later howfar.
            EnvironmentFault: E-READ or E-PERMISSION.
        """
        recorded, found = self._recorded(), self._found()
        lost = {step: "it is gone" for step in recorded or () if step not in found}
        for step in sorted(found, reverse=True):
            try:
                state = self._read(step)
            except StoreError as error:
                if error.code not in _DAMAGE:
                    raise
                lost[step] = error.message
            else:
                self._go_on(step, lost)
                return state
        if not found and recorded == []:
            self._going_on = True
            return None
        why = f"step {max(lost)}: {lost[max(lost)]}" if lost else f"only {RECORD} is left."
        message = f"No checkpoint in {self.folder} can be used: {why}"
        raise StoreError("E-CKPT", message, "a copy of that folder, or an empty one to start anew")

    def _go_on(self, step: int, lost: Mapping[int, str]) -> None:
        self._going_on, self._damaged = True, set(lost)
        for other, why in sorted(lost.items(), reverse=True):
            if other > step:
                self.notes.append(
                    f"The checkpoint at step {other:,} cannot be used ({why.rstrip('.')}): going "
                    f"on from step {step:,}, {other - step:,} steps are done again."
                )

    def _read(self, step: int) -> RunState:
        folder = store.open_folder(self._path(step))
        identity = folder.about.get("identity")
        if INEXACT not in self.identity and isinstance(identity, dict):
            identity = {name: value for name, value in identity.items() if name != INEXACT}
        if different := _different(identity, self.identity):
            raise _other_run(folder.path, different)
        tables = {name: _table(folder, name) for name in _TABLES}
        document = _document(folder)
        if not step == folder.about.get("step") == document.get("step"):
            message = f"{folder.path} holds another step than its name says."
            raise StoreError("E-CKPT", message, "an earlier checkpoint")
        return RunState(
            step=step,
            weights=tables["weights"],
            best=tables["best"],
            optimiser=join(document.get("optimiser"), tables["optimiser"]),
            carried=join(document.get("carried"), tables["carried"]),
            counters=join(document.get("counters"), tables["carried"]),
        )

    def _path(self, step: int) -> Path:
        return self.folder / f"ckpt-{step:09d}"

    def _found(self) -> list[int]:
        with store.saying(self.folder):
            names = [_NAME.fullmatch(path.name) for path in self.folder.iterdir()]
        return sorted(int(match[1]) for match in names if match)

    def _recorded(self) -> list[int] | None:
        """Steps that were acknowledged; None where the record cannot be read."""
        try:
            record = json.loads((self.folder / RECORD).read_bytes())
            return [int(step) for step in record["steps"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None


def _files(state: RunState) -> dict[str, bytes | store.Write]:
    optimiser: dict[str, Tensor] = {}
    carried: dict[str, Tensor] = {}
    document = {
        "step": state.step,
        "optimiser": split(state.optimiser, "optimiser", optimiser),
        "carried": split(state.carried, "carried", carried),
        "counters": split(state.counters, "counters", carried),
    }
    tables = zip(_TABLES, (state.weights, state.best, optimiser, carried), strict=True)
    packed = {f"{name}.safetensors": Packed(table) for name, table in tables}
    return {**packed, "state.json": _json(document)}


def _table(folder: store.Folder, name: str) -> dict[str, Tensor]:
    file = f"{name}.safetensors"
    return unpack(folder.read(file), name=f"{folder.path / file}")


def _document(folder: store.Folder) -> dict[str, object]:
    with contextlib.suppress(ValueError, RecursionError):
        document = json.loads(folder.read("state.json"))
        if isinstance(document, dict):
            return document
    message = f"{folder.path / 'state.json'} is not a table."
    raise StoreError("E-CKPT", message, "an earlier checkpoint")


def _whole(path: Path) -> bool:
    try:
        store.verify(path)
    except StoreError:
        return False
    return True


def _json(document: object) -> bytes:
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def _different(there: object, here: object, name: str = "") -> list[tuple[str, object, object]]:
    """(field, there, here) of every field that differs; fields of fields are joined by dots."""
    if not (isinstance(there, dict) and isinstance(here, dict)):
        same = there == here and type(there) is type(here)
        return [] if same else [(name or "identity", there, here)]
    found = []
    for key in sorted({*there, *here}):
        inner = f"{name}.{key}" if name else key
        found += _different(there.get(key, _ABSENT), here.get(key, _ABSENT), inner)
    return found


def _other_run(path: Path, different: list[tuple[str, object, object]]) -> StoreError:
    """What to say of a checkpoint of another identity."""
    if all(name.partition(".")[0] == INEXACT for name, _, _ in different):
        message = f"{path} was made otherwise: {_listed(different)}. Other bits would come out."
        return StoreError("E-INEXACT", message, "the same as there, or --allow-inexact")
    message = f"{path} belongs to another run: {_listed(different)}."
    return StoreError("E-OTHER-RUN", message, "the settings of that run, or another folder")


def _listed(different: list[tuple[str, object, object]]) -> str:
    shown_ones = [
        f"{name} is {_value(there)} there, {_value(here)} here"
        for name, there, here in different[:SHOWN_FIELDS]
    ]
    more = len(different) - SHOWN_FIELDS
    return "; ".join(shown_ones) + (f"; and {more} more" if more > 0 else "")


def _value(value: object) -> str:
    return "absent" if value is _ABSENT else shown(value, 40)
