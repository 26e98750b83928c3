"""Forgetting recall: some keys get a new value later in the list; the latest counts.

Idea      N keys in a list, U of them stated twice with different values, in any order; then each
          key is asked once

              k7 3  k2 5  k7 8  .1 .4  k2 .9  .0 .6  k7 .2
                                       5             8     targets
                          |<------- d ------------->|      distance of the answer 8

Distance  d = position of the question - position of the key's latest statement
Chance    1 / values; one of the values of the list: 1 / (pairs + updates) each
Shortcut  never forgetting (the value first stated with the key): 1 - updates / pairs
State     log2(values) bits a key; values that are overwritten need none
Source    zoology's forgetting variant (github.com/HazyResearch/zoology). Not as there: updates
          stand anywhere behind the first statement, not in a block of their own; and a new value
          always differs from the old (there it is drawn unlike the value of another key)
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from howfar.core.batch import Batch
from howfar.tasks.base import Rule
from howfar.tasks.listed import Listed, matches, taken
from howfar.tasks.pairs import distinct, shuffled
from howfar.tasks.streams import Draws, Integers


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgettingRecall(Listed):
    """The task.

    Args:
        length: tokens a sequence, at least 4 * pairs + 2 * updates.
        pairs: keys, each asked once; updates: how many of them are stated twice.
        keys: number of key symbols; values: number of value symbols (at least pairs + updates).
        filler: number of symbols between the questions; 0 leaves blanks.
        placing: "uniform", or "zoology" with its power law.
        power: 0 .. 1, for "zoology" alone.
    """

    name: ClassVar[str] = "forgetting_recall"
    idea: ClassVar[str] = "name the latest value of each key where some keys were given a new one"

    updates: int = 2

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Listed.__post_init__(self)
        self.require(0 <= self.updates <= self.pairs, "0 <= updates <= pairs")
        self.require(self.keys >= self.pairs, "keys >= pairs")
        self.require(self.values >= self.statements, "values >= pairs + updates")
        needed = 4 * self.pairs + 2 * self.updates
        self.require(needed <= self.length, "4 * pairs + 2 * updates <= length")

    @property
    def statements(self) -> int:
        """Keys with a value that are stated, updates included."""
        return self.pairs + self.updates

    def stated(self, draws: Draws) -> tuple[Integers, Integers, Integers]:
        """A random order of all statements; the first `updates` of the drawn keys occur twice."""
        keys_BN = 1 + distinct(draws, self.keys, self.pairs)
        class_BS = distinct(draws, self.values, self.statements)
        owners_S = np.concatenate([np.arange(self.pairs), np.arange(self.updates)])
        owner_BS = shuffled(draws, np.broadcast_to(owners_S, class_BS.shape))
        latest_BN = np.zeros_like(keys_BN)
        for place in range(self.statements):
            np.put_along_axis(latest_BN, owner_BS[:, place : place + 1], place, 1)
        return np.take_along_axis(keys_BN, owner_BS, axis=1)[:, :, None], class_BS, latest_BN

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """As for every list, and keeping the first value of each key."""
        return self.ladder() | {"never forgets": self._first_stated}

    def _first_stated(self, batch: Batch) -> Tensor:
        """The value first stated with the key: right for all but `updates` of `pairs`."""
        read = self.read(batch)
        places_S = torch.arange(self.statements)
        first_BN = torch.where(matches(read), places_S, self.statements).amin(-1)
        return taken(read, first_BN)
