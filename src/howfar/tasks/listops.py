"""ListOps: the value of a nested expression of MIN, MAX, MED and SM over digits.

Idea      brackets are tokens; the value is asked at the outermost closing bracket

              [MAX  4  [MIN  7  2  ]  [SM  8  5  ]  ]
          targets                            -  -  4

          A node is a digit with probability 3/4 (always at level `depth`), else one of the four
          operators with 2 .. `arguments` children. SM is the sum modulo 10, MED the median rounded
          down. Expressions of `shortest` .. `length` tokens are kept, as often as they come up;
          where both are equal, single digits are added or taken away to meet the length
Balanced  the same trees; every value as frequent, under the outermost operator and every other one:
          values are drawn downwards, the children of a node given its value
Distance  tokens - 1: the outermost operator decides, and stands first
Chance    the most frequent value, from the exact law of the trees; balanced: 1/10
Ladder    always the most frequent value .175; the outermost operator alone .368; knowing one level
          .599, two .739, three .829, four .897, five .933 (settings of the Long Range Arena)
Source    Nangia & Bowman 2018, https://arxiv.org/abs/1804.06028; Tay et al. 2020,
          https://arxiv.org/abs/2011.04006. Their round parentheses, which add nothing, are left
          out, and closing brackets are kept, which their pipeline lost with all punctuation
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from howfar.core.batch import IGNORED, Batch
from howfar.tasks.base import Rule, Task
from howfar.tasks.listops_law import values_by_length
from howfar.tasks.listops_symbols import balanced, laid_out, plain, values
from howfar.tasks.listops_trees import Rule as TreeRule
from howfar.tasks.listops_trees import ragged, trees
from howfar.tasks.listops_values import SYMBOLS, depth_needed, evaluate, seen
from howfar.tasks.streams import Draws, Integers

LEVELS = 6  # rungs of the ladder: 0 .. 5 levels
_RAREST = 1e-3  # share of trees that must fit, so that drawing them ends


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOps(Task):
    """The task.

    Args:
        length, shortest: tokens of an expression, brackets included, at most and at least.
        depth: levels of a tree, 2 or more. arguments: children of an operator at most, 2 .. 10.
        balanced: every value equally frequent under every operator.
    """

    name: ClassVar[str] = "listops"
    idea: ClassVar[str] = "work out a nested expression of MIN, MAX, MED and SM"
    informative: ClassVar[str] = (
        "The first token, the outermost operator, tells which values are likely (MIN small, MAX "
        "great); when balanced only the outermost digits do, and there the counts of the digits."
    )

    length: int = 1999
    shortest: int = 501
    depth: int = 10
    arguments: int = 10
    balanced: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Task.__post_init__(self)
        self.require(2 <= self.depth <= 64, "2 <= depth <= 64")
        self.require(2 <= self.arguments <= 10, "2 <= arguments <= 10")
        self.require(4 <= self.shortest <= self.length, "4 <= shortest <= length")
        self.require(self.length <= 16384, "length <= 16384")
        self.require(
            self._law.sum() >= _RAREST,
            f"at least {_RAREST} of all trees of this depth and these arguments to have "
            "shortest .. length tokens",
            "a smaller length, or a greater depth",
        )

    @property
    def vocabulary(self) -> int:
        """Padding, ten digits, four operators, the bracket."""
        return len(SYMBOLS)

    @property
    def outputs(self) -> int:
        """The digits."""
        return 10

    @property
    def symbols(self) -> tuple[str, ...]:
        """As in the original files."""
        return SYMBOLS

    @property
    def chance(self) -> float:
        """Share of the most frequent value; for one exact length, that of lengths close to it."""
        return 0.1 if self.balanced else float(self._law.sum(0).max() / self._law.sum())

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split, each padded to `length`; one scored target a row."""
        items_B = np.asarray(indices, dtype=np.int64).reshape(-1)

        def stream(purpose: str, owners: Integers) -> Draws:
            return self.draws(f"{split}/{purpose}", cast(Sequence[int], owners))

        layout = laid_out(trees(self._rule, stream, items_B), len(items_B))
        lengths_B = layout.lengths
        words_T = ragged(stream, "content", items_B, lengths_B)
        value_B = stream("value", items_B).below(10, 1)[:, 0]
        tokens_T = balanced(layout, words_T, value_B) if self.balanced else plain(layout, words_T)
        tokens_BL = np.zeros((len(items_B), self.length), dtype=np.int64)
        tokens_BL[np.arange(self.length) < lengths_B[:, None]] = tokens_T
        last = (np.arange(len(items_B)), lengths_B - 1)
        targets_BL, distance_BL = np.full_like(tokens_BL, IGNORED), np.zeros_like(tokens_BL)
        targets_BL[last], distance_BL[last] = values(layout, tokens_T), lengths_B - 1
        made = (torch.from_numpy(x) for x in (tokens_BL, lengths_B, targets_BL, distance_BL))
        tokens, lengths, targets, distance = made
        return Batch(tokens, lengths, targets, distance)

    def oracle(self, batch: Batch) -> Tensor:
        """The values, by reading each row from left to right: (B,)."""
        return torch.tensor([evaluate(row.tolist()) for row in _rows(batch)], dtype=torch.int64)

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """The most frequent value, and evaluators that see 0 .. 5 levels, each (B,)."""
        ladder: dict[str, Rule] = {"always the same value": self._always}
        for levels in range(LEVELS):
            plural = "" if levels == 1 else "s"
            name = f"sees {levels} level{plural}" if levels else "the first token alone"
            ladder[name] = partial(_sees, levels=levels)
        return ladder

    def depth_needed(self, batch: Batch) -> Tensor:
        """Levels that must be seen before nothing deeper can change the value: (B,)."""
        return torch.tensor([depth_needed(row.tolist()) for row in _rows(batch)], dtype=torch.int64)

    @property
    def _rule(self) -> TreeRule:
        return TreeRule(
            depth=self.depth,
            arguments=self.arguments,
            shortest=self.shortest,
            longest=self.length,
        )

    @property
    def _law(self) -> NDArray[np.float64]:
        """P(operator, value, tokens within the bounds) of trees with an operator: (4, 10)."""
        slack = self._rule.slack
        law_OVN = values_by_length(self.depth, self.arguments, self.length + slack)
        return np.asarray(law_OVN[:, :, max(4, self.shortest - slack) :].sum(-1))

    def _always(self, batch: Batch) -> Tensor:
        value = 0 if self.balanced else int(self._law.sum(0).argmax())
        return torch.full((len(batch.tokens),), value)


def _rows(batch: Batch) -> list[Integers]:
    """The tokens of every row without its padding."""
    whole = batch.tokens.numpy()
    return [row[:end] for row, end in zip(whole, (whole > 0).sum(1).tolist(), strict=True)]


def _sees(batch: Batch, levels: int) -> Tensor:
    return torch.tensor([seen(row, levels) for row in _rows(batch)], dtype=torch.int64)
