"""Parity: is the number of ones odd?

Idea      even bits, their sum modulo 2 asked at the last one, or with `each` at every one

              tokens    1  0  1  1               1  0  1  1
              targets   -  -  -  1     (each)    1  1  0  1

Lengths   drawn evenly from shortest .. length; of exactly L bits with `at_length(L)`
Distance  every bit so far decides: the farthest is the first, t tokens before the answer at t
Chance    1/2, and exactly 1/2 for any rule that leaves out a bit
Shortcut  always even; the last bit; parity of the last w bits: right up to w bits, 1/2 beyond;
          odd where ones are the majority: right for 1 bit, near 1/2 for many
Source    parity check of Deletang et al. 2022, arXiv 2207.02098 (trained on 1 .. 40 bits, asked up
          to 500); cumulative parity is `each`. They ask after the string, here its last bit asks
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from howfar.core.batch import IGNORED, Batch
from howfar.tasks.base import Rule, Task
from howfar.tasks.copied import WINDOWS, as_batch, positions

ZERO, ONE = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity(Task):
    """The task.

    Args:
        length: most bits of a row; shortest: fewest (at least 1).
        each: answer at every bit, not only at the last.
    """

    name: ClassVar[str] = "parity"
    idea: ClassVar[str] = "say whether the number of ones is odd"
    informative: ClassVar[str] = (
        "The count of ones is the answer, though not by any threshold: it matters whether it is "
        "odd (rung 'ones are the majority' for short rows)."
    )

    length: int = 40
    shortest: int = 1
    each: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Task.__post_init__(self)
        self.require(self.shortest >= 1, "shortest >= 1")
        self.require(self.shortest <= self.length, "shortest <= length")

    @property
    def vocabulary(self) -> int:
        """Ids: padding 0, then 1 for a zero and 2 for a one."""
        return 3

    @property
    def outputs(self) -> int:
        """Even or odd."""
        return 2

    @property
    def chance(self) -> float:
        """Accuracy of a guess: bits are even, so is their sum."""
        return 0.5

    @property
    def symbols(self) -> tuple[str, ...]:
        """Bits are bits."""
        return ("_", "0", "1")

    @property
    def answers(self) -> tuple[str, ...]:
        """Even is class 0."""
        return ("even", "odd")

    @property
    def state_bits(self) -> float:
        """The parity so far, and nothing else."""
        return 1.0

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split: tokens (B, L), one scored target a row, or one a bit."""
        draws = self.draws(split, indices)
        lengths_B = self.shortest + draws.below(self.length - self.shortest + 1, 1)[:, 0]
        place_L = np.arange(self.length)
        real_BL = place_L < lengths_B[:, None]
        bits_BL = draws.below(2, self.length) * real_BL
        asked_BL = real_BL if self.each else place_L == lengths_B[:, None] - 1
        targets_BL = np.where(asked_BL, bits_BL.cumsum(axis=1) % 2, IGNORED)
        return as_batch((bits_BL + ZERO) * real_BL, targets_BL, place_L * asked_BL, lengths_B)

    def oracle(self, batch: Batch) -> Tensor:
        """The parities, read off the tokens: (N,)."""
        return self._within(batch, batch.tokens.shape[1])

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """Rules that need less than the task asks, each (N,) classes."""
        ladder: dict[str, Rule] = {
            "always even": partial(self._within, window=0),
            "the last bit": partial(self._within, window=1),
            "ones are the majority": self._majority,
        }
        for window in WINDOWS:
            if window < self.length:
                ladder[f"sees the last {window} bits"] = partial(self._within, window=window)
        return ladder

    def _ones(self, batch: Batch) -> Tensor:
        """How many ones up to each position: (B, L)."""
        return (batch.tokens == ONE).long().cumsum(1)

    def _asked(self, batch: Batch) -> Tensor:
        """Where an answer is asked: (B, L)."""
        real_BL = batch.tokens != 0
        last_B1 = real_BL.sum(1, keepdim=True) - 1
        return real_BL if self.each else positions(batch.tokens) == last_B1

    def _within(self, batch: Batch, window: int) -> Tensor:
        """Parity of the last `window` bits: (N,)."""
        ones_BL = self._ones(batch)
        before_BL = torch.nn.functional.pad(ones_BL, (window, 0))[:, : ones_BL.shape[1]]
        return ((ones_BL - before_BL) % 2)[self._asked(batch)]

    def _majority(self, batch: Batch) -> Tensor:
        """Odd where more than half of the bits so far are ones: (N,)."""
        more_BL = 2 * self._ones(batch) > positions(batch.tokens) + 1
        return more_BL.long()[self._asked(batch)]
