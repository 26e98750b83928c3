"""Tasks whose answer is a symbol that stands earlier in the row: what they have in common.

Idea      symbols are the ids 1 .. kinds, class = id - 1. `sources` says, from the tokens alone,
          which earlier position each asked position has to read; oracle and ladder follow from it
Chance    1 / kinds: symbols are drawn evenly and independently of one another
Shortcut  always the same symbol; the most frequent symbol of the row; reading only sources that
          stand within the last w tokens (distance < w), the first symbol of the alphabet otherwise
"""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from howfar.core.batch import IGNORED, Batch
from howfar.tasks.base import Rule, Task
from howfar.tasks.streams import Integers

WINDOWS = (8, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied(Task):
    """What copying tasks share.

    Args:
        length: tokens a sequence.
        kinds: number of symbols to copy (at least 2).
    """

    informative: ClassVar[str] = (
        "The most frequent symbol of a row is its answer more often than others (a rung)."
    )

    kinds: int = 8

    def __post_init__(self) -> None:
        """Refuse what cannot be made; subclasses call this first."""
        Task.__post_init__(self)
        self.require(self.kinds >= 2, "kinds >= 2")

    @property
    def outputs(self) -> int:
        """Classes to choose from: the symbols."""
        return self.kinds

    @property
    def chance(self) -> float:
        """Accuracy of a guess."""
        return 1 / self.kinds

    @abstractmethod
    def sources(self, tokens: Tensor) -> Tensor:
        """Which position each position has to read, -1 where nothing is asked: (B, L)."""

    def oracle(self, batch: Batch) -> Tensor:
        """The right classes, read off the tokens: (N,)."""
        return self._within(batch, batch.tokens.shape[1])

    def _ladder(self, windows: Iterable[int] = ()) -> dict[str, Rule]:
        """The rules that every copying task has, each (N,) classes."""
        ladder: dict[str, Rule] = {
            "always the same symbol": partial(self._within, window=0),
            "the most frequent symbol": self._most_frequent,
        }
        for window in windows:
            if window < self.length:
                ladder[f"sees the last {window} tokens"] = partial(self._within, window=window)
        return ladder

    def _within(self, batch: Batch, window: int) -> Tensor:
        """What stands at the source where that is seen, class 0 otherwise: (N,)."""
        source_BL = self.sources(batch.tokens)
        seen_BL = positions(batch.tokens) - source_BL < window
        return self._read(batch, source_BL, seen_BL)

    def _read(self, batch: Batch, source_BL: Tensor, known_BL: Tensor) -> Tensor:
        """The symbols at these sources where they are known, class 0 otherwise: (N,)."""
        found_BL = batch.tokens.gather(1, source_BL.clamp(min=0)) - 1
        return (found_BL * known_BL)[source_BL >= 0]

    def _most_frequent(self, batch: Batch) -> Tensor:
        """The symbol the row has most of, the lowest of several: (N,)."""
        counts_BV = batch.tokens.new_zeros(len(batch.tokens), self.vocabulary)
        counts_BV.scatter_add_(1, batch.tokens, torch.ones_like(batch.tokens))
        lowest_K = torch.arange(self.kinds)
        most_B = (counts_BV[:, 1 : self.kinds + 1] * self.kinds - lowest_K).argmax(1)
        asked_BL = self.sources(batch.tokens) >= 0
        return most_B[:, None].expand_as(asked_BL)[asked_BL]


def positions(tokens: Tensor) -> Tensor:
    """0 .. L - 1: (1, L)."""
    return torch.arange(tokens.shape[1])[None]


def unasked(tokens: Integers) -> tuple[Integers, Integers]:
    """Targets that are all unscored, and distances that are all 0: (B, L) each."""
    return np.full_like(tokens, IGNORED), np.zeros_like(tokens)


def as_batch(tokens: Integers, targets: Integers, distance: Integers, lengths: Integers) -> Batch:
    """The arrays, (B, L) each and (B,), as a batch."""
    made = (torch.from_numpy(array) for array in (tokens, targets, distance, lengths))
    tokens_BL, targets_BL, distance_BL, lengths_B = made
    return Batch(tokens_BL, lengths_B, targets_BL, distance_BL)


def full(tokens: Integers) -> Integers:
    """The lengths of rows without padding: (B,)."""
    return np.full(len(tokens), tokens.shape[1], dtype=np.int64)
