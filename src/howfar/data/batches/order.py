"""Which rows each batch of a run takes: a pure function of seed and number, nothing stored.

Idea     an epoch is a permutation drawn from (seed, epoch), and every epoch has as many batches as
         any other, so that batch 1,000,000 costs one permutation and no walk
Rows     of like length go together: pools of 8 batches are sorted by length, then batches shuffled;
         a pool is at most a quarter of the epoch, so that batches differ from epoch to epoch
Budget   rows are parted into buckets once, by halving at the median of the length that saves most
         padding; a bucket's batches have as many rows as its longest allows, and its rows are
         shuffled each epoch, so that the number of batches is the same in all
Measured IMDb's training reviews in words (25,000; median 220, longest 2,883), padded tokens for
         each real one: random rows by 32 3.32, pools 1.37, a budget of 16,384 tokens 1.02; cut at
         512 words 1.94, 1.11, 1.01
"""

from collections.abc import Callable
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from howfar.data.batches.lay import Rows
from howfar.data.batches.permutation import permuted
from howfar.data.draws import generator

Widths: TypeAlias = npt.NDArray[np.int64]
Chosen: TypeAlias = Callable[[int], Rows]
POOL = 8  # batches sorted by length together
_BUCKET = 4  # batches of a bucket at least, where there are so many


class Epochs:
    """The rows of every batch; the present epoch is kept, and drawn again for another.

    Args:
        batches: of every epoch.
        draw: from an epoch's number to its rows by place in the epoch.
    """

    def __init__(self, batches: int, draw: Callable[[int], Chosen]) -> None:
        self.batches = batches
        self._draw = draw
        self._epoch: int | None = None
        self._chosen: Chosen | None = None

    def rows(self, number: int) -> tuple[int, Rows]:
        """The epoch of batch `number`, counted from 0 over the run, and its rows."""
        if number < 0:
            raise ValueError(f"Steps count from 0, not {number}.")
        epoch, place = divmod(number, self.batches)
        if self._chosen is None or epoch != self._epoch:
            self._chosen, self._epoch = None, None  # two epochs are never held at once
            self._chosen, self._epoch = self._draw(epoch), epoch
        return epoch, self._chosen(place)


def scattered(count: int, rows: int, seed: int) -> Epochs:
    """Batches of `rows` of `count` rows of one length, however many: no order of them is held."""

    def draw(epoch: int) -> Chosen:
        key = int(generator(seed, f"order/{epoch}").integers(2**63))

        def chosen(place: int) -> Rows:
            stop = min(count, (place + 1) * rows)
            return permuted(np.arange(place * rows, stop, dtype=np.int64), count, key)

        return chosen

    return Epochs(-(-count // rows), draw)


def pooled(widths: Widths, rows: int, seed: int) -> Epochs:
    """Batches of `rows` rows, the last one of an epoch of what is left.

    Args:
        widths: (n,) length of each row, or what it is sorted by.
        rows: of a batch.
        seed: of the epochs' permutations.
    """
    count = len(widths)
    batches = -(-count // rows)
    size = rows * min(POOL, max(1, batches // 4))
    per_pool = size // rows

    def draw(epoch: int) -> Chosen:
        draws = generator(seed, f"order/{epoch}")
        shuffled, order = draws.permutation(count), draws.permutation(batches)

        def chosen(place: int) -> Rows:
            pool, within = divmod(int(order[place]), per_pool)
            found = shuffled[pool * size : (pool + 1) * size]
            found = found[np.argsort(widths[found], kind="stable")]
            return found[within * rows : (within + 1) * rows].astype(np.int64, copy=False)

        return chosen

    return Epochs(batches, draw)


def budgeted(widths: Widths, tokens: int, seed: int) -> Epochs:
    """Batches of at most `tokens` padded tokens; a longer row is a batch of its own.

    Args:
        widths: (n, k) lengths of each row, padded each by itself.
        tokens: most of rows x (sum of the longest of each length).
        seed: of the epochs' permutations.
    """
    found = buckets(np.maximum(widths, 1), tokens)
    rows = np.concatenate([bucket for bucket, _ in found])
    edges = np.cumsum([0, *(len(bucket) for bucket, _ in found)])
    cuts = np.concatenate(
        [
            [0],
            *(
                even(len(bucket), size) + at
                for (bucket, size), at in zip(found, edges, strict=False)
            ),
        ]
    )

    def draw(epoch: int) -> Chosen:
        draws = generator(seed, f"order/{epoch}")
        shuffled = rows.copy()
        for start, end in pairwise(edges):
            draws.shuffle(shuffled[start:end])
        order = draws.permutation(len(cuts) - 1)

        def chosen(place: int) -> Rows:
            batch = int(order[place])
            return shuffled[cuts[batch] : cuts[batch + 1]]

        return chosen

    return Epochs(len(cuts) - 1, draw)


def even(count: int, size: int) -> Rows:
    """Where batches of at most `size` end, as even as can be: 7 by 3 -> 2, 4, 7."""
    batches = -(-count // size)
    return np.arange(1, batches + 1, dtype=np.int64) * count // batches


def buckets(widths: Widths, tokens: int) -> list[tuple[Rows, int]]:
    """The rows of each bucket, and how many of them a batch takes.

    Rows of equal lengths are never parted, so that no order of the file decides who meets whom.
    """
    estimate = max(1, int(widths.sum()) // tokens)
    batches = min(_BUCKET, max(1, estimate // 4))
    waiting = [np.arange(len(widths), dtype=np.int64)]
    found: list[tuple[Rows, int]] = []
    while waiting:
        rows = waiting.pop()
        size = _size(widths[rows], tokens)
        halves = _halved(rows, widths[rows], tokens) if len(rows) >= 2 * batches * size else None
        if halves is None:
            found.append((rows, size))
        else:
            waiting += halves
    return found


def _halved(rows: Rows, widths: Widths, tokens: int) -> tuple[Rows, Rows] | None:
    """Two parts of a bucket, each at least a batch; None where equal lengths leave no way."""
    best, saved = None, 0
    for column in widths.T:
        middle = np.partition(column, len(column) // 2)[len(column) // 2]
        for low in (column < middle, column <= middle):
            parts = widths[low], widths[~low]
            if any(len(part) < (_size(part, tokens) if len(part) else 1) for part in parts):
                continue
            area = sum(len(part) * int(part.max(0).sum()) for part in parts)
            if best is None or area < saved:
                best, saved = low, area
    return None if best is None else (rows[best], rows[~best])


def _size(widths: Widths, tokens: int) -> int:
    """Rows of a batch within the budget."""
    return max(1, tokens // int(widths.max(0).sum()))


def filled(lengths: Rows, tokens: int, seed: int) -> Epochs:
    """Batches of whole rows, packed: at most `tokens` tokens, unless one row alone has more.

    Rows longer than a third of `tokens` are batches of their own. The others, in the epoch's order,
    stand on a line of tokens that is cut into equal stretches; a batch takes the rows that begin in
    its stretch, which is a longest row shorter than `tokens`.

    Args:
        lengths: (n,) tokens of each row.
        tokens: most of a batch.
        seed: of the epochs' permutations.
    """
    sizes = np.maximum(lengths, 1)
    alone = np.flatnonzero(3 * sizes > tokens)
    others = np.flatnonzero(3 * sizes <= tokens)
    batches = stretches(sizes[others], tokens)

    def draw(epoch: int) -> Chosen:
        draws = generator(seed, f"order/{epoch}")
        shuffled = draws.permutation(others)
        cuts = starts_of(sizes[shuffled], batches)
        order = draws.permutation(batches + len(alone))

        def chosen(place: int) -> Rows:
            batch = int(order[place])
            if batch >= batches:
                return alone[batch - batches : batch - batches + 1]
            return shuffled[cuts[batch] : cuts[batch + 1]]

        return chosen

    return Epochs(batches + len(alone), draw)


def stretches(sizes: Rows, tokens: int) -> int:
    """Into how many stretches a line of rows is cut; none is longer than `tokens`."""
    if not len(sizes):
        return 0
    return -(-int(sizes.sum()) // (tokens - int(sizes.max()) + 1))


def starts_of(sizes: Rows, batches: int) -> Rows:
    """(batches + 1,) the first row of each stretch."""
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    marks = -(-np.arange(batches + 1, dtype=np.int64) * total // max(1, batches))
    return np.searchsorted(ends - sizes, marks)
