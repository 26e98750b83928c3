"""A study from a file: TOML in one form, checked as a whole before any work.

Idea     version = 1
         name = "recall"
         [axes]      family, rate, and seed or `seeds = 3`; also length, parameters
         [data]      one of task = "recall" (with [data.settings]), text = PATH, table = PATH
         [budget]    one of tokens, steps, seconds, flops: of each run
         [settings]  batch, embedding, dropout, threads, device
         [measure]   reach, sequences, cost_lengths
Paths    from the folder of the study file; shipped sets go by their names
Text     is read by characters: each next one is predicted in windows of `length`
"""

import os
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from howfar.core.errors import shown
from howfar.study.form import FLAG, NUMBER, TEXT, WHOLE, Part, read_form
from howfar.study.grid import AXES, Axes, Measure, Settings, Study
from howfar.study.material import WINDOW, Material, placed
from howfar.study.plan import CompareOptions, check_family
from howfar.study.sources import SourceOptions
from howfar.tasks import TASKS, Task, from_file, task
from howfar.train import Budget
from howfar.train.budget import MOST

VERSION = 1
MOST_SPENT = 1e15  # of a budget, where its unit has no limit of its own
TOP = ("version", "name", "axes", "data", "budget", "settings", "measure")
DATA = ("task", "text", "table")
BUDGETS = ("tokens", "steps", "seconds", "flops")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
KINDS = {
    "batch": WHOLE,
    "embedding": WHOLE,
    "dropout": NUMBER,
    "threads": WHOLE,
    "device": TEXT,
    "reach": FLAG,
    "sequences": WHOLE,
}


def read_study(path: str | os.PathLike[str]) -> Study:
    """The study that a file describes. Data is read once, to know its content.

    Raises:
        UsageError: E-NO-FILE; E-CONFIG naming the file, the key and what is wrong with it.
        DataError, EnvironmentFault: the data, or a task file, cannot be read.
    """
    top = read_form(path)
    version = top.get("version", WHOLE)
    if version != VERSION:
        newer = "newer than this howfar can read" if version > VERSION else "of no known form"
        raise top.wrong("version", f"{version} is {newer}.", f"version = {VERSION}")
    top.only(TOP)
    name = top.get("name", TEXT)
    if not NAME.fullmatch(name):
        why = f"{shown(name)} is not 1 to 64 letters, digits, dots, dashes or underscores."
        raise top.wrong("name", why, "begin with a letter or a digit")
    axes = _axes(top)
    budget = _budget(top.part("budget", needed=True))
    settings = _part(top.part("settings"), Settings)
    measure = _part(top.part("measure"), Measure)
    axes, data = _data(top, axes, Path(path).parent)
    return Study(name=name, axes=axes, data=data, budget=budget, settings=settings, measure=measure)


def _axes(top: Part) -> Axes:
    """The axes; a length that is not given is None until the data says it."""
    part = top.part("axes", needed=True)
    part.only((*AXES, "seeds"))
    kinds = {"family": TEXT, "length": WHOLE, "rate": NUMBER, "seed": WHOLE, "parameters": WHOLE}
    found: dict[str, Any] = {}
    for key, kind in kinds.items():
        if key in part.content or key in {"family", "rate"}:
            found[key] = part.listed(key, kind)
    if part.one_of(("seed", "seeds")) == "seeds":
        seeds = part.get("seeds", WHOLE)
        with part.blamed("seeds"):
            CompareOptions(seeds=seeds)
        found["seed"] = tuple(range(seeds))
    found["rate"] = tuple(float(rate) for rate in found["rate"])
    with top.blamed("axes"):
        axes = Axes(**found)  # refuses a grid that is too large before each value is looked at
    for key, values in found.items():
        for i, value in enumerate(values):
            with part.blamed(f"{key}[{i}]"):
                _check(key, value)
    return axes


def _check(axis: str, value: Any) -> None:  # noqa: ANN401 - of the axis
    """Refuse a value that a comparison would refuse."""
    if axis == "family":
        check_family(value)
    elif axis == "length":
        SourceOptions(length=value)
    elif axis == "rate":
        CompareOptions(rates=(value,))
    else:
        CompareOptions(**{axis: value})


def _budget(part: Part) -> Budget:
    part.only(BUDGETS)
    unit = part.one_of(BUDGETS)
    amount = part.get(unit, WHOLE if unit == "steps" else NUMBER)
    if not 0 < amount <= MOST.get(unit, MOST_SPENT):
        raise part.wrong(unit, f"{amount} is not above 0, or would never be spent.")
    return Budget(float(amount), unit)


def _part(part: Part, kind: type[Any]) -> Any:  # noqa: ANN401 - of the kind
    """Settings or measures, each value checked as a comparison would."""
    part.only([field.name for field in fields(kind)])
    found: dict[str, Any] = {}
    for key in part.content:
        if key == "cost_lengths":
            found[key] = part.listed(key, WHOLE)
        else:
            found[key] = part.get(key, KINDS[key])
        with part.blamed(key):
            CompareOptions(**{key: found[key]})
    if "device" in found:
        try:
            torch.device(found["device"])
        except RuntimeError as error:
            why = f"{shown(found['device'])} is no device."
            raise part.wrong("device", why, "cpu or cuda") from error
    return kind(**found)


def _data(top: Part, axes: Axes, folder: Path) -> tuple[Axes, Material]:
    """The data, and the axes with the length that suits it where none was given."""
    part = top.part("data", needed=True)
    part.only((*DATA, "settings"))
    kind = part.one_of(DATA)
    if kind == "task":
        return _made(top, part, axes, folder)
    if "settings" in part.content:
        raise part.wrong("settings", "only a task has settings.", "leave it out")
    with part.blamed(kind):
        material = Material.of_file(
            "text" if kind == "text" else "table", part.get(kind, TEXT), folder
        )
    if kind == "text" and axes.length == (None,):
        axes = replace(axes, length=(WINDOW,))
    return axes, material


def _made(top: Part, part: Part, axes: Axes, folder: Path) -> tuple[Axes, Material]:
    """A task, which must be possible at every length of the axis."""
    said = part.part("settings")
    asked = axes.length != (None,)
    if asked and "length" in said.content:
        raise said.wrong("length", "the axis length says it too.", "one of the two")
    for key, value in said.content.items():
        if isinstance(value, dict | list):
            raise said.wrong(key, "is not one value.")
    found = _task(part, said, {"length": axes.length[0]} if asked else {}, folder)
    with said.blamed("path"):
        material = Material.of_task(found, folder)
    if not asked:
        with said.blamed("length"):
            _check("length", found.length)
        return replace(axes, length=(found.length,)), material
    for i, length in enumerate(axes.length):
        assert length is not None
        with top.blamed(f"axes.length[{i}]"):
            material.task(length)
    return axes, material


def _task(part: Part, said: Part, length: dict[str, int | None], folder: Path) -> Task:
    name = part.get("task", TEXT)
    if name.endswith(".toml"):
        if said.content:
            raise said.wrong("", "a task file has its own settings.", "write them into the file")
        with part.blamed("task"):
            return from_file(str(folder / name))
    settings = dict(said.content)
    if isinstance(settings.get("path"), str):
        with said.blamed("path"):
            settings["path"] = placed(settings["path"], folder)
    with part.blamed("task" if name not in TASKS else "settings"):
        return task(name, **settings, **length)
