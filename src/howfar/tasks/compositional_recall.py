"""Compositional recall: a value belongs to a pair of keys, and neither key alone tells it.

Idea      n first keys and n second keys, all n * n combinations in a list in random order, each
          with a value of its own; then each combination is asked once. n * n = pairs

              k1 k9 3  k1 k8 5  k2 k9 0  k2 k8 7  .1 .4 .3  k2 k9 .5
                                                               0     target
                                |<--------- d ---------------->|     distance of the answer 0

Distance  d = position of the question's second key - position of the first key in the list
Chance    1 / values; one of the values of the list: 1 / pairs
Shortcut  the latest value stated with the same first (or second) key: 1 / n
State     log2(values) bits a combination
Source    zoology's compositional variant (github.com/HazyResearch/zoology), with a grid as there;
          slots and filler as in `mqar`
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from torch import Tensor

from howfar.core.batch import Batch
from howfar.tasks.base import Rule
from howfar.tasks.listed import Listed, last, taken
from howfar.tasks.pairs import distinct
from howfar.tasks.streams import Draws, Integers


@dataclass(frozen=True, slots=True, kw_only=True)
class CompositionalRecall(Listed):
    """The task.

    Args:
        length: tokens a sequence, at least 6 * pairs.
        pairs: combinations, a square number, each asked once.
        keys: number of first keys, and of second keys (at least the root of pairs).
        values: number of value symbols (at least pairs).
        filler: number of symbols between the questions; 0 leaves blanks.
        placing: "uniform", or "zoology" with its power law.
        power: 0 .. 1, for "zoology" alone.
    """

    name: ClassVar[str] = "compositional_recall"
    idea: ClassVar[str] = "name the value of a pair of keys, of which neither alone tells it"
    key_tokens: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Listed.__post_init__(self)
        self.require(self.side**2 == self.pairs, "pairs = a square number")
        self.require(self.keys**2 >= self.pairs, "keys ** 2 >= pairs")
        self.require(self.values >= self.pairs, "values >= pairs")
        self.require(6 * self.pairs <= self.length, "6 * pairs <= length")

    @property
    def side(self) -> int:
        """First keys, and second keys, of one sequence."""
        return math.isqrt(self.pairs)

    @property
    def key_ids(self) -> int:
        """Ids that are keys: the first ones, then the second ones."""
        return 2 * self.keys

    def stated(self, draws: Draws) -> tuple[Integers, Integers, Integers]:
        """All combinations of drawn keys in random order, different values."""
        first_BK = 1 + distinct(draws, self.keys, self.side)
        second_BK = 1 + self.keys + distinct(draws, self.keys, self.side)
        cell_BS = draws.orders(self.pairs)
        keys = [
            np.take_along_axis(first_BK, cell_BS // self.side, axis=1),
            np.take_along_axis(second_BK, cell_BS % self.side, axis=1),
        ]
        class_BS = distinct(draws, self.values, self.pairs)
        return (
            np.stack(keys, axis=2),
            class_BS,
            np.broadcast_to(np.arange(self.pairs), cell_BS.shape),
        )

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """As for every list, and reading one of the two keys."""
        return self.ladder() | {
            "reads the first key alone": partial(self._one_key, which=0),
            "reads the second key alone": partial(self._one_key, which=1),
        }

    def _one_key(self, batch: Batch, which: int) -> Tensor:
        """The latest value stated with one of the two keys: right for 1 in `side`."""
        read = self.read(batch)
        same_BNS = read.asked[:, :, None, which] == read.keys[:, None, :, which]
        return taken(read, last(same_BNS))
