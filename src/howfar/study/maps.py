"""Length by depth: how often a model is right, by a row's length and where its answer lies.

Idea     depth 0 is the start of the row, 1 the question: 1 - distance / (length - 1). A model is
         asked at every length; answers are gathered in equal bins of depth, with Wilson intervals
Source   the map of needles in haystacks by length and depth, as RULER has it,
         https://arxiv.org/abs/2404.06654
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from howfar.core.errors import UsageError
from howfar.measure.stats import wilson
from howfar.tasks import Task
from howfar.train import evaluate

AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Cell:
    """One length and one bin of depth. accuracy, low, high: None where nothing was asked there."""

    length: int
    depth_low: float
    depth_high: float
    count: int
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class DepthMap:
    """Accuracy by length and depth: `cells` row by row, shortest length first; `str` draws it."""

    chance: float
    cells: tuple[Cell, ...]

    def __str__(self) -> str:
        lengths = sorted({cell.length for cell in self.cells})
        first = [cell for cell in self.cells if cell.length == lengths[0]]
        heads = [f"{100 * cell.depth_low:.0f}-{100 * cell.depth_high:.0f} %" for cell in first]
        width = max(map(len, heads))
        lines = ["depth".rjust(8) + "".join(f"  {head:>{width}}" for head in heads)]
        for length in lengths:
            row = [cell for cell in self.cells if cell.length == length]
            shown = ["-" if cell.accuracy is None else f"{cell.accuracy:.2f}" for cell in row]
            lines.append(f"{length:>8,}" + "".join(f"  {text:>{width}}" for text in shown))
        return "\n".join([*lines, f"chance {self.chance:.3f}"])


def length_by_depth(
    model: nn.Module, task: Task, lengths: Sequence[int], *, items: int = 256, bins: int = 5
) -> DepthMap:
    """Ask a model at several lengths, and tell its answers apart by depth.

    Args:
        model: `model(tokens, lengths)`, one answer a position, as `howfar.build` makes it.
        task: whose answers are classes; `task.at_length` gives the other lengths.
        lengths: tokens, 2 or more each.
        items: test items a length.
        bins: equal bins of depth.

    Raises:
        UsageError: E-OPTION for a task of numbers, no length, or a length it does not have.
    """
    if task.numbers:
        message = f"The answers of {task.name} are numbers: they have no accuracy."
        raise UsageError("E-OPTION", message, "a task of classes")
    if not lengths or min(lengths) < 2 or items < 1 or bins < 1:
        raise UsageError("E-OPTION", "lengths of 2 or more, items and bins of 1 or more.")
    cells = [
        cell
        for length in sorted(set(lengths))
        for cell in _row(model, task.at_length(length), items, bins)
    ]
    return DepthMap(task.chance, tuple(cells))


def _row(model: nn.Module, task: Task, items: int, bins: int) -> list[Cell]:
    starts = range(0, items, AT_ONCE)
    found = evaluate(
        model,
        (task.batch(range(start, min(start + AT_ONCE, items)), split="test") for start in starts),
    )
    depth = 1 - found.distance / (task.length - 1)
    place = np.minimum((depth * bins).astype(int), bins - 1)
    cells = []
    for number in range(bins):
        right = found.correct[place == number]
        edges = (task.length, number / bins, (number + 1) / bins, len(right))
        if len(right) == 0:
            cells.append(Cell(*edges))
            continue
        low, high = wilson(int(right.sum()), len(right), 0.95)
        cells.append(Cell(*edges, float(right.mean()), low, high))
    return cells
