"""Common words: one word occurs `times` as often as every other; name it.

Idea      all words stand in the text, in random order, equally often (or once more) but for one

              w3 w7 w1 w3 w9 w3 w4 ASK
          targets                   w3

Distance  length - 1: every word counts, from the first on
Chance    1 / words
Ladder    always the same word 1 / words; the last word, right as often as its share of the text,
          c / (length - 1); the most frequent of the last 8 and 32 words
Source    RULER's common words extraction, Hsieh et al. 2024, https://arxiv.org/abs/2404.06654:
          there ten words 30 times each beside others 3 times; here one, at any length
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from howfar.core.batch import Batch
from howfar.tasks.base import Rule
from howfar.tasks.frequent_words import Counting, asked, ladder, most_frequent


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonWords(Counting):
    """The task.

    Args:
        length: tokens a sequence, the question included.
        words: different words (at least 2). times: how much commoner the one is (at least 2).
    """

    name: ClassVar[str] = "common_words"
    idea: ClassVar[str] = "name the one word that is commoner than all others"

    times: int = 4

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Counting.__post_init__(self)
        self.require(self.words >= 2, "words >= 2")
        self.require(self.times >= 2, "times >= 2")
        self.require(self.length >= 4, "length >= 4")

    @property
    def common(self) -> int:
        """How often the common word occurs: `times` its share, and more than any other."""
        places = self.length - 1
        share = self.times * places // (self.words - 1 + self.times)
        others = self.words - 1
        # The rest is dealt evenly: no other word may come up as often.
        while -(-(places - share) // others) >= share:
            share += 1
        return share

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split, one scored target a row, at the question."""
        draws = self.draws(split, indices)
        ids_BW = 1 + draws.orders(self.words)
        places, common = self.length - 1, self.common
        # Which of the others occur once more is random, as the ids are in random order.
        which_T = np.where(
            np.arange(places) < common, 0, 1 + (np.arange(places) - common) % (self.words - 1)
        )
        text_BT = np.take_along_axis(ids_BW[:, which_T], draws.orders(places), axis=1)
        return asked(text_BT, ids_BW[:, 0] - 1, self.vocabulary - 1)

    def oracle(self, batch: Batch) -> Tensor:
        """The most frequent word, counted: (B,)."""
        return most_frequent(batch, self.words, batch.tokens.shape[1])

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """Rules that need less than the task asks, each (B,)."""
        return ladder(self.words, self.length)
