"""Shortcuts on a task's own items: nothing is trained.

Settings  task, its settings under [settings.task_settings], items
Numbers   "shortcut: NAME", each rung of the task's ladder, and "chance" as the task states it
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from howfar.core.batch import IGNORED, Batch
from howfar.measure.stats import wilson
from howfar.tasks import Task, scored, task
from howfar.verify.verdict import Measured

AT_ONCE = 500


def ladder(settings: dict[str, Any], say: Callable[[str], None]) -> dict[str, Measured]:
    """Score every rung."""
    made = task(settings["task"], **settings.get("task_settings", {}))
    return rungs(made, int(settings["items"]), say)


def rungs(made: Task, items: int, say: Callable[[str], None]) -> dict[str, Measured]:
    """Every rung of a task on so many test items."""
    right: dict[str, list[Tensor]] = {name: [] for name in made.shortcuts}
    for start in range(0, items, AT_ONCE):
        batch = made.batch(range(start, min(start + AT_ONCE, items)), split="test")
        say(f"{made.name}: {start:,} of {items:,} items")
        for name, rule in made.shortcuts.items():
            right[name].append(by_row(made, batch, rule(batch)))
    found = {
        f"shortcut: {name}": mean_of(torch.cat(parts), made.numbers)
        for name, parts in right.items()
    }
    return found | {"chance": Measured.exactly(made.chance)}


def by_row(made: Task, batch: Batch, answers: Tensor) -> Tensor:
    """(B,) mean over a row's scored targets: share right, or squared error."""
    target = scored(batch)
    if made.numbers:
        return (answers.double() - target.double()).square()
    rows = (batch.targets != IGNORED).nonzero()[:, 0]
    zeros = torch.zeros(len(batch.tokens), dtype=torch.float64)
    sums = zeros.index_add(0, rows, (answers == target).double())
    return sums / zeros.index_add(0, rows, torch.ones(len(rows), dtype=torch.float64))


def mean_of(each: Tensor, numbers: bool) -> Measured:
    """Mean over rows: Wilson's interval of shares that are 0 or 1, else 1.96 standard errors."""
    mean, count = float(each.mean()), len(each)
    if not numbers and bool(((each == 0) | (each == 1)).all()):
        return Measured(mean, *wilson(int(each.sum()), count, 0.95), f"{count:,} items")
    half = 1.96 * float(each.std()) / count**0.5
    return Measured(mean, mean - half, mean + half, f"{count:,} items")
