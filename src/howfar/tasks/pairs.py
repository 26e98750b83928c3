"""Keys and their values: the alphabets that recall tasks share, and choosing without replacement.

Idea     ids are padding 0, the keys, the values, the filler: four alphabets without a common
         symbol, so that filler never contradicts a pair. Class = number of the value
Choosing Floyd's method gives a set of `count` numbers below `size` from `count` words, an order is
         drawn after it: whole numbers only, and the cost does not grow with the alphabet
Source   Bentley & Floyd 1987, https://doi.org/10.1145/30401.315746
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from howfar.core.batch import IGNORED, Batch
from howfar.tasks.base import Rule, Task
from howfar.tasks.streams import Draws, Integers

WINDOWS = (8, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs(Task):
    """What tasks of keys and values have in common.

    Args:
        length: tokens a sequence.
        pairs: key-value pairs stated in a sequence.
        keys: number of key symbols; values: number of value symbols (at least 2).
        filler: number of symbols for the places in between; 0 leaves them blank (id 0).
    """

    informative: ClassVar[str] = (
        "The values shown are counted easily, and the answer is one of them: a share 1 / pairs."
    )

    pairs: int = 4
    keys: int = 128
    values: int = 128
    filler: int = 32

    def __post_init__(self) -> None:
        """Refuse what cannot be made; subclasses call this first."""
        Task.__post_init__(self)
        self.require(self.pairs >= 1, "pairs >= 1")
        self.require(self.values >= 2, "values >= 2")
        self.require(self.filler >= 0, "filler >= 0")
        self.require(self.keys < 2**31, "keys < 2**31")

    @property
    def key_ids(self) -> int:
        """Ids that are keys: 1 .. key_ids."""
        return self.keys

    @property
    def vocabulary(self) -> int:
        """Symbols: padding 0, keys, values, filler."""
        return 1 + self.key_ids + self.values + self.filler

    @property
    def outputs(self) -> int:
        """Classes to choose from: the values."""
        return self.values

    @property
    def chance(self) -> float:
        """Accuracy of a guess."""
        return 1 / self.values

    @property
    def symbols(self) -> tuple[str, ...]:
        """Keys are k with a number, values numbers, filler a dot with its number."""
        keys = (f"k{key}" for key in range(self.key_ids))
        values = (str(value) for value in range(self.values))
        return ("_", *keys, *values, *(f".{number}" for number in range(self.filler)))

    @property
    def state_bits(self) -> float:
        """Which value belongs to which pair, when all are stated and none is asked yet.

        The keys need not be held beside them: only keys that were stated are asked. A state serves
        one mapping a set of keys at most, so as many states are needed as there are mappings:
        values * (values - 1) * .. for `pairs` different values.
        """
        return sum(math.log2(self.values - taken) for taken in range(self.pairs))

    def background(self, draws: Draws) -> Integers:
        """Rows of filler: (B, L)."""
        if not self.filler:
            return np.zeros((len(draws), self.length), dtype=np.int64)
        return 1 + self.key_ids + self.values + draws.below(self.filler, self.length)

    def is_key(self, tokens: Tensor) -> Tensor:
        """Which tokens are keys."""
        return (tokens >= 1) & (tokens <= self.key_ids)

    def is_value(self, tokens: Tensor) -> Tensor:
        """Which tokens are values."""
        return (tokens > self.key_ids) & (tokens <= self.key_ids + self.values)

    def windows(self, within: Callable[..., Tensor]) -> dict[str, Rule]:
        """The rungs of a rule `within(batch, window=...)` that sees the last tokens only."""
        return {
            f"sees the last {window} tokens": partial(within, window=window)
            for window in WINDOWS
            if window < self.length
        }


def assembled(tokens_BL: Integers, at_BN: Integers, answer_BN: Integers, far_BN: Integers) -> Batch:
    """A batch whose rows are asked at `at`: classes `answer`, deciding tokens `far` back."""
    targets_BL, distance_BL = np.full_like(tokens_BL, IGNORED), np.zeros_like(tokens_BL)
    np.put_along_axis(targets_BL, at_BN, answer_BN, 1)
    np.put_along_axis(distance_BL, at_BN, far_BN, 1)
    lengths_B = torch.full((len(tokens_BL),), tokens_BL.shape[1])
    made = (torch.from_numpy(array) for array in (tokens_BL, targets_BL, distance_BL))
    tokens, targets, distance = made
    return Batch(tokens, lengths_B, targets, distance)


def places(marked_BL: Tensor, count: int) -> Tensor:
    """Positions of the marked tokens where each row has `count` of them: (B, count)."""
    return marked_BL.nonzero()[:, 1].view(len(marked_BL), count)


def shuffled(draws: Draws, numbers_BC: Integers) -> Integers:
    """The numbers of each row in a random order: (B, C)."""
    return np.take_along_axis(numbers_BC, draws.orders(numbers_BC.shape[1]), axis=1)


def distinct(draws: Draws, size: ArrayLike, count: int) -> Integers:
    """`count` different numbers of 0 .. size - 1 in random order: (B, count). size: one, (B, 1)."""
    return shuffled(draws, subset(draws, size, count))


def subset(draws: Draws, size: ArrayLike, count: int) -> Integers:
    """As `distinct`, every set equally likely but its order not random: (B, count)."""
    tops = np.asarray(size, dtype=np.int64) - count + np.arange(count)
    drawn_CB = np.ascontiguousarray(draws.below(tops + 1, count).T)
    tops_CB = np.broadcast_to(tops, (len(draws), count)).T
    for step in range(1, count):
        clash_B = (drawn_CB[:step] == drawn_CB[step]).any(0)
        drawn_CB[step] = np.where(clash_B, tops_CB[step], drawn_CB[step])
    return np.ascontiguousarray(drawn_CB.T)
