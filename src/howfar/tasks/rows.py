"""Items out of a data set: item i is row i of an order, and every pass has another order.

Idea     the rows of a split are gone through in a random order; item number n * rows + p is the
         p-th of pass n. So the first `rows` items are every row once, and later ones repeat them:
         no more than `rows` different items can be scored
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from howfar.core.errors import DataError, UsageError
from howfar.tasks.base import Task
from howfar.tasks.streams import Integers

SPLITS = ("train", "validation", "test")
_TENTHS = np.array([0, 0, 0, 0, 0, 0, 0, 1, 2, 2])  # by counter: a number of SPLITS


def visited(task: Task, split: str, indices: Sequence[int], rows: int) -> Integers:
    """The row of each item: (B,), 0 .. rows - 1."""
    items_B = np.asarray(indices, dtype=np.int64).reshape(-1)
    passes_B, places_B = np.divmod(items_B, rows)
    rows_B = np.empty_like(items_B)
    for number in np.unique(passes_B):
        here_B = passes_B == number
        rows_B[here_B] = _order(task, split, int(number), rows)[places_B[here_B]]
    return rows_B


def stratified(labels: npt.ArrayLike) -> Integers:
    """The split of each row, (N,) numbers of SPLITS: of each class, in order, tenths 7, 1 and 2."""
    labels_N = np.asarray(labels)
    parts_N = np.empty(len(labels_N), dtype=np.int64)
    for label in np.unique(labels_N):
        rows = np.flatnonzero(labels_N == label)
        parts_N[rows] = _TENTHS[np.arange(len(rows)) % 10]
    return parts_N


def number_of(split: str) -> int:
    """Which of SPLITS a name is. UsageError E-OPTION for another name."""
    split = split.partition(" ")[0]  # "train 7" is the training part in an order of its own
    if split not in SPLITS:
        message = f"No split is called {split!r}: this task has {', '.join(SPLITS)}."
        raise UsageError("E-OPTION", message, "one of them")
    return SPLITS.index(split)


def nothing_left(task: Task, split: str, why: str) -> DataError:
    """What to raise for a split without rows."""
    message = f"{task.name} has no {split} items: {why}."
    return DataError("E-TOO-SHORT", message, "more data, or a smaller length")


@lru_cache(maxsize=8)
def _order(task: Task, split: str, number: int, rows: int) -> Integers:
    return np.asarray(task.draws(split, [number]).orders(rows)[0])
