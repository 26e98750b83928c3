"""Batches of padded sequences; the batch of a step is a pure function of (seed, step).

Idea     an epoch is a permutation drawn from (seed, epoch), so nothing has to be stored to resume
Rows     of like length go together: see `howfar.data.batches.order`
Windows  of running text start at another offset each epoch, so that no place is always a border
Shapes   tokens (B, L) int64 padded with 0 to the batch's longest row; targets (B,) or (B, L)
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from howfar.core.batch import IGNORED, Batch
from howfar.core.errors import DataError, UsageError
from howfar.data.batches.lay import Rows, padded
from howfar.data.batches.order import Chosen, Epochs, pooled
from howfar.data.batches.windows import half_overlapping
from howfar.data.draws import generator
from howfar.data.labelled import Labelled, Part
from howfar.data.running import Running
from howfar.data.tokenise import Ids


class LabelSource:
    """Batches of labelled rows; one class a row as target. A `howfar.core.protocols.Source`."""

    def __init__(self, labelled: Labelled, *, rows: int = 32, seed: int) -> None:
        _check_rows(rows)
        self._parts = {
            "train": labelled.train,
            "validation": labelled.validation,
            "test": labelled.test,
        }
        self._rows = rows
        lengths = np.asarray([len(ids) for ids in labelled.train.ids], dtype=np.int64)
        self._epochs = pooled(lengths, rows, seed)
        self.steps_per_epoch = self._epochs.batches

    def batch(self, step: int) -> Batch:
        """The training batch of this step: (B, L) tokens, (B,) targets."""
        _, rows = self._epochs.rows(step)
        return _labelled_batch(self._parts["train"], rows)

    def evaluation(self, part: str) -> Iterator[Batch]:
        """All rows of a part, shortest first; `order` says which row is which."""
        order = self.order(part)
        for start in range(0, len(order), self._rows):
            yield _labelled_batch(self._parts[part], order[start : start + self._rows])

    def order(self, part: str) -> Rows:
        """(rows,) the part's row that stands at each place of `evaluation`, batch after batch."""
        lengths = [len(ids) for ids in self._parts[part].ids]
        return np.argsort(lengths, kind="stable").astype(np.int64)


class TextSource:
    """Windows of running text; the next token is the target. A `howfar.core.protocols.Source`."""

    def __init__(self, running: Running, *, rows: int = 32, seed: int) -> None:
        _check_rows(rows)
        self._parts = {
            "train": running.train,
            "validation": running.validation,
            "test": running.test,
        }
        self.length = running.length
        self._rows = rows
        self._seed = seed
        # So many windows fit at every offset below `length`.
        self.windows_per_epoch = (len(running.train) - self.length) // self.length
        self.steps_per_epoch = -(-self.windows_per_epoch // rows)
        self._epochs = Epochs(self.steps_per_epoch, self._draw)

    def batch(self, step: int) -> Batch:
        """The training batch of this step: (B, L) tokens, (B, L) targets, all scored."""
        _, starts = self._epochs.rows(step)
        return _text_batch(cut_windows(self._parts["train"], starts, self.length))

    def evaluation(self, part: str) -> Iterator[Batch]:
        """Windows half over each other; targets in the second half are scored, each one once.

        So every scored token has at least `length // 2` tokens of context. The last window ends
        with the part, and scores only what the one before did not.
        """
        starts, fresh = self._evaluation_windows(part)
        for i in range(0, len(starts), self._rows):
            windows = cut_windows(self._parts[part], starts[i : i + self._rows], self.length)
            unscored = self.length - fresh[i : i + self._rows]
            yield _text_batch(windows, np.arange(self.length) < unscored[:, None])

    def eval_positions(self, part: str) -> Rows:
        """(targets,) places in the part's ids of all scored targets, in order of `evaluation`."""
        starts, fresh = self._evaluation_windows(part)
        ends = starts + self.length + 1
        return np.concatenate(
            [np.arange(end - new, end) for end, new in zip(ends, fresh, strict=True)]
        )

    def windows(self, part: str, count: int, length: int, seed: int) -> Rows:
        """(count, length + 1) int64 windows to measure on, apart from each other while they fit.

        Raises:
            DataError: E-TOO-SHORT for a part shorter than one window.
        """
        ids = self._parts[part]
        width = length + 1
        if len(ids) < width:
            raise DataError(
                "E-TOO-SHORT",
                f"The {part} part has {len(ids):,} tokens; a window needs {width:,}.",
                f"--length {max(1, len(ids) - 1)}",
            )
        draws = generator(seed, f"windows/{part}/{length}")
        apart = len(ids) // width
        if count <= apart:
            offset = draws.integers(len(ids) - apart * width + 1)
            starts = offset + width * np.sort(draws.permutation(apart)[:count])
        else:
            starts = draws.integers(0, len(ids) - width + 1, size=count)
        return cut_windows(ids, starts, length)

    def _evaluation_windows(self, part: str) -> tuple[Rows, Rows]:
        """Starts of the windows, and how many of its last targets each one scores."""
        if len(self._parts[part]) <= self.length:
            raise DataError(
                "E-TOO-SHORT",
                f"The {part} part has fewer than {self.length + 1:,} tokens.",
                "a shorter --length",
            )
        return half_overlapping(len(self._parts[part]), self.length)

    def _draw(self, epoch: int) -> Chosen:
        draws = generator(self._seed, f"windows/{epoch}")
        offset = int(draws.integers(self.length))
        starts = offset + self.length * draws.permutation(self.windows_per_epoch)
        return lambda place: starts[place * self._rows : (place + 1) * self._rows]


def cut_windows(ids: Ids, starts: Rows, length: int) -> Rows:
    """(starts, length + 1) int64: the windows of `ids` that begin at `starts`."""
    windows: Rows = ids[starts[:, None] + np.arange(length + 1)].astype(np.int64)
    return windows


def _labelled_batch(part: Part, rows: Sequence[int] | Rows) -> Batch:
    found = [part.ids[row] for row in rows]
    lengths = np.asarray([len(ids) for ids in found], dtype=np.int64)
    return Batch(
        padded(np.concatenate(found).astype(np.int64), lengths),
        torch.from_numpy(lengths),
        torch.from_numpy(part.labels[np.asarray(rows)]),
    )


def _text_batch(windows: Rows, unscored_BL: npt.NDArray[np.bool_] | None = None) -> Batch:
    targets_BL = windows[:, 1:].copy()
    if unscored_BL is not None:
        targets_BL[unscored_BL] = IGNORED
    return Batch(
        torch.from_numpy(windows[:, :-1].copy()),
        torch.full((len(windows),), windows.shape[1] - 1, dtype=torch.int64),
        torch.from_numpy(targets_BL),
    )


def _check_rows(rows: int) -> None:
    if rows < 1:
        raise UsageError("E-OPTION", f"A batch of {rows} rows is empty.", "--rows 32")
