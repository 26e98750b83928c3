"""Batches of an evaluation: every row once, in an order that never changes."""

import numpy as np
import numpy.typing as npt

from howfar.data.batches.lay import Rows

Widths = npt.NDArray[np.int64]


def by_rows(widths: Widths, rows: int) -> list[Rows]:
    """Batches of `rows` rows, the shortest first. widths: (n, k) lengths of each row."""
    order = _shortest_first(widths)
    return [order[i : i + rows] for i in range(0, len(order), rows)]


def by_budget(widths: Widths, tokens: int) -> list[Rows]:
    """Batches of at most `tokens` padded tokens, the shortest first."""
    order = _shortest_first(widths)
    return _greedy(order, np.maximum(widths, 1)[order], tokens)


def packed_rows(widths: Widths, tokens: int) -> list[Rows]:
    """Batches of at most `tokens` real tokens, or of one longer row, in the order of the file."""
    ends = np.cumsum(widths[:, 0])
    groups, start = [], 0
    while start < len(ends):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + tokens, side="right")))
        groups.append(np.arange(start, stop, dtype=np.int64))
        start = stop
    return groups


def _shortest_first(widths: Widths) -> Rows:
    return np.argsort(widths.sum(1), kind="stable").astype(np.int64, copy=False)


def _greedy(order: Rows, widths: Widths, tokens: int) -> list[Rows]:
    groups, start, longest = [], 0, widths[:0].max(0, initial=0)
    for i, width in enumerate(widths):
        grown = np.maximum(longest, width)
        if i > start and (i + 1 - start) * int(grown.sum()) > tokens:
            groups.append(order[start:i])
            start, grown = i, width
        longest = grown
    return [*groups, order[start:]] if len(order) else []
