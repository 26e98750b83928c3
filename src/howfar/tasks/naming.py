"""From a name and settings to a task: by keyword, from NAME=VALUE texts, or from a task file.

Idea     a task file is TOML: `task = "recall"` and one line a setting; whatever it does not know
         is refused, since a setting that is ignored is a wrong measurement
Types    each setting has the type of its default; text is read accordingly
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from howfar.core.errors import DataError, EnvironmentFault, UsageError, closest, shown
from howfar.tasks.base import Task

Kinds = Mapping[str, type[Task]]
LONGEST_FILE = 1 << 20  # bytes of a task file
YES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def task_of(kinds: Kinds, name: str, settings: Mapping[str, Any]) -> Task:
    """Build a task.

    Raises:
        UsageError: E-TASK for a name, E-SETTING for a setting nobody knows, E-OPTION for a value.
    """
    if name not in kinds:
        message = f"No task is called {shown(name)}. {closest(str(name), kinds)}"
        hint = f"one of {', '.join(kinds)}"
        raise UsageError("E-TASK", message.strip(), hint)
    known = {field.name: field.default for field in fields(kinds[name])}
    for key, value in settings.items():
        if key not in known:
            message = f"The task {name} has no setting {shown(key)}. {closest(str(key), known)}"
            raise UsageError("E-SETTING", message.strip(), f"one of {', '.join(known)}")
        if not _fits(value, known[key]):
            message = f"The setting {key} of {name} cannot be {shown(value)}."
            raise UsageError("E-OPTION", message, f"such as {key}={known[key]}")
    return kinds[name](**settings)


def parsed(kinds: Kinds, name: str, texts: Mapping[str, str]) -> dict[str, Any]:
    """Settings as they are typed: NAME=VALUE, each read as its default's type.

    Raises:
        UsageError: E-OPTION for a text that is no such value.
    """
    known = {f.name: f.default for f in fields(kinds[name])} if name in kinds else {}
    return {key: _value(key, text, known.get(key)) for key, text in texts.items()}


def read_task(kinds: Kinds, path: str | os.PathLike[str]) -> Task:
    """A task out of a task file.

    Raises:
        UsageError: E-NO-FILE, and as `task_of`.
        DataError: E-FORMAT where it is no TOML, or names no task.
        EnvironmentFault: E-READ.
    """
    place = Path(path)
    try:
        with place.open("rb") as file:
            content = file.read(LONGEST_FILE + 1)
    except (FileNotFoundError, IsADirectoryError, ValueError) as error:
        raise UsageError("E-NO-FILE", f"There is no task file {shown(path)}.", "a path") from error
    except OSError as error:
        message = f"Cannot read {shown(path)}: {error.strerror}."
        raise EnvironmentFault("E-READ", message, "check the path and its permissions") from error
    if len(content) > LONGEST_FILE:
        raise DataError("E-FORMAT", f"{shown(path)} is too long for a task file.", "a TOML file")
    try:
        said = tomllib.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        message = f"{shown(path)} is no task file: {error}."
        raise DataError("E-FORMAT", message, 'TOML, such as: task = "recall"') from error
    name = said.pop("task", None)
    if not isinstance(name, str):
        message = f"{shown(path)} names no task."
        raise DataError("E-FORMAT", message, 'a line such as: task = "recall"')
    return task_of(kinds, name, said)


def _fits(value: object, default: object) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    return isinstance(value, type(default))


def _value(key: str, text: str, default: object) -> Any:  # noqa: ANN401 - of the default's type
    try:
        if isinstance(default, bool):
            return YES[text.strip().lower()]
        if isinstance(default, int):
            return int(text.replace("_", "").replace(",", ""))
        if isinstance(default, float):
            return float(text)
    except (KeyError, ValueError) as error:
        message = f"{key}={shown(text)} is no {type(default).__name__}."
        raise UsageError("E-OPTION", message, f"such as {key}={default}") from error
    return text
