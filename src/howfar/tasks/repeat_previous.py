"""Repeat previous: at every step, name the symbol of `back` steps before.

Idea      even symbols; at each position t the answer is the symbol at t - back (here back = 2).
          With `drawn` the first token says how far back a row is asked, 1 .. back, so that one
          model gives the whole memory curve

              tokens    3  1  4  1  2               (back2)  3  1  4  1  2
              targets   -  -  3  1  4                   -    -  -  3  1  4

Distance  back for every answer; with `drawn` even in 1 .. back, another one for each row
Chance    1 / kinds
Shortcut  always the same symbol; the most frequent symbol; the symbol just read; what stands within
          the last w tokens: nothing where w <= back
Source    RepeatPrevious of POPGym, Morad et al. 2023, arXiv 2303.01859 (four suits; there the agent
          answers for reward, here every answer is scored); `lag` of the S4 repository
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from howfar.core.batch import IGNORED, Batch
from howfar.tasks.base import Rule
from howfar.tasks.copied import WINDOWS, Copied, as_batch, full, positions


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatPrevious(Copied):
    """The task.

    Args:
        length: tokens a sequence, the one that says how far back included.
        back: how many tokens back the answer stands (at least 1), at most with `drawn`.
        kinds: number of symbols (at least 2).
        drawn: the first token of a row says how far back to answer.
    """

    name: ClassVar[str] = "repeat_previous"
    idea: ClassVar[str] = "at every step, name the symbol of k steps before"

    kinds: int = 4
    back: int = 16
    drawn: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Copied.__post_init__(self)
        self.require(self.back >= 1, "back >= 1")
        self.require(self.back + self.drawn < self.length, "back + drawn < length")

    @property
    def vocabulary(self) -> int:
        """Ids: padding 0, the symbols, and with `drawn` one for each number of steps back."""
        return 1 + self.kinds + self.back * self.drawn

    @property
    def symbols(self) -> tuple[str, ...]:
        """Numbers for symbols, back1 .. for how far back."""
        kinds = (str(kind) for kind in range(1, self.kinds + 1))
        return ("_", *kinds, *(f"back{k}" for k in range(1, self.back * self.drawn + 1)))

    @property
    def state_bits(self) -> float:
        """The last `back` symbols; with `drawn` also how many of them are needed."""
        if not self.drawn:
            return self.back * math.log2(self.kinds)
        return math.log2(sum(self.kinds**k for k in range(1, self.back + 1)))

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split: tokens (B, L), every symbol from t = back on is scored."""
        draws = self.draws(split, indices)
        back_B1 = np.full((len(draws), 1), self.back, dtype=np.int64)
        if self.drawn:
            back_B1 = 1 + draws.below(self.back, 1)
        tokens_BL = 1 + draws.below(self.kinds, self.length)
        source_BL = np.arange(self.length) - back_B1
        asked_BL = source_BL >= self.drawn
        answer_BL = np.take_along_axis(tokens_BL, np.maximum(source_BL, 0), axis=1) - 1
        if self.drawn:
            tokens_BL[:, 0] = self.kinds + back_B1[:, 0]
        targets_BL = np.where(asked_BL, answer_BL, IGNORED)
        distance_BL = back_B1 * asked_BL
        return as_batch(tokens_BL, targets_BL, distance_BL, full(tokens_BL))

    def sources(self, tokens: Tensor) -> Tensor:
        """The position k before, -1 where no symbol stands there: (B, L)."""
        back_B1 = tokens[:, :1] - self.kinds if self.drawn else self.back
        source_BL = (positions(tokens) - back_B1).expand_as(tokens)
        return torch.where(source_BL >= int(self.drawn), source_BL, -1)

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """Rules that need less than the task asks, each (N,) classes."""
        windows = (window for window in WINDOWS if window <= self.back)
        return {**self._ladder(windows), "the symbol just read": self._just_read}

    def _just_read(self, batch: Batch) -> Tensor:
        """The symbol at the question itself: (N,)."""
        return batch.tokens[self.sources(batch.tokens) >= 0] - 1
