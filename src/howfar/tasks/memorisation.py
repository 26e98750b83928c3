"""Memorisation: facts that hold in every row and stand in none.

Idea      a fixed map from keys to values, drawn once for a seed and the same in all splits; a row
          is key, slot, key, slot ..., and at each slot the value of the key before it is asked.
          Values are never read: they can only be learned from targets, into the weights

              tokens    k5  ?  k9  ?  k5  ?
              targets   -   v3 -   v0 -   v3

Distance  1: the key stands right before. What is far is not in the row
Chance    1 / values: every value has keys / values keys
Shortcut  always the same value; knowing only half of the facts,
          (keys/2 + how many of the other half have the value guessed) / keys
Source    memorisation of MAD, Poli et al. 2024, arXiv 2403.17844, without its noise. Their values
          share the vocabulary of the input without standing in it; here they are classes
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from howfar.core.batch import Batch
from howfar.tasks.base import Rule, Task
from howfar.tasks.copied import as_batch, full, unasked
from howfar.tasks.streams import Integers


@dataclass(frozen=True, slots=True, kw_only=True)
class Memorisation(Task):
    """The task.

    Args:
        length: tokens a sequence (at least 2); of an odd length the last key is not asked.
        keys: how many facts; values: how many answers (at least 2), a divisor of keys.
    """

    name: ClassVar[str] = "memorisation"
    idea: ClassVar[str] = "know facts that are the same in every row and stand in none"
    informative: ClassVar[str] = (
        "Which keys a row has says which values it asks: the fact is the task (rung 'half of the "
        "facts')."
    )

    length: int = 32
    keys: int = 128
    values: int = 128

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Task.__post_init__(self)
        self.require(self.length >= 2, "length >= 2")
        self.require(self.values >= 2, "values >= 2")
        self.require(
            self.keys >= self.values and self.keys % self.values == 0,
            "keys >= values and keys % values == 0",
        )

    @property
    def vocabulary(self) -> int:
        """Ids: padding 0, the keys, and last the slot."""
        return self.keys + 2

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
        """Keys are k with a number, the slot is ?."""
        return ("_", *(f"k{key}" for key in range(self.keys)), "?")

    @property
    def answers(self) -> tuple[str, ...]:
        """Values are v with a number."""
        return tuple(f"v{value}" for value in range(self.values))

    @property
    def state_bits(self) -> float:
        """The key just read; the facts themselves belong into the weights."""
        return math.log2(self.keys)

    @property
    def facts(self) -> Integers:
        """The value of every key: (keys,), each value equally often."""
        facts: Integers = self.draws("facts", [0]).orders(self.keys)[0] % self.values
        return facts

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split: tokens (B, L), a scored target at every slot."""
        draws = self.draws(split, indices)
        keys_BK = draws.below(self.keys, (self.length + 1) // 2)
        tokens_BL = np.full((len(draws), self.length), self.vocabulary - 1, dtype=np.int64)
        tokens_BL[:, ::2] = keys_BK + 1
        targets_BL, distance_BL = unasked(tokens_BL)
        targets_BL[:, 1::2] = self.facts[keys_BK[:, : self.length // 2]]
        distance_BL[:, 1::2] = 1
        return as_batch(tokens_BL, targets_BL, distance_BL, full(tokens_BL))

    def oracle(self, batch: Batch) -> Tensor:
        """The values of the keys before the slots: (N,)."""
        return self._known(batch, self.keys)

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """Rules that need less than the task asks, each (N,) classes."""
        return {
            "always the same value": partial(self._known, count=0),
            "half of the facts": partial(self._known, count=self.keys // 2),
        }

    def _known(self, batch: Batch, count: int) -> Tensor:
        """The values of the first `count` keys, value 0 for others: (N,)."""
        slot_BL = batch.tokens == self.vocabulary - 1
        key_N = batch.tokens.roll(1, dims=1)[slot_BL] - 1
        return torch.from_numpy(self.facts)[key_N] * (key_N < count)
