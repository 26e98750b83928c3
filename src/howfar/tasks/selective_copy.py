"""Selective copying: give back, in order, the symbols that stood scattered among blanks.

Idea      `data` symbols at places drawn evenly among all slots, the rest blanks (or noise symbols);
          then a marker at each of the last `data` positions (here data = 3, length = 11)

              tokens    _  5  _  _  2  _  _  7  >  >  >
              targets   -  -  -  -  -  -  -  -  5  2  7

Distance  length - data + j - place of symbol j: another one for every answer; place j is
          (j + 1) (slots + 1) / (data + 1) - 1 on average, slots = length - data
Chance    1 / kinds
Shortcut  always the same symbol; the most frequent symbol; what stands within the last w tokens;
          the symbol nearest to where symbol j stands on average, which a fixed filter comes close
          to; remembering only the last symbol, 1/data + (1 - 1/data) / kinds
Source    Jing et al. 2019, arXiv 1706.02761 (denoise), Gu & Dao 2023, arXiv 2312.00752 (length
          4,096, 16 symbols of 16 kinds), and MAD, arXiv 2403.17844, where a symbol always stands
          right before the marker; here all sets of places are equally likely. A marker stands at
          every answer, in place of one and then blanks
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
from howfar.tasks.base import Rule
from howfar.tasks.copied import WINDOWS, Copied, as_batch, full, unasked
from howfar.tasks.streams import Draws, Integers


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectiveCopy(Copied):
    """The task.

    Args:
        length: tokens a sequence, slots and answers together.
        data: symbols to remember (at least 1); kinds: how many different ones (at least 2).
        noise: number of noise symbols between them; 0: blanks.
    """

    name: ClassVar[str] = "selective_copy"
    idea: ClassVar[str] = "give back, in order, the symbols that stood scattered among blanks"

    length: int = 272
    kinds: int = 16
    data: int = 16
    noise: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Copied.__post_init__(self)
        self.require(self.data >= 1, "data >= 1")
        self.require(self.noise >= 0, "noise >= 0")
        self.require(2 * self.data <= self.length, "2 * data <= length")

    @property
    def vocabulary(self) -> int:
        """Ids: blank 0, the symbols, the noise, and last the marker."""
        return self.kinds + self.noise + 2

    @property
    def symbols(self) -> tuple[str, ...]:
        """Numbers for symbols, a dot with a number for noise, > for the marker."""
        kinds = (str(kind) for kind in range(1, self.kinds + 1))
        return ("_", *kinds, *(f".{number}" for number in range(self.noise)), ">")

    @property
    def state_bits(self) -> float:
        """All symbols, each of `kinds`, must be held when the first marker comes."""
        return self.data * math.log2(self.kinds)

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split: tokens (B, L), `data` scored targets a row."""
        draws = self.draws(split, indices)
        slots, rows_B1 = self.length - self.data, np.arange(len(draws))[:, None]
        place_BM = _places(draws, slots, self.data)
        data_BM = draws.below(self.kinds, self.data)
        tokens_BL = np.zeros((len(draws), self.length), dtype=np.int64)
        if self.noise:
            tokens_BL[:, :slots] = 1 + self.kinds + draws.below(self.noise, slots)
        tokens_BL[rows_B1, place_BM] = data_BM + 1
        tokens_BL[:, slots:] = self.vocabulary - 1
        targets_BL, distance_BL = unasked(tokens_BL)
        targets_BL[:, slots:] = data_BM
        distance_BL[:, slots:] = slots + np.arange(self.data) - place_BM
        return as_batch(tokens_BL, targets_BL, distance_BL, full(tokens_BL))

    def sources(self, tokens: Tensor) -> Tensor:
        """Marker m asks for symbol m: (B, L), -1 where nothing is asked."""
        source_BL = torch.full_like(tokens, -1)
        source_BL[tokens == self.vocabulary - 1] = self._standing(tokens).flatten()
        return source_BL

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """Rules that need less than the task asks, each (N,) classes."""
        return {
            **self._ladder(WINDOWS),
            "remembers the last symbol": partial(self._ranked, last=1),
            "remembers the last half": partial(self._ranked, last=(self.data + 1) // 2),
            "the symbol nearest to the usual place": self._usual,
        }

    def _standing(self, tokens: Tensor) -> Tensor:
        """Where the symbols stand: (B, M)."""
        is_data_BL = (tokens >= 1) & (tokens <= self.kinds)
        return is_data_BL.nonzero()[:, 1].reshape(len(tokens), self.data)

    def _ranked(self, batch: Batch, last: int) -> Tensor:
        """The last few symbols, class 0 for those before: (N,)."""
        found_BM = batch.tokens.gather(1, self._standing(batch.tokens)) - 1
        return (found_BM * (torch.arange(self.data) >= self.data - last)).flatten()

    def _usual(self, batch: Batch) -> Tensor:
        """For answer j the symbol nearest to the mean place of symbol j: (N,)."""
        place_BM = self._standing(batch.tokens)
        slots = batch.tokens.shape[1] - self.data
        usual_M = torch.arange(1, self.data + 1) * (slots + 1) // (self.data + 1) - 1
        away_BMM = (place_BM[:, None, :] - usual_M[None, :, None]).abs()
        nearest_BM = (away_BMM * slots + place_BM[:, None, :]).argmin(2)  # the first of two
        found_BM = batch.tokens.gather(1, place_BM) - 1
        return found_BM.gather(1, nearest_BM).flatten()


def _places(draws: Draws, slots: int, count: int) -> Integers:
    """`count` of the slots, every set equally likely, ascending: (B, count). Floyd's algorithm."""
    tops_M = np.arange(slots - count, slots)
    place_BM = draws.below(tops_M + 1, count)
    for number, top in enumerate(tops_M):
        again_B = (place_BM[:, :number] == place_BM[:, number, None]).any(1)
        place_BM[again_B, number] = top
    return np.sort(place_BM, axis=1)
