"""What a study trains on: a made task, a running text or labelled texts, known by its content.

Idea     a task is its name, version and settings; a file is the SHA-256 of its bytes, taken once
         when the study is planned and compared when a cell is opened. Where a file lies, and what
         it is called, decides nothing
Shared   splits and test items are the same in all cells of one length, whatever their seed, so
         that differences can be taken in pairs
"""

import dataclasses
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from howfar.core.errors import DataError, UsageError, shown
from howfar.data.labelled import load_labelled
from howfar.data.running import load_running
from howfar.data.shipped import SHIPPED
from howfar.data.source import check_local, opened
from howfar.study.problems import LabelProblem, Problem, TaskProblem, TextProblem
from howfar.tasks import TASKS, Task

Scalar = str | int | float | bool
WINDOW = 128  # tokens of a text's window, where no length is asked for
OPEN = 4  # problems kept open: cells of a study follow one another


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """The data of a study.

    name: of the task or of the shipped set, or the path of a file. settings: of the task, all of
    them but its length, by name. version: of the task. sha256: of the file that is read, if one is.
    """

    kind: Literal["task", "text", "table"]
    name: str
    settings: tuple[tuple[str, Scalar], ...] = ()
    version: int = 0
    sha256: str | None = None

    @classmethod
    def of_task(cls, task: Task, folder: Path = Path()) -> "Material":
        """A made task; files that its settings name lie in `folder`.

        Raises:
            UsageError, DataError, EnvironmentFault: its file cannot be read.
        """
        settings = dict(task.settings)
        del settings["length"]
        for field in dataclasses.fields(task):
            if isinstance(field.default, float):
                settings[field.name] = float(settings[field.name])  # 1 and 1.0 are one setting
        sha256 = None
        if "path" in settings:
            settings["path"] = placed(settings["path"], folder)
            sha256 = _content(settings["path"])
        return cls(
            kind="task",
            name=task.name,
            settings=tuple(sorted(settings.items())),
            version=task.version,
            sha256=sha256,
        )

    @classmethod
    def of_file(
        cls, kind: Literal["text", "table"], name: str, folder: Path = Path()
    ) -> "Material":
        """A shipped set, or a file in `folder`.

        Raises:
            UsageError, DataError, EnvironmentFault: it cannot be read, or is of the other kind.
        """
        other = {"text": "table", "table": "text"}[kind]
        if name in SHIPPED and SHIPPED[name].kind != ("text" if kind == "text" else "labels"):
            message = f"The shipped set {shown(name)} is a {other}, not a {kind}."
            raise UsageError("E-OPTION", message, f'{other} = "{name}"')
        name = placed(name, folder)
        return cls(kind=kind, name=name, sha256=_content(name))

    @property
    def identity(self) -> dict[str, Any]:
        """What decides its content, as plain values."""
        if self.kind != "task":
            return {"kind": self.kind, "sha256": self.sha256}
        settings = {key: value for key, value in self.settings if key != "path"}
        known = {"kind": self.kind, "name": self.name, "version": self.version}
        return known | {"settings": settings, "sha256": self.sha256}

    def task(self, length: int) -> Task:
        """The task with items of this length.

        Raises:
            UsageError: E-OPTION where it cannot be that long.
        """
        settings: dict[str, Any] = dict(self.settings)
        return TASKS[self.name](**settings, length=length)

    def problem(self, length: int | None) -> Problem:
        """Open it for training; the last few stay open.

        Args:
            length: tokens a sequence; None, for labelled texts: as suits them.

        Raises:
            DataError: E-CHANGED where the file is not the one that the study was planned on.
            UsageError, DataError, EnvironmentFault: it cannot be read.
        """
        return _problem(self, length)


def placed(name: str, folder: Path) -> str:
    """A shipped set's name as it is; a path from the folder, whatever the working folder is.

    Raises:
        UsageError: E-REMOTE for an address.
    """
    check_local(name)
    return name if not name or name in SHIPPED else str((folder / name).absolute())


@lru_cache(maxsize=OPEN)
def _problem(material: Material, length: int | None) -> Problem:
    problem: Problem
    shipped = SHIPPED.get(material.name)
    path = shipped.path if shipped else Path(material.name)
    name = shipped.name if shipped else None
    if material.kind == "task":
        assert length is not None
        problem = TaskProblem.of(material.task(length))
        files = dict(material.settings).get("path")
        found = _content(str(files)) if files is not None else None
    elif material.kind == "text":
        problem = TextProblem(load_running(path, length=length or WINDOW, name=name))
        found = problem.data.sha256
    else:
        problem = LabelProblem(load_labelled(path, length=length, name=name))
        found = problem.data.sha256
    if found != material.sha256:
        message = (
            f"{shown(path.name)} is not the file that the study was planned on: its SHA-256 begins"
            f" {str(found)[:12]}, not {str(material.sha256)[:12]}."
        )
        raise DataError("E-CHANGED", message, "put the file back, or plan the study anew")
    return problem


def _content(name: str) -> str:
    """SHA-256 of a file's bytes, or of the names and contents of a folder's files."""
    path = SHIPPED[name].path if name in SHIPPED else Path(name)
    if not path.is_dir():
        with opened(path) as source:
            return source.sha256()
    digest = hashlib.sha256()
    for file in sorted(file for file in path.iterdir() if file.is_file()):
        digest.update(f"{file.name}\0{_content(str(file))}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
