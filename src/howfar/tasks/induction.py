"""Induction head: a special symbol stood once in the row; name what followed it.

Idea      random symbols, a special one at a random place, and the special one again at the end

              3 7 1  S 5  2 2 7 0 1  S
                     |                          targets: 5, at the last token
                     |<----- d ----->|

Distance  d = length - 1 - position of the first S, uniform in 2 .. length - 1
Chance    1 / kinds
Shortcut  the symbol before the end (right where S stood just before it); the most frequent symbol,
          no better than chance (see below); seeing the last w tokens: (w - 2) / (length - 2)
State     log2(kinds) bits
Source    Olsson et al. 2022; Gu & Dao 2023 (Mamba), https://arxiv.org/abs/2312.00752: 256 tokens,
          16 symbols. The answer is drawn first and a random occurrence of it moved behind S. Had S
          been put in front of a random symbol, frequent symbols would be the answer more often:
          the most frequent one scores .09 at those settings, not .0625
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
from howfar.tasks.pairs import assembled
from howfar.tasks.streams import Draws, Integers

WINDOWS = (8, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Induction(Task):
    """The task.

    Args:
        length: tokens a sequence, both special ones included (at least 3).
        kinds: number of ordinary symbols (at least 2).
    """

    name: ClassVar[str] = "induction"
    idea: ClassVar[str] = "name what followed the special symbol when it first stood there"

    length: int = 256
    kinds: int = 16

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Task.__post_init__(self)
        self.require(self.length >= 3, "length >= 3")
        self.require(self.kinds >= 2, "kinds >= 2")

    @property
    def vocabulary(self) -> int:
        """Symbols: padding 0, ordinary ones 1 .. kinds, and last the special one."""
        return self.kinds + 2

    @property
    def outputs(self) -> int:
        """Classes to choose from: the ordinary symbols."""
        return self.kinds

    @property
    def chance(self) -> float:
        """Accuracy of a guess."""
        return 1 / self.kinds

    @property
    def symbols(self) -> tuple[str, ...]:
        """Ordinary symbols are numbers, the special one is S."""
        return ("_", *(str(kind) for kind in range(self.kinds)), "S")

    @property
    def state_bits(self) -> float:
        """Which symbol followed, and nothing else."""
        return math.log2(self.kinds)

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split: tokens (B, L), one scored target a row, at the end."""
        draws = self.draws(split, indices)
        class_B = draws.below(self.kinds, 1)[:, 0]
        place_B = draws.below(self.length - 2, 1)[:, 0]
        plain_BM = self._plain(draws, class_B, place_B)
        rows_B, last = np.arange(len(draws)), self.vocabulary - 1
        behind_BM = np.arange(self.length - 2) >= place_B[:, None]
        tokens_BL = np.full((len(draws), self.length), last, dtype=np.int64)
        np.put_along_axis(tokens_BL, np.arange(self.length - 2) + behind_BM, 1 + plain_BM, 1)
        tokens_BL[rows_B, place_B] = last
        at_B1 = np.full((len(draws), 1), self.length - 1)
        return assembled(tokens_BL, at_B1, class_B[:, None], at_B1 - place_B[:, None])

    def _plain(self, draws: Draws, class_B: Integers, place_B: Integers) -> Integers:
        """The ordinary symbols in order, the answer at its place: (B, L - 2).

        A random occurrence of the answer changes places with what stands there; a row without any
        gets one more. So the counts do not tell the answer, but that it is among them.
        """
        plain_BM = draws.below(self.kinds, self.length - 2)
        is_answer_BM = plain_BM == class_B[:, None]
        count_B1 = is_answer_BM.sum(1, keepdims=True)
        which_B1 = draws.below(np.maximum(count_B1, 1), 1)
        from_B = (np.cumsum(is_answer_BM, axis=1) == which_B1 + 1).argmax(1)
        from_B = np.where(count_B1[:, 0] > 0, from_B, place_B)
        rows_B = np.arange(len(draws))
        plain_BM[rows_B, from_B] = plain_BM[rows_B, place_B]
        plain_BM[rows_B, place_B] = class_B
        return plain_BM

    def oracle(self, batch: Batch) -> Tensor:
        """What followed the first special symbol: (B,)."""
        return self._within(batch, batch.tokens.shape[1])

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """Rules that need less than the task asks, each (B,) classes: the ladder of scores."""
        ladder: dict[str, Rule] = {
            "always the same symbol": self._constant,
            "the symbol before the end": self._before_end,
            "the most frequent symbol": self._most_frequent,
        }
        for window in WINDOWS:
            if window < self.length:
                ladder[f"sees the last {window} tokens"] = partial(self._within, window=window)
        return ladder

    def _constant(self, batch: Batch) -> Tensor:
        return torch.zeros(len(batch.tokens), dtype=torch.long)

    def _before_end(self, batch: Batch) -> Tensor:
        """Right with 1 / (length - 2), where S stood just before it, else with 1 / kinds."""
        return batch.tokens[:, -2] - 1

    def _most_frequent(self, batch: Batch) -> Tensor:
        """The symbol the row has most of, the lowest of several."""
        counts_BV = torch.zeros(len(batch.tokens), self.vocabulary, dtype=torch.long)
        counts_BV.scatter_add_(1, batch.tokens, torch.ones_like(batch.tokens))
        lowest_K = torch.arange(self.kinds)
        return (counts_BV[:, 1:-1] * self.kinds - lowest_K).argmax(1)

    def _within(self, batch: Batch, window: int) -> Tensor:
        """What follows S where S stands in the last `window` tokens, class 0 otherwise."""
        length = batch.tokens.shape[1]
        place_B = (batch.tokens == self.vocabulary - 1).int().argmax(1)
        found_B = batch.tokens.gather(1, place_B[:, None] + 1)[:, 0] - 1
        return torch.where(length - 1 - place_B < window, found_B, 0)
