"""Next-token prediction: windows of a running stream, or documents each by itself.

Idea     a row of n tokens is read from n + 1 of the stream: tokens are all but the last, targets
         all but the first
Training windows side by side, from another offset each epoch, so that no place is always a border
Scoring  every target but the part's first token, once, as with carried state: every family is
         asked the same. Windows lie half over each other; the first one scores all of its targets,
         the others those of their second half, which have at least half a window before them. The
         last window ends with the part, and scores only what the one before did not
Shapes   tokens, targets (B, L), or packed (1, T)
"""

import numpy as np
import numpy.typing as npt
import torch

from howfar.core.batch import IGNORED, Batch
from howfar.core.errors import DataError
from howfar.data.batches.lay import Rows, laid
from howfar.data.batches.stream import Stream
from howfar.data.draws import generator
from howfar.data.ragged import places


class Windows:
    """The `Maker` of rows that ask for the next token.

    Args:
        stream: what is read.
        starts: (n,) where each row begins; None: side by side, all of the same length.
        lengths: (n,) tokens of each row; the stream goes on for one more, its last target.
        unscored: (n,) targets of each row, from its first on, that are not scored.
        offset: of an epoch, which is added to all starts.
        pack: rows one after another instead of padded.
    """

    def __init__(
        self,
        stream: Stream,
        starts: Rows | None,
        lengths: Rows,
        *,
        unscored: Rows | None = None,
        offset: "Offset | None" = None,
        pack: bool = False,
    ) -> None:
        self._stream, self._starts, self._lengths = stream, starts, lengths
        self._unscored, self._offset, self._pack = unscored, offset, pack
        self.widths = lengths[:, None]
        self.alike = starts is None
        self.tokens = int(lengths.sum())

    def batch(self, rows: Rows, epoch: int) -> Batch:
        """Tokens and the next tokens of these rows."""
        lengths = self._lengths[rows]
        starts = rows * lengths if self._starts is None else self._starts[rows]
        if self._offset is not None:
            starts = starts + self._offset(epoch)
        read = self._stream.take(starts, lengths + 1)
        ends = np.cumsum(lengths + 1)
        tokens, targets = np.delete(read, ends - 1), np.delete(read, ends - 1 - lengths)
        if self._unscored is not None:
            targets[_within(lengths) < np.repeat(self._unscored[rows], lengths)] = IGNORED
        return Batch(
            laid(tokens, lengths, pack=self._pack),
            torch.from_numpy(lengths),
            laid(targets, lengths, pack=self._pack, filler=IGNORED),
            packed=self._pack,
        )


class Offset:
    """Where the windows of an epoch begin: 0 to `most`, drawn from (seed, epoch)."""

    def __init__(self, most: int, seed: int) -> None:
        self.most, self._seed = most, seed

    def __call__(self, epoch: int) -> int:
        """Tokens left out before the first window."""
        return int(generator(self._seed, f"windows/{epoch}").integers(self.most + 1))


def training_windows(stream: Stream, length: int, seed: int) -> Windows:
    """Windows of `length` tokens side by side, as many as fit at every offset below `length`.

    Raises:
        DataError: E-TOO-SHORT for a stream of no more than `length` tokens.
    """
    size = len(stream)
    if size <= length:
        raise too_short("train", size, length + 1, f"--length {max(1, size - 1)}")
    count = max(1, (size - length) // length)
    offset = Offset(min(length - 1, size - 1 - count * length), seed)
    return Windows(stream, None, alike(count, length), offset=offset)


def evaluation_windows(stream: Stream, length: int, part: str) -> Windows:
    """Half-overlapping windows that score all targets of a part, each once.

    A part shorter than a window is a single shorter one.

    Raises:
        DataError: E-TOO-SHORT for fewer than two tokens.
    """
    if len(stream) < 2:
        raise too_short(part, len(stream), 2, "more text")
    length = min(length, len(stream) - 1)
    starts, fresh = half_overlapping(len(stream), length)
    fresh[0] = length  # what stands before them is all there is
    return Windows(stream, starts, alike(len(starts), length), unscored=length - fresh)


def half_overlapping(size: int, length: int) -> tuple[Rows, Rows]:
    """Starts of windows over `size` tokens, and how many of its last targets each one scores.

    All have at least half a window before them: the first half of the first window is not scored.
    """
    stride = max(1, length // 2)
    last = size - length - 1
    starts = np.arange(0, last + 1, stride, dtype=np.int64)
    fresh = np.full(len(starts), stride, dtype=np.int64)
    rest = last - int(starts[-1])
    if rest:
        starts, fresh = np.append(starts, last), np.append(fresh, rest)
    return starts, fresh


def documents_apart(stream: Stream, length: int, part: str, *, pack: bool) -> Windows:
    """Each document by itself, cut into windows where it has more than `length` targets.

    A document's end is its last target, where there is one. A document of a single token without
    an end has no target, and is left out.

    Raises:
        DataError: E-TOO-SHORT if no document has a target.
    """
    bounds = stream.bounds
    starts, lengths = pieces(bounds[:-1], np.maximum(np.diff(bounds) - 1, 0), length)
    if not len(starts):
        raise too_short(part, len(stream), 2, "more text")
    return Windows(stream, starts, lengths, pack=pack)


def pieces(starts: Rows, lengths: Rows, most: int) -> tuple[Rows, Rows]:
    """Starts and lengths of stretches cut into as few pieces of at most `most` as can be.

    The pieces of a stretch are as even as can be. A stretch of nothing has no piece.
    """
    counts = -(-lengths // most)
    which = np.repeat(np.arange(len(starts)), counts)
    piece = places(np.zeros_like(counts), counts)
    begins = piece * lengths[which] // counts[which]
    ends = (piece + 1) * lengths[which] // counts[which]
    return starts[which] + begins, ends - begins


def alike(count: int, length: int) -> Rows:
    """(count,) of one number, held once: there may be hundreds of millions."""
    return np.broadcast_to(np.int64(length), (count,))


def too_short(part: str, size: int, needed: int, hint: str) -> DataError:
    """The error for a part of fewer than `needed` tokens."""
    message = f"The {part} part has {size:,} tokens, and needs {needed:,}."
    return DataError("E-TOO-SHORT", message, hint)


def _within(lengths: Rows) -> npt.NDArray[np.int64]:
    """(T,) place in its row of every token."""
    return places(np.zeros_like(lengths), lengths)
