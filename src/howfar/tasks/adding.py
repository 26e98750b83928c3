"""The adding problem: the sum of two marked numbers among many.

Idea      two channels: a number at every position, and a mark at two of them

              numbers  .31  .87  .05  .64  .22  .90  .48
              marks     0    1    0    0    1    0    0
              answer                                  .87 + .22 = 1.09, at the last position
                            |<------ distance ------>|

Distance  last position - the far mark, L - 1 - i; the near mark stands L - 1 - j back, i < j
Chance    the constant 1, the mean: squared error 1/6, twice the variance 1/12 of one number
Ladder    the constant 1: 1/6. Twice the mean of all numbers: (1 - 2 / L) / 6, for "halves" with an
          odd L a little off. The marked numbers within the last w, 0.5 for each other:
          (1 - w / L) / 6 (for "halves" with an even L and w <= L / 2).
          Knows one addend, the near one, and adds 0.5: 1/12
Source    Hochreiter & Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735; "free" marks as
          in https://github.com/locuslab/TCN, "halves" (one mark in each) as in
          https://github.com/state-spaces/s4. The 0.1767 often quoted for the constant is a
          misprint of 1/6. Numbers are multiples of 2**-23, so that their sum is exact
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from howfar.core.batch import Batch
from howfar.tasks.base import NumberTask, Rule
from howfar.tasks.streams import Draws, Integers

FINENESS = 1 << 23  # numbers in [0, 1) are multiples of 1 / FINENESS: a sum of two fits a float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Adding(NumberTask):
    """The task.

    Args:
        length: positions a sequence (at least 2).
        markers: "free", two different positions anywhere; "halves", one in each half.
    """

    name: ClassVar[str] = "adding"
    idea: ClassVar[str] = "add the two marked numbers of a long sequence"
    channels: ClassVar[int] = 2
    informative: ClassVar[str] = "The mean of all numbers tells a share 2 / length of the answer."

    length: int = 200
    markers: Literal["free", "halves"] = "free"

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        NumberTask.__post_init__(self)
        self.require(self.length >= 2, "length >= 2")
        self.require(self.markers in ("free", "halves"), "markers in ('free', 'halves')")

    @property
    def chance(self) -> float:
        """Squared error of the constant 1."""
        return 1 / 6

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split: tokens (B, L, 2), one number a row."""
        draws = self.draws(split, indices)
        places_B2 = self._places(draws)
        values_BL = draws.below(FINENESS, self.length)
        tokens_BLC = np.zeros((len(draws), self.length, 2), dtype=np.float32)
        tokens_BLC[:, :, 0] = values_BL * (1 / FINENESS)
        np.put_along_axis(tokens_BLC[:, :, 1], places_B2, 1.0, axis=1)
        sums_B = np.take_along_axis(values_BL, places_B2, axis=1).sum(1) * (1 / FINENESS)
        distance_BL = np.zeros((len(draws), self.length), dtype=np.int64)
        distance_BL[:, -1] = self.length - 1 - places_B2.min(1)
        return Batch(
            torch.from_numpy(tokens_BLC),
            torch.full((len(draws),), self.length),
            torch.from_numpy(sums_B.astype(np.float32)),
            torch.from_numpy(distance_BL),
        )

    def _places(self, draws: Draws) -> Integers:
        """The two marked positions: (B, 2)."""
        if self.markers == "halves":
            half = self.length // 2
            one_B1, other_B1 = draws.below(half, 1), half + draws.below(self.length - half, 1)
        else:
            one_B1, other_B1 = draws.below(self.length, 1), draws.below(self.length - 1, 1)
            other_B1 += other_B1 >= one_B1
        return np.concatenate([one_B1, other_B1], axis=1)

    def oracle(self, batch: Batch) -> Tensor:
        """The sum of the marked numbers: (B,)."""
        return self._within(batch, batch.tokens.shape[1])

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """The ladder, each (B,) numbers; its squared errors stand in the header."""
        ladder: dict[str, Rule] = {"the constant 1": _one, "twice the mean": _twice_the_mean}
        for window in (8, 32):
            if window < self.length:
                ladder[f"sees the last {window}"] = partial(self._within, window=window)
        return {**ladder, "knows one addend": _near_addend}

    def _within(self, batch: Batch, window: int) -> Tensor:
        """The marked numbers within the last `window`, 0.5 in place of each other one: (B,)."""
        recent_BWC = batch.tokens[:, max(0, batch.tokens.shape[1] - window) :]
        marks_BW = recent_BWC[:, :, 1]
        return (recent_BWC[:, :, 0] * marks_BW).sum(1) + 0.5 * (2 - marks_BW.sum(1))


def _one(batch: Batch) -> Tensor:
    return torch.ones(len(batch.tokens))


def _twice_the_mean(batch: Batch) -> Tensor:
    return 2 * batch.tokens[:, :, 0].mean(1)


def _near_addend(batch: Batch) -> Tensor:
    """The number of the last mark, and 0.5 for the other: (B,)."""
    length = batch.tokens.shape[1]
    near_B = length - 1 - batch.tokens[:, :, 1].flip(1).argmax(1)
    return batch.tokens[:, :, 0].gather(1, near_B[:, None])[:, 0] + 0.5
