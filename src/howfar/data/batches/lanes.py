"""Carried state: every row of a batch goes on where the same row of the batch before ended.

Idea     the stream is cut into as many stretches as there are lanes (rows x slots); a lane reads
         its own, window by window, and all lanes begin again together, from another offset
Numbers  batch n belongs to slot n % slots, and goes on where batch n - slots ended
Scoring  one pass over the part in `rows` lanes, state carried, every target once; a lane begins
         without a state
Source   truncated back-propagation: Williams & Peng 1990,
         https://doi.org/10.1162/neco.1990.2.4.490
Shapes   tokens, targets (rows, L)
"""

from collections.abc import Iterator

import numpy as np
import torch

from howfar.core.batch import IGNORED, Batch
from howfar.data.batches.lay import Rows, padded
from howfar.data.batches.stream import Stream
from howfar.data.batches.windows import Offset, too_short


class Lanes:
    """Training batches whose state is carried.

    A lane reads whole windows, so that up to a window a lane is left out of an epoch, another
    each time. Where a stretch has no whole window, it is one shorter window.

    Args:
        stream: what is read.
        length: tokens of a window.
        rows: lanes of a batch.
        slots: batches of a step.
        seed: of the offsets.

    Attributes:
        batches: of an epoch.
        tokens: of an epoch.

    Raises:
        DataError: E-TOO-SHORT for fewer targets than lanes.
    """

    def __init__(self, stream: Stream, length: int, rows: int, slots: int, seed: int) -> None:
        lanes, targets = rows * slots, len(stream) - 1
        if targets < lanes:
            raise too_short("train", len(stream), lanes + 1, f"--rows {max(1, targets // slots)}")
        self._length = min(length, targets // lanes)
        self._windows = targets // lanes // self._length
        self._stream, self._rows, self._slots = stream, rows, slots
        self._offset = Offset(targets - lanes * self._windows * self._length, seed)
        self.batches = self._windows * slots
        self.tokens = lanes * self._windows * self._length

    def batch(self, number: int) -> Batch:
        """The batch of this number, counted from 0 over the run."""
        if number < 0:
            raise ValueError(f"Batches count from 0, not {number}.")
        step, slot = divmod(number, self._slots)
        epoch, window = divmod(step, self._windows)
        lanes = slot * self._rows + np.arange(self._rows, dtype=np.int64)
        starts = (lanes * self._windows + window) * self._length + self._offset(epoch)
        read = self._stream.cut(starts, self._length + 1)
        return Batch(
            torch.from_numpy(read[:, :-1].copy()),
            torch.full((self._rows,), self._length, dtype=torch.int64),
            torch.from_numpy(read[:, 1:].copy()),
            goes_on=window > 0,
        )


def evaluation_lanes(stream: Stream, length: int, rows: int, part: str) -> Iterator[Batch]:
    """One pass over a part: at most `rows` lanes, and no more than give each a whole window.

    Raises:
        DataError: E-TOO-SHORT for fewer than two tokens.
    """
    targets = len(stream) - 1
    if targets < 1:
        raise too_short(part, len(stream), 2, "more text")
    edges = lane_edges(targets, length, rows)
    longest = int(np.diff(edges).max())
    for done in range(0, longest, length):
        starts = edges[:-1] + done
        # Lanes differ by one token at most, so that padding stands in their last window alone.
        lengths = np.clip(edges[1:] - starts, 0, length)
        yield Batch(
            padded(stream.take(starts, lengths), lengths),
            torch.from_numpy(lengths),
            padded(stream.take(starts + 1, lengths), lengths, IGNORED),
            goes_on=done > 0,
        )


def lane_edges(targets: int, length: int, rows: int) -> Rows:
    """(lanes + 1,) the places between which each lane of an evaluation reads."""
    lanes = max(1, min(rows, targets // length))
    return np.arange(lanes + 1, dtype=np.int64) * targets // lanes
