"""Strings that are rewritten: what reversing, duplicating and sorting by place have in common.

Idea      n even symbols, then a marker at every position where the rewritten string is asked, its
          first symbol at the first marker. A row of L tokens has n = ceil(L / (1 + times)) symbols;
          where (1 + times) does not divide L, the last answers are not asked
Lengths   drawn evenly from shortest .. length, symbols and markers together; with `at_length(L)`
          exactly L
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from howfar.core.batch import IGNORED, Batch
from howfar.tasks.base import Rule
from howfar.tasks.copied import WINDOWS, Copied, as_batch, positions
from howfar.tasks.streams import Integers

Places = TypeVar("Places", Integers, Tensor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transduced(Copied):
    """What these tasks share.

    Args:
        length: most tokens of a row, markers included; shortest: fewest (at least 2).
        kinds: number of symbols (at least 2).
    """

    times: ClassVar[int] = 1  # answers for every symbol

    length: int = 80
    kinds: int = 2
    shortest: int = 2

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Copied.__post_init__(self)
        self.require(self.shortest >= 2, "shortest >= 2")
        self.require(self.shortest <= self.length, "shortest <= length")

    @abstractmethod
    def place(self, answer: Places, count: Places) -> Places:
        """Which of `count` symbols answer number `answer` repeats."""

    @property
    def vocabulary(self) -> int:
        """Ids: padding 0, the symbols, and last the marker."""
        return self.kinds + 2

    @property
    def symbols(self) -> tuple[str, ...]:
        """Numbers for symbols, > for the marker."""
        return ("_", *(str(kind) for kind in range(1, self.kinds + 1)), ">")

    @property
    def state_bits(self) -> float:
        """All symbols of the longest row, each of `kinds`, must be held at the first marker."""
        return -(-self.length // (1 + self.times)) * math.log2(self.kinds)

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split: tokens (B, L), a scored target at every marker."""
        draws = self.draws(split, indices)
        lengths_B1 = self.shortest + draws.below(self.length - self.shortest + 1, 1)
        count_B1 = -(-lengths_B1 // (1 + self.times))
        data_BL = 1 + draws.below(self.kinds, self.length)
        at_L = np.arange(self.length)
        asked_BL = (at_L >= count_B1) & (at_L < lengths_B1)
        tokens_BL = np.where(at_L < count_B1, data_BL, (self.vocabulary - 1) * asked_BL)
        place_BL = np.where(asked_BL, self.place(at_L - count_B1, count_B1), 0)
        answer_BL = np.take_along_axis(data_BL, place_BL, axis=1) - 1
        targets_BL = np.where(asked_BL, answer_BL, IGNORED)
        return as_batch(tokens_BL, targets_BL, (at_L - place_BL) * asked_BL, lengths_B1[:, 0])

    def sources(self, tokens: Tensor) -> Tensor:
        """The place each marker asks for: (B, L), -1 where nothing is asked."""
        marker_BL, count_B1 = self._markers(tokens)
        return torch.where(marker_BL, self.place(positions(tokens) - count_B1, count_B1), -1)

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """Rules that need less than the task asks, each (N,) classes."""
        return {**self._ladder(WINDOWS), "repeats the string as it is": self._as_it_is}

    def _markers(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Where markers stand, (B, L), and how many symbols come before them, (B, 1)."""
        marker_BL = tokens == self.vocabulary - 1
        return marker_BL, ((tokens != 0) & ~marker_BL).sum(1, keepdim=True)

    def _as_it_is(self, batch: Batch) -> Tensor:
        """Answer j is symbol j, the last symbol from where they end: (N,)."""
        marker_BL, count_B1 = self._markers(batch.tokens)
        same_BL = (positions(batch.tokens) - count_B1).clamp(min=0).minimum(count_B1 - 1)
        return self._read(batch, torch.where(marker_BL, same_BL, -1), marker_BL)
