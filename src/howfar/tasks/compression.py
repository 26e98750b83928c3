"""Compression: read a sequence, then say which symbol stood at any place that is asked.

Idea      n even symbols, a mark that closes the sequence, then `asks` different places in random
          order; each is answered where its place is read (here n = 4, asks = 2)

              tokens    5  2  7  1  |  @2 @0
              targets   -  -  -  -  -  7  5

Distance  from the question to the place asked
Chance    1 / kinds
Shortcut  always the same symbol; the most frequent symbol; what stands within the last w tokens;
          the last symbol of the sequence, 1/n + (1 - 1/n) / kinds; remembering its last half
Source    compression of MAD, Poli et al. 2024, arXiv 2403.17844. There one vector, the output at
          the mark, is decoded into the whole sequence by a network that is given each place.
          Here, as a causal model has no such decoder, the places are tokens that follow and the
          model answers. So a recurrent state is bounded as there, but attention may look back
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from torch import Tensor

from howfar.core.batch import Batch
from howfar.tasks.base import Rule
from howfar.tasks.copied import WINDOWS, Copied, as_batch, full, positions, unasked


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression(Copied):
    """The task.

    Args:
        length: tokens a sequence: n symbols, the mark and the questions.
        kinds: number of symbols (at least 2).
        asks: questions a row (at least 1), all different.
        places: ids for places, the most symbols a sequence may have. Ids of places beyond those
            of the training lengths are never trained.
    """

    name: ClassVar[str] = "compression"
    idea: ClassVar[str] = "read a sequence, then name the symbol of any place that is asked"

    length: int = 41
    kinds: int = 16
    asks: int = 8
    places: int = 256

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Copied.__post_init__(self)
        self.require(self.asks >= 1, "asks >= 1")
        self.require(2 * self.asks + 1 <= self.length, "2 * asks + 1 <= length")
        self.require(self.length - self.asks - 1 <= self.places, "length - asks - 1 <= places")

    @property
    def vocabulary(self) -> int:
        """Ids: padding 0, the symbols, the mark, the places."""
        return 1 + self.kinds + 1 + self.places

    @property
    def symbols(self) -> tuple[str, ...]:
        """Numbers for symbols, | for the mark, @ with its number for a place."""
        kinds = (str(kind) for kind in range(1, self.kinds + 1))
        return ("_", *kinds, "|", *(f"@{place}" for place in range(self.places)))

    @property
    def data(self) -> int:
        """Symbols of the sequence: n."""
        return self.length - self.asks - 1

    @property
    def state_bits(self) -> float:
        """Every place may be asked, so at the mark all symbols must be held."""
        return self.data * math.log2(self.kinds)

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split: tokens (B, L), `asks` scored targets a row."""
        draws = self.draws(split, indices)
        data_BN = draws.below(self.kinds, self.data)
        place_BA = draws.chosen(self.data, self.asks)
        mark = self.kinds + 1
        closing_B1 = np.full((len(draws), 1), mark, dtype=np.int64)
        tokens_BL = np.concatenate([data_BN + 1, closing_B1, mark + 1 + place_BA], axis=1)
        targets_BL, distance_BL = unasked(tokens_BL)
        targets_BL[:, self.data + 1 :] = np.take_along_axis(data_BN, place_BA, axis=1)
        distance_BL[:, self.data + 1 :] = self.data + 1 + np.arange(self.asks) - place_BA
        return as_batch(tokens_BL, targets_BL, distance_BL, full(tokens_BL))

    def sources(self, tokens: Tensor) -> Tensor:
        """The place a question names: (B, L), -1 where nothing is asked."""
        return (tokens - self.kinds - 2).clamp(min=-1)

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """Rules that need less than the task asks, each (N,) classes."""
        half = (self.data + 1) // 2
        return {
            **self._ladder(WINDOWS),
            "the last symbol": self._last,
            "remembers the last half": partial(self._from, first=self.data - half),
        }

    def _last(self, batch: Batch) -> Tensor:
        """The symbol before the mark, whatever is asked: (N,)."""
        at_BL = positions(batch.tokens).expand_as(batch.tokens)
        last_B = at_BL[batch.tokens == self.kinds + 1] - 1
        asked_BL = self.sources(batch.tokens) >= 0
        return (batch.tokens.gather(1, last_B[:, None]) - 1).expand_as(asked_BL)[asked_BL]

    def _from(self, batch: Batch, first: int) -> Tensor:
        """The symbols at place `first` and after, class 0 for those before: (N,)."""
        source_BL = self.sources(batch.tokens)
        return self._read(batch, source_BL, source_BL >= first)
