"""Dyck: which bracket must close next.

Idea      a walk of openings and closings between depth 1 and `depth`, its first bracket always
          open, `kinds` kinds of brackets; at every closing the kind that must close next is asked:
          that of the innermost bracket still open

              tokens    (  [  ]  [  (  )  ]
              targets   -  -  (  -  -  [  (

          Each step opens or closes with probability 1/2, opens at depth 1, closes at `depth`, and
          the last step closes where it can, so that every row asks something
Lengths   drawn evenly from shortest .. length; with `at_length(L)` exactly L
Distance  from the closing bracket asked at to the opening one that is answered: an even number from
          2 up; those of the first bracket reach the length of the row
Chance    1 / kinds: kinds are drawn evenly, whatever the walk
Shortcut  always the same kind; the kind just closed, 1 / kinds; the kind of the first bracket,
          right at depth 1; the kind that most brackets are open of, which needs no order and is
          right at depth 1; the innermost bracket opened within the last w tokens
Source    Hewitt et al. 2020, arXiv 2010.07515 (bounded depth, closing brackets by distance), Suzgun
          et al. 2019, arXiv 1911.03329. They predict the next token and score the closing ones;
          here rows are prefixes of any length, and a bracket right after its opening is not asked
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from howfar.core.batch import Batch
from howfar.tasks.base import Rule, Task
from howfar.tasks.copied import WINDOWS, as_batch, positions, unasked
from howfar.tasks.streams import Integers

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dyck(Task):
    """The task.

    Args:
        length: most tokens of a row; shortest: fewest (at least 3).
        kinds: kinds of brackets (at least 2); depth: most brackets open at once (at least 2).
    """

    name: ClassVar[str] = "dyck"
    idea: ClassVar[str] = "name the only bracket that may close next"
    informative: ClassVar[str] = (
        "How many brackets of a kind are open (openings less closings) narrows the answer down "
        "(rung 'the kind most are open of')."
    )

    shortest: int = 3
    kinds: int = 2
    depth: int = 8

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Task.__post_init__(self)
        self.require(self.shortest >= 3, "shortest >= 3")
        self.require(self.shortest <= self.length, "shortest <= length")
        self.require(self.kinds >= 2, "kinds >= 2")
        self.require(self.depth >= 2, "depth >= 2")

    @property
    def vocabulary(self) -> int:
        """Ids: padding 0, opening brackets 1 .. kinds, closing ones after them."""
        return 1 + 2 * self.kinds

    @property
    def outputs(self) -> int:
        """Classes to choose from: the kinds."""
        return self.kinds

    @property
    def chance(self) -> float:
        """Accuracy of a guess."""
        return 1 / self.kinds

    @property
    def symbols(self) -> tuple[str, ...]:
        """Brackets while there are some, then numbered ones."""
        pairs = [*zip("([{<", ")]}>", strict=True)]
        pairs += [(f"({kind}", f"{kind})") for kind in range(len(pairs), self.kinds)]
        opening, closing = zip(*pairs[: self.kinds], strict=True)
        return ("_", *opening, *closing)

    @property
    def answers(self) -> tuple[str, ...]:
        """The closing brackets."""
        return self.symbols[1 + self.kinds :]

    @property
    def state_bits(self) -> float:
        """Which of all stacks of 1 .. depth brackets it is."""
        return math.log2(sum(self.kinds**count for count in range(1, self.depth + 1)))

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split: tokens (B, L), a scored target at every closing bracket."""
        draws = self.draws(split, indices)
        lengths_B = self.shortest + draws.below(self.length - self.shortest + 1, 1)[:, 0]
        kind_BL, up_BL = draws.below(self.kinds, self.length), draws.below(2, self.length) == 1
        rows_B, tokens_BL = np.arange(len(draws)), np.zeros_like(kind_BL)
        targets_BL, distance_BL = unasked(tokens_BL)
        stack_BD = np.zeros((len(draws), self.depth + 1), dtype=np.int64)  # where each was opened
        deep_B = np.zeros(len(draws), dtype=np.int64)
        for place in range(self.length):
            real_B = place < lengths_B
            opens_B = self._opens(up_BL[:, place], deep_B, np.equal(lengths_B - 1, place))
            top_B = stack_BD[rows_B, deep_B]
            kind_B = np.where(opens_B, kind_BL[:, place], self.kinds + kind_BL[rows_B, top_B])
            tokens_BL[:, place] = (1 + kind_B) * real_B
            deep_B = deep_B + np.where(opens_B, 1, -1) * real_B
            stack_BD[rows_B[opens_B], deep_B[opens_B]] = place
            asked_B, below_B = real_B & ~opens_B, stack_BD[rows_B, deep_B]
            targets_BL[asked_B, place] = kind_BL[rows_B, below_B][asked_B]
            distance_BL[:, place] = (place - below_B) * asked_B
        return as_batch(tokens_BL, targets_BL, distance_BL, lengths_B)

    def _opens(self, up_B: Flags, deep_B: Integers, last_B: Flags) -> Flags:
        """Whether the next bracket opens."""
        free_B = up_B & (deep_B < self.depth) & ~last_B
        opens_B: Flags = free_B | (deep_B <= 1)
        return opens_B

    def oracle(self, batch: Batch) -> Tensor:
        """The innermost kinds still open, read off the tokens: (N,)."""
        return self._within(batch, batch.tokens.shape[1])

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """Rules that need less than the task asks, each (N,) classes."""
        ladder: dict[str, Rule] = {
            "always the same kind": partial(self._within, window=0),
            "the kind just closed": self._closed,
            "the kind of the first bracket": self._first,
            "the kind most are open of": self._most_open,
        }
        for window in WINDOWS:
            if window < self.length:
                ladder[f"sees the last {window} tokens"] = partial(self._within, window=window)
        return ladder

    def _closing(self, batch: Batch) -> Tensor:
        """Where a bracket closes: (B, L)."""
        return batch.tokens > self.kinds

    def _within(self, batch: Batch, window: int) -> Tensor:
        """The innermost bracket open, where it stands in the last tokens; kind 0 otherwise: (N,).

        It is the last opening that led to the present depth.
        """
        tokens_BL = batch.tokens
        opening_BL = (tokens_BL > 0) & ~self._closing(batch)
        depth_BL = (opening_BL.long() - self._closing(batch).long()).cumsum(1)
        at_BL = positions(tokens_BL).expand_as(tokens_BL)
        source_BL = torch.zeros_like(tokens_BL)
        for depth in range(1, self.depth + 1):
            led_BL = opening_BL & (depth_BL == depth)
            latest_BL = torch.where(led_BL, at_BL, 0).cummax(1).values
            source_BL = torch.where(depth_BL == depth, latest_BL, source_BL)
        found_BL = (tokens_BL.gather(1, source_BL) - 1) * (at_BL - source_BL < window)
        return found_BL[self._closing(batch)]

    def _closed(self, batch: Batch) -> Tensor:
        """The kind of the closing bracket itself: (N,)."""
        return batch.tokens[self._closing(batch)] - 1 - self.kinds

    def _first(self, batch: Batch) -> Tensor:
        """The kind of the row's first bracket: (N,)."""
        first_BL = (batch.tokens[:, :1] - 1).expand_as(batch.tokens)
        return first_BL[self._closing(batch)]

    def _most_open(self, batch: Batch) -> Tensor:
        """The kind with most openings less closings so far, the lowest of several: (N,)."""
        kinds_K = torch.arange(1, self.kinds + 1)
        opened_BLK = (batch.tokens[:, :, None] == kinds_K).long()
        closed_BLK = (batch.tokens[:, :, None] == kinds_K + self.kinds).long()
        open_BLK = (opened_BLK - closed_BLK).cumsum(1)
        most_BL = (open_BLK * self.kinds - kinds_K).argmax(2)
        return most_BL[self._closing(batch)]
