"""Copy memory: give back the first symbols after a long run of blanks.

Idea      `data` symbols, T - 1 blanks, then a marker at each of the last data + 1 positions; at the
          last `data` of them the symbols are asked, in order (here data = 3, T = 4, length = 10)

              tokens    5  2  7  _  _  _  >  >  >  >
              targets   -  -  -  -  -  -  -  5  2  7

Distance  T + data = length - data for every answer
Chance    1 / kinds, and ln(kinds) nats an answer
Shortcut  always the same symbol; the most frequent symbol; remembering only the last symbol,
          1/data + (1 - 1/data) / kinds; remembering only the last half, likewise
Source    Hochreiter & Schmidhuber 1997; layout and scoring of Arjovsky, Shah & Bengio 2016,
          arXiv 1511.06464, and Bai, Kolter & Koltun 2018, arXiv 1803.01271, whose loss is the mean
          over all T + 2 data positions. Blanks alone make that look good (92.7 % right at T = 100),
          so recall alone is scored here; `loss_over_all` gives the published figure. They feed the
          digit as one real channel, here it is an id
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
from howfar.tasks.copied import Copied, as_batch, full, unasked


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Copied):
    """The task.

    Args:
        length: tokens a sequence, T + 2 data of them.
        data: symbols to remember (at least 1); kinds: how many different ones (at least 2).
    """

    name: ClassVar[str] = "copy"
    idea: ClassVar[str] = "give back the first symbols after a long run of blanks"

    length: int = 120
    data: int = 10

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Copied.__post_init__(self)
        self.require(self.data >= 1, "data >= 1")
        self.require(2 * self.data + 1 <= self.length, "2 * data + 1 <= length")

    @property
    def delay(self) -> int:
        """T of the papers: the tokens between the last symbol and the second marker."""
        return self.length - 2 * self.data

    @property
    def vocabulary(self) -> int:
        """Ids: blank 0, the symbols, and last the marker."""
        return self.kinds + 2

    @property
    def symbols(self) -> tuple[str, ...]:
        """Numbers for symbols, > for the marker."""
        return ("_", *(str(kind) for kind in range(1, self.kinds + 1)), ">")

    @property
    def state_bits(self) -> float:
        """All symbols, each of `kinds`, must be held through the blanks."""
        return self.data * math.log2(self.kinds)

    @property
    def memoryless_loss(self) -> float:
        """Nats a position over all positions when nothing is remembered: M ln(kinds) / (T + 2M)."""
        return self.loss_over_all(math.log(self.kinds))

    def loss_over_all(self, nats_of_recall: float) -> float:
        """The loss the papers print, over all T + 2M positions, blanks being answered surely.

        nats_of_recall: mean cross-entropy at the M recall positions.
        """
        return self.data * nats_of_recall / self.length

    def accuracy_over_all(self, accuracy_of_recall: float) -> float:
        """The share right of all T + 2M positions, blanks being answered surely."""
        return 1 - self.data * (1 - accuracy_of_recall) / self.length

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split: tokens (B, L), `data` scored targets a row."""
        draws = self.draws(split, indices)
        data_BM = draws.below(self.kinds, self.data)
        tokens_BL = np.zeros((len(draws), self.length), dtype=np.int64)
        tokens_BL[:, : self.data] = data_BM + 1
        tokens_BL[:, self.length - self.data - 1 :] = self.vocabulary - 1
        targets_BL, distance_BL = unasked(tokens_BL)
        targets_BL[:, self.length - self.data :] = data_BM
        distance_BL[:, self.length - self.data :] = self.length - self.data
        return as_batch(tokens_BL, targets_BL, distance_BL, full(tokens_BL))

    def sources(self, tokens: Tensor) -> Tensor:
        """The m-th marker after the first asks for symbol m: (B, L), -1 where nothing is asked."""
        marker_BL = tokens == self.vocabulary - 1
        return torch.where(marker_BL, marker_BL.long().cumsum(1) - 2, -1)

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """Rules that need less than the task asks, each (N,) classes."""
        half = (self.data + 1) // 2
        return {
            **self._ladder(),
            "remembers the last symbol": partial(self._from, first=self.data - 1),
            "remembers the last half": partial(self._from, first=self.data - half),
        }

    def _from(self, batch: Batch, first: int) -> Tensor:
        """The symbols from number `first` on, class 0 for those before: (N,)."""
        source_BL = self.sources(batch.tokens)
        return self._read(batch, source_BL, source_BL >= first)
