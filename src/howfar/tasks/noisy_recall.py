"""Noisy recall: pairs and questions stand anywhere, in any order, in between noise.

Idea      the row is cut into places of two. 2 * pairs of them, drawn at random, hold for
          each key its pair and, later, its question; noise fills the rest. There is no list as in
          `mqar`: when a key is read only memory tells whether it is new

              .4 .1  k7 3  .9 .2  k2 5  k7 .8  .1 .5  .3 .3  k2 .6
                                        3                    5       targets
                                  |<---------- d ----------->|       distance of the answer 5

Distance  d = position of the question - position of the key before it
Chance    1 / values; one of the values shown: at least 1 / pairs
Shortcut  the value shown last before the question; seeing only the last w tokens
State     log2(values) bits a pair, when all pairs happen to stand before all questions
Source    Poli et al. 2024 (MAD), https://arxiv.org/abs/2403.17844, noisy in-context recall. Not as
          there: every key is asked exactly once, and its value is not shown again behind the
          question; in MAD few keys recur, so that the last occurrence is mostly near
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from howfar.core.batch import Batch
from howfar.tasks.base import Rule
from howfar.tasks.pairs import Pairs, assembled, distinct, places, shuffled, subset
from howfar.tasks.streams import Draws, Integers


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyRecall(Pairs):
    """The task.

    Args:
        length: tokens a sequence, at least 4 * pairs; a share 1 - 3 * pairs / length is noise.
        pairs: pairs of a key and a value, each asked once.
        keys: number of key symbols; values: number of value symbols (each at least pairs).
        filler: number of noise symbols (at least 1).
    """

    name: ClassVar[str] = "noisy_recall"
    idea: ClassVar[str] = "name the value of each key where pairs and questions mix with noise"
    informative: ClassVar[str] = (
        "The values shown so far are counted easily, and the answer is one of them."
    )

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Pairs.__post_init__(self)
        self.require(self.filler >= 1, "filler >= 1")
        self.require(self.keys >= self.pairs, "keys >= pairs")
        self.require(self.values >= self.pairs, "values >= pairs")
        self.require(4 * self.pairs <= self.length, "4 * pairs <= length")

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split: tokens (B, L), `pairs` scored targets a row."""
        draws = self.draws(split, indices)
        keys_BN = 1 + distinct(draws, self.keys, self.pairs)
        class_BN = distinct(draws, self.values, self.pairs)
        stated_BN, asked_BN = self._positions(draws)
        tokens_BL = self.background(draws)
        np.put_along_axis(tokens_BL, stated_BN, keys_BN, 1)
        np.put_along_axis(tokens_BL, stated_BN + 1, 1 + self.keys + class_BN, 1)
        np.put_along_axis(tokens_BL, asked_BN, keys_BN, 1)
        return assembled(tokens_BL, asked_BN, class_BN, asked_BN - stated_BN)

    def _positions(self, draws: Draws) -> tuple[Integers, Integers]:
        """Where each pair is stated and where it is asked: (B, N) each."""
        events = 2 * self.pairs
        cells_BE = 2 * np.sort(subset(draws, self.length // 2, events), axis=1)
        owner_BE = np.broadcast_to(np.arange(events) // 2, cells_BE.shape)
        order_BE = np.argsort(shuffled(draws, owner_BE), axis=1, kind="stable")
        at_BE = np.take_along_axis(cells_BE, order_BE, axis=1)
        return at_BE[:, 0::2], at_BE[:, 1::2]

    def oracle(self, batch: Batch) -> Tensor:
        """The value that stood behind the same key before: (N,) classes."""
        return self._within(batch, batch.tokens.shape[1])

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """Rules that need less than the task asks, each (N,) classes: the ladder of scores."""
        return {
            "always the same value": self._constant,
            "the first value shown": self._first_value,
            "the value shown last": self._latest_value,
        } | self.windows(self._within)

    def _constant(self, batch: Batch) -> Tensor:
        return torch.zeros(len(batch.tokens) * self.pairs, dtype=torch.long)

    def _found(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Positions of the questions and of the same keys before them: (B, N) each."""
        at_BE = places(self.is_key(batch.tokens), 2 * self.pairs)
        key_BE = batch.tokens.gather(1, at_BE)
        earlier_EE = torch.ones(key_BE.shape[1], key_BE.shape[1]).tril(-1).bool()
        same_BEE = (key_BE[:, :, None] == key_BE[:, None]) & earlier_EE
        source_BE = at_BE.gather(1, same_BEE.int().argmax(-1))
        asked_BE, shape = same_BEE.any(-1), (len(at_BE), self.pairs)
        return at_BE[asked_BE].view(shape), source_BE[asked_BE].view(shape)

    def _value(self, batch: Batch, at_BN: Tensor) -> Tensor:
        return (batch.tokens.gather(1, at_BN) - 1 - self.keys).flatten()

    def _first_value(self, batch: Batch) -> Tensor:
        """The row's first value, whatever is asked."""
        at_BN = places(self.is_value(batch.tokens), self.pairs)
        return self._value(batch, at_BN[:, :1].expand_as(at_BN))

    def _latest_value(self, batch: Batch) -> Tensor:
        """The value that stands nearest before the question."""
        at_BN, _ = self._found(batch)
        shown_BN = places(self.is_value(batch.tokens), self.pairs)
        before_BN = (shown_BN[:, None] < at_BN[:, :, None]).sum(-1) - 1
        return self._value(batch, shown_BN.gather(1, before_BN))

    def _within(self, batch: Batch, window: int) -> Tensor:
        """Right where the key stands in the window, class 0 otherwise."""
        at_BN, source_BN = self._found(batch)
        seen_N = (at_BN - source_BN < window).flatten()
        return torch.where(seen_N, self._value(batch, source_BN + 1), 0)
