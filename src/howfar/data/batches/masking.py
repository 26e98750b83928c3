"""Masked prediction: some tokens are hidden, and what stood there is asked for.

Idea     `share` of a row's tokens are chosen, at least 1; of these 80 % become the mask, 10 % a
         token drawn from the vocabulary, 10 % stay as they are
Draws    hashed from (seed, epoch, row, place) and from nothing else, so that they do not depend on
         which rows meet in a batch; in evaluation every epoch is the same
Source   Devlin et al. 2019, https://arxiv.org/abs/1810.04805, section 3.1
Shapes   tokens, targets (B, L), or packed (1, T); targets are `IGNORED` where nothing was chosen
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from howfar.core.batch import IGNORED, Batch
from howfar.data.batches.lay import Rows, laid
from howfar.data.batches.permutation import hashed, uniform
from howfar.data.batches.stream import Stream
from howfar.data.batches.windows import Offset, alike, pieces, too_short
from howfar.data.draws import generator
from howfar.data.ragged import places

MASKED, RANDOM = 0.8, 0.1  # of the chosen tokens


@dataclass(frozen=True, slots=True)
class Masking:
    """What is hidden, and by what.

    share: of a row's tokens that are asked for. mask: the id that hides. first, last: the ids that
    a random token is drawn from, both included.
    """

    share: float
    mask: int
    first: int
    last: int

    def __call__(
        self, flat: npt.NDArray[np.int64], lengths: Rows, rows: Rows, key: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(T,) tokens with some of them hidden, and (T,) targets.

        Args:
            flat: (T,) ids of the rows, one after another.
            lengths: (B,) of the rows.
            rows: (B,) numbers that tell the rows apart, and stay theirs in every batch.
            key: of the draws, below 2**63.
        """
        place = places(np.zeros_like(lengths), lengths)
        own = hashed(np.uint64(key) + hashed(rows.astype(np.uint64)))
        draws = hashed(np.repeat(own, lengths) + place.astype(np.uint64))
        # The smallest draws of a row are its chosen tokens.
        order = np.lexsort((draws, np.repeat(np.arange(len(lengths)), lengths)))
        count = np.maximum(1, np.rint(self.share * lengths)).astype(np.int64)
        chosen = order[place < np.repeat(count, lengths)]
        targets = np.full(len(flat), IGNORED, dtype=np.int64)
        targets[chosen] = flat[chosen]
        fate = uniform(hashed(draws[chosen]))
        tokens = flat.copy()
        tokens[chosen[fate < MASKED]] = self.mask
        drawn = chosen[(fate >= MASKED) & (fate < MASKED + RANDOM)]
        size = self.last - self.first + 1
        tokens[drawn] = self.first + (uniform(hashed(~draws[drawn])) * size).astype(np.int64)
        return tokens, targets


class Hidden:
    """The `Maker` of rows with hidden tokens.

    Args:
        stream: what is read.
        starts: (n,) where each row begins; None: side by side, all of the same length.
        lengths: (n,) tokens of each row.
        masking: what is hidden.
        keys: purpose of the draws of an epoch, or of all alike, and the seed.
        offset: of an epoch, which is added to all starts.
        pack: rows one after another instead of padded.
    """

    def __init__(  # noqa: PLR0913 - what a row is, and what is hidden
        self,
        stream: Stream,
        starts: Rows | None,
        lengths: Rows,
        *,
        masking: Masking,
        keys: "Keys",
        offset: Offset | None = None,
        pack: bool = False,
    ) -> None:
        self._stream, self._starts, self._lengths = stream, starts, lengths
        self._masking, self._keys, self._offset, self._pack = masking, keys, offset, pack
        self.widths = lengths[:, None]
        self.alike = starts is None
        self.tokens = int(lengths.sum())

    def batch(self, rows: Rows, epoch: int) -> Batch:
        """These rows with hidden tokens, and what stood there."""
        lengths = self._lengths[rows]
        starts = rows * lengths if self._starts is None else self._starts[rows]
        if self._offset is not None:
            starts = starts + self._offset(epoch)
        flat = self._stream.take(starts, lengths)
        tokens, targets = self._masking(flat, lengths, rows, self._keys(epoch))
        return Batch(
            laid(tokens, lengths, pack=self._pack),
            torch.from_numpy(lengths),
            laid(targets, lengths, pack=self._pack, filler=IGNORED),
            packed=self._pack,
        )


@dataclass(frozen=True, slots=True)
class Keys:
    """The key of an epoch's draws. part: of evaluation, where every epoch has the same."""

    seed: int
    part: str | None = None

    def __call__(self, epoch: int) -> int:
        """Below 2**63."""
        purpose = f"masks/{epoch}" if self.part is None else f"masks/{self.part}"
        return int(generator(self.seed, purpose).integers(2**63))


def training_rows(
    stream: Stream, length: int, seed: int, *, masking: Masking, pack: bool
) -> Hidden:
    """Documents, the longer ones in pieces; of a single long one windows, moved each epoch.

    Raises:
        DataError: E-TOO-SHORT where there is no token.
    """
    size, keys = len(stream), Keys(seed)
    count = (size - length + 1) // length
    if len(stream.bounds) > 2 or count < 1:
        return _apart(stream, length, "train", masking=masking, keys=keys, pack=pack)
    lengths, offset = alike(count, length), Offset(length - 1, seed)
    return Hidden(stream, None, lengths, masking=masking, keys=keys, offset=offset, pack=pack)


def evaluation_rows(
    stream: Stream, length: int, part: str, seed: int, *, masking: Masking, pack: bool
) -> Hidden:
    """All documents of a part in pieces, hidden by draws that do not change.

    Raises:
        DataError: E-TOO-SHORT where there is no token.
    """
    keys = Keys(seed, part)
    return _apart(stream, length, part, masking=masking, keys=keys, pack=pack)


def _apart(
    stream: Stream, length: int, part: str, *, masking: Masking, keys: Keys, pack: bool
) -> Hidden:
    starts, lengths = pieces(stream.bounds[:-1], np.diff(stream.bounds), length)
    if not len(starts):
        raise too_short(part, 0, 1, "more text")
    return Hidden(stream, starts, lengths, masking=masking, keys=keys, pack=pack)
