"""Generated sequences whose answer, distance, chance level and shortcut ladder are known."""

from typing import Any

from howfar.core.errors import UsageError, closest
from howfar.tasks.base import Task, distances, scored
from howfar.tasks.recall import Recall

__all__ = ["TASKS", "Task", "distances", "scored", "task", "tasks"]

TASKS: dict[str, type[Task]] = {kind.name: kind for kind in (Recall,)}


def tasks() -> dict[str, type[Task]]:
    """All tasks by name."""
    return dict(TASKS)


def task(name: str, **settings: Any) -> Task:  # noqa: ANN401 - the task's own fields
    """Build a task by name. Unknown names and settings raise UsageError."""
    if name not in TASKS:
        message = f"No task is called {name!r}. Known: {', '.join(TASKS)}."
        raise UsageError("E-TASK", message, f"{closest(name, TASKS)}`howfar.tasks()` lists them.")
    known = TASKS[name].__dataclass_fields__
    for key in settings:
        if key not in known:
            message = f"The task {name!r} has no setting {key!r}. Known: {', '.join(known)}."
            raise UsageError("E-SETTING", message, f"{closest(key, known)}")
    return TASKS[name](**settings)
