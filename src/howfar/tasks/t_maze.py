"""T-maze: a sign at the start says which way to turn at the far end of a corridor.

Idea      one of two signs, a corridor in which every place looks the same, then the junction

              tokens    L  =  =  =  =  =  T
              targets   -  -  -  -  -  -  left

Lengths   drawn evenly from shortest .. length, sign and junction included; with `at_length(L)`
          exactly L
Distance  from the junction to the sign: tokens of the row - 1
Chance    1/2
Shortcut  always left; seeing the last w tokens: right in rows of up to w tokens, 1/2 beyond, so
          (1 + share of rows up to w) / 2
Source    Bakker 2001, Reinforcement learning with long short-term memory, NIPS 14; likewise
          Osband et al. 2020, arXiv 1908.03568, memory. An agent walks there, here rows are read
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from torch import Tensor

from howfar.core.batch import IGNORED, Batch
from howfar.tasks.base import Rule, Task
from howfar.tasks.copied import WINDOWS, as_batch

LEFT, CORRIDOR, JUNCTION = 1, 3, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TMaze(Task):
    """The task.

    Args:
        length: most tokens of a row; shortest: fewest (at least 2).
    """

    name: ClassVar[str] = "t_maze"
    idea: ClassVar[str] = "turn at the junction as the sign at the start said"
    informative: ClassVar[str] = (
        "Which sign a row has is the answer: the task is to hold it, not to find it."
    )

    shortest: int = 2

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Task.__post_init__(self)
        self.require(self.shortest >= 2, "shortest >= 2")
        self.require(self.shortest <= self.length, "shortest <= length")

    @property
    def vocabulary(self) -> int:
        """Ids: padding 0, the two signs, the corridor, the junction."""
        return JUNCTION + 1

    @property
    def outputs(self) -> int:
        """Left or right."""
        return 2

    @property
    def chance(self) -> float:
        """Accuracy of a guess."""
        return 0.5

    @property
    def symbols(self) -> tuple[str, ...]:
        """Signs are L and R."""
        return ("_", "L", "R", "=", "T")

    @property
    def answers(self) -> tuple[str, ...]:
        """Left is class 0."""
        return ("left", "right")

    @property
    def state_bits(self) -> float:
        """Which sign it was."""
        return 1.0

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split: tokens (B, L), one scored target a row, at the junction."""
        draws = self.draws(split, indices)
        last_B1 = self.shortest - 1 + draws.below(self.length - self.shortest + 1, 1)
        way_B1 = draws.below(2, 1)
        place_L = np.arange(self.length)
        junction_BL = place_L == last_B1
        tokens_BL = np.where(place_L < last_B1, CORRIDOR, JUNCTION * junction_BL)
        tokens_BL[:, :1] = LEFT + way_B1
        targets_BL = np.where(junction_BL, way_B1, IGNORED)
        return as_batch(tokens_BL, targets_BL, last_B1 * junction_BL, last_B1[:, 0] + 1)

    def oracle(self, batch: Batch) -> Tensor:
        """The way the sign says: (B,)."""
        return self._within(batch, batch.tokens.shape[1])

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """Rules that need less than the task asks, each (B,) classes."""
        ladder: dict[str, Rule] = {"always left": partial(self._within, window=0)}
        for window in WINDOWS:
            if window < self.length:
                ladder[f"sees the last {window} tokens"] = partial(self._within, window=window)
        return ladder

    def _within(self, batch: Batch, window: int) -> Tensor:
        """The sign's way in rows of at most `window` tokens, left otherwise: (B,)."""
        short_B = (batch.tokens != 0).sum(1) <= window
        return (batch.tokens[:, 0] - LEFT) * short_B
