"""Modular arithmetic: the value of an expression over the whole numbers modulo 5.

Idea      digits 0 .. 4 and + - *, multiplication binding first, or with `brackets` a random tree of
          bracketed pairs; the value is asked at the = that ends the row

              tokens    1  +  2  *  3  =          (  2  *  (  4  -  1  )  )  =
              targets   -  -  -  -  -  2          -  -  -  -  -  -  -  -  -  1

Lengths   drawn evenly from shortest .. length, = included; with `at_length(L)` exactly L. An
          expression without brackets of an even number of tokens begins with a sign
Distance  to the first token of the expression, tokens of the row - 1: any digit may decide (a
          later product with 0 may also undo it)
Chance    the share of the value 0, which products make more frequent: 1/5 without `times`, by
          `howfar.tasks.expressions` otherwise
Shortcut  always 0; the last digit; the sum of all digits; all of it, or the last w tokens, from
          left to right without precedence or brackets (right for sure without `times` and
          `brackets`: such rows are a finite state away); with brackets also one or two levels
          below the root, what is deeper counting as 0
Source    modular arithmetic, with and without brackets, of Deletang et al. 2022, arXiv 2207.02098.
          They leave out multiplication in brackets by default (`times`), and have only odd lengths
          without brackets; no = ends their rows
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from howfar.core.batch import Batch
from howfar.tasks.base import Rule, Task
from howfar.tasks.copied import WINDOWS, as_batch, unasked
from howfar.tasks.expressions import (
    EQUALS,
    MINUS,
    MODULUS,
    PLUS,
    SYMBOLS,
    TIMES,
    bracketed,
    evaluate,
    fold,
    surely_zero,
)
from howfar.tasks.streams import Draws, Integers


@dataclass(frozen=True, slots=True, kw_only=True)
class ModularArithmetic(Task):
    """The task.

    Args:
        length: most tokens of a row, = included; shortest: fewest (at least 2).
        brackets: expressions are trees of bracketed pairs.
        times: multiplication is among the operators.
    """

    name: ClassVar[str] = "modular_arithmetic"
    idea: ClassVar[str] = "work out an expression over the whole numbers modulo 5"
    informative: ClassVar[str] = (
        "Counts of * and of the digit 0 raise the share of the answer 0, and the sum of the digits "
        "is the answer of a short row of additions (rung 'the sum of all digits')."
    )

    length: int = 40
    shortest: int = 2
    brackets: bool = False
    times: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Task.__post_init__(self)
        self.require(self.shortest >= 2, "shortest >= 2")
        self.require(self.shortest <= self.length, "shortest <= length")

    @property
    def vocabulary(self) -> int:
        """Ids: padding 0, five digits, + - * ( ) =."""
        return len(SYMBOLS)

    @property
    def outputs(self) -> int:
        """The values 0 .. 4."""
        return MODULUS

    @property
    def symbols(self) -> tuple[str, ...]:
        """As they are written."""
        return SYMBOLS

    @property
    def operators(self) -> int:
        """How many operators there are."""
        return 3 if self.times else 2

    @property
    def chance(self) -> float:
        """How often the value is 0, over all lengths: accuracy of always saying so."""
        sure = surely_zero(self.length - 1, self.operators, brackets=self.brackets)
        of_lengths = sure[self.shortest - 2 :]
        a = sum(of_lengths) / len(of_lengths)
        return a + (1 - a) / MODULUS

    @property
    def state_bits(self) -> float | None:
        """Without brackets: the sum so far (5) and the factor awaiting more (5, or a sign)."""
        if self.brackets:
            return None
        return math.log2(MODULUS * (MODULUS if self.times else 2))

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split: tokens (B, L), one scored target a row, at the =."""
        draws = self.draws(split, indices)
        lengths_B = self.shortest + draws.below(self.length - self.shortest + 1, 1)[:, 0]
        write = self._trees if self.brackets else self._sums
        tokens_BL, value_B = write(draws, lengths_B)
        rows_B, last_B = np.arange(len(draws)), lengths_B - 1
        tokens_BL[rows_B, last_B] = EQUALS
        targets_BL, distance_BL = unasked(tokens_BL)
        targets_BL[rows_B, last_B] = value_B
        distance_BL[rows_B, last_B] = last_B
        return as_batch(tokens_BL, targets_BL, distance_BL, lengths_B)

    def _trees(self, draws: Draws, lengths_B: Integers) -> tuple[Integers, Integers]:
        """Expressions with brackets and their values: (B, L) and (B,)."""
        words_BL = draws.words(self.length) >> np.uint64(32)
        tokens_BL = np.zeros((len(draws), self.length), dtype=np.int64)
        value_B = np.zeros(len(draws), dtype=np.int64)
        for row, length in enumerate(lengths_B.tolist()):
            words = iter(words_BL[row].tolist())
            tokens, value = bracketed(words, length - 1, self.operators)
            tokens_BL[row, : length - 1], value_B[row] = tokens, value % MODULUS
        return tokens_BL, value_B

    def _sums(self, draws: Draws, lengths_B: Integers) -> tuple[Integers, Integers]:
        """Expressions without brackets and their values: (B, L) and (B,)."""
        most = self.length // 2
        digit_BK = draws.below(MODULUS, most)
        operator_BK = PLUS + draws.below(self.operators, most)  # the one before each digit
        signed_B, count_B = lengths_B % 2 == 1, lengths_B // 2
        operator_BK[:, 0] = np.where(signed_B, MINUS, PLUS)
        total_B, term_B = np.zeros_like(lengths_B), np.zeros_like(lengths_B)
        for number in range(most):
            digit_B, operator_B = digit_BK[:, number], operator_BK[:, number]
            times_B = operator_B == TIMES
            next_B = np.where(times_B, term_B, np.where(operator_B == MINUS, -1, 1)) * digit_B
            real_B = number < count_B
            total_B = total_B + np.where(times_B, 0, term_B) * real_B
            term_B = np.where(real_B, next_B % MODULUS, term_B)
        written_BL = np.stack([operator_BK, 1 + digit_BK], axis=2).reshape(len(draws), 2 * most)
        at_L = np.arange(self.length)
        from_BL = np.minimum(at_L + ~signed_B[:, None], 2 * most - 1)  # no sign: begin at a digit
        tokens_BL = np.take_along_axis(written_BL, from_BL, axis=1)
        return tokens_BL * (at_L < lengths_B[:, None]), (total_B + term_B) % MODULUS

    def oracle(self, batch: Batch) -> Tensor:
        """The values, worked out from the tokens: (B,)."""
        return _by_row(batch, evaluate)

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """Rules that need less than the task asks, each (B,) classes."""
        ladder: dict[str, Callable[[list[int]], int]] = {
            "always 0": lambda _: 0,
            "the last digit": lambda tokens: _digits(tokens)[-1],
            "the sum of all digits": lambda tokens: sum(_digits(tokens)) % MODULUS,
            "from left to right": fold,
        }
        for window in WINDOWS:
            if window < self.length:
                ladder[f"the last {window} tokens from left to right"] = partial(_end, window)
        if self.brackets:
            ladder["one level"] = partial(evaluate, levels=1)
            ladder["two levels"] = partial(evaluate, levels=2)
        return {name: partial(_by_row, rule=rule) for name, rule in ladder.items()}


def _by_row(batch: Batch, rule: Callable[[list[int]], int]) -> Tensor:
    """What a rule makes of each expression, its = left out: (B,)."""
    rows = zip(batch.tokens.tolist(), (batch.tokens != 0).sum(1).tolist(), strict=True)
    values = [rule(tokens[: length - 1]) for tokens, length in rows]
    return torch.tensor(values, dtype=torch.int64)


def _digits(tokens: list[int]) -> list[int]:
    return [token - 1 for token in tokens if 1 <= token <= MODULUS]


def _end(window: int, tokens: list[int]) -> int:
    """What the last tokens come to, = being one of them."""
    return fold(tokens[len(tokens) + 1 - window :] if window <= len(tokens) else tokens)
