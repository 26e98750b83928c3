"""k-hop induction: look up what followed the last such symbol, and again from there, k times.

Idea      a row of symbols without two equal ones in a row. A hop goes from a position to the one
          behind the latest earlier occurrence of its symbol; the answer is the symbol reached by k
          hops

              a b c a d b c b     k = 2: from the last b to the c behind the b before it,
                  ^ ^       |     from that c to the a behind the c before it: answer a
                  |<-- d -->|

Distance  d = position - position of the occurrence that the last hop went to (the c at ^ above)
Chance    1 / kinds. Positions from which k hops do not exist are not scored, unless `nulls`: they
          then have a class of their own, last, and the position tells much of it
Shortcut  two hops fewer: 2 / kinds in long rows, since b a .. b leads back often; the symbols that
          one hop fewer reaches are never right; seeing the last w tokens
Source    Sanford, Hsu & Telgarsky 2024, https://arxiv.org/abs/2402.09268: find_1(i) = max j <= i
          with X[j-1] = X[i], find_k = find_1 after find_k-1, answer X[find_k(i)], 100 symbols of 4
          kinds, k to 16. Without equal neighbours as in their code
          (github.com/chsanford/hop-induction-heads), where a hop would else stay where it is. Not
          as there: k is the same for all rows, not named by a first token, and positions without
          an answer are scored only if asked for
"""

import math
from collections.abc import Sequence
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
class KHop(Task):
    """The task.

    Args:
        length: tokens a sequence (at least hops + 2, where the first answer can stand).
        hops: look-ups one after another, k (at least 1).
        kinds: number of symbols (at least 3).
        nulls: score the positions without an answer too, as a class of their own.
    """

    name: ClassVar[str] = "khop"
    idea: ClassVar[str] = "look up what followed the last such symbol, k times in a chain"
    informative: ClassVar[str] = (
        "A hop never reaches its own symbol and two hops often return, so the symbol read tells."
    )

    length: int = 100
    hops: int = 2
    kinds: int = 4
    nulls: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Task.__post_init__(self)
        self.require(self.hops >= 1, "hops >= 1")
        self.require(self.kinds >= 3, "kinds >= 3")
        self.require(self.length >= self.hops + 2, "length >= hops + 2")

    @property
    def vocabulary(self) -> int:
        """Symbols: padding 0, then the kinds."""
        return self.kinds + 1

    @property
    def outputs(self) -> int:
        """Classes to choose from: the kinds, and with `nulls` one more for no answer."""
        return self.kinds + self.nulls

    @property
    def chance(self) -> float:
        """Accuracy of the best constant.

        A hop goes back a geometric number of positions, mean kinds - 1, so k hops exist from
        position i (0 is the first) if i - 1 trials at odds 1 : kinds - 2 succeed k times.
        """
        if not self.nulls:
            return 1 / self.kinds
        some = sum(_at_least(place - 1, self.hops, self.kinds - 1) for place in range(self.length))
        return max(1 - some / self.length, some / self.length / self.kinds)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Small letters, or s with a number where they do not suffice."""
        if self.kinds <= 26:
            return ("_", *(chr(ord("a") + kind) for kind in range(self.kinds)))
        return ("_", *(f"s{kind}" for kind in range(self.kinds)))

    @property
    def answers(self) -> tuple[str, ...]:
        """The symbols, and "none"."""
        return (*self.symbols[1:], *(["none"] * self.nulls))

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split: tokens (B, L), a target wherever there is an answer."""
        draws = self.draws(split, indices)
        steps_BL = draws.below(self.kinds - 1, self.length) + 1
        steps_BL[:, :1] = draws.below(self.kinds, 1)
        symbol_BL = np.cumsum(steps_BL, axis=1) % self.kinds
        reached_BL = self._hopped(symbol_BL, self.hops)
        here_L, exists_BL = np.arange(self.length), reached_BL > 0
        found_BL = np.take_along_axis(symbol_BL, reached_BL, axis=1)
        targets_BL = np.where(exists_BL, found_BL, self.kinds if self.nulls else IGNORED)
        unknown = here_L if self.nulls else 0  # that there is no answer, all tokens together say
        distance_BL = np.where(exists_BL, here_L - reached_BL + 1, unknown)
        lengths_B = torch.full((len(draws),), self.length)
        made = (torch.from_numpy(array) for array in (1 + symbol_BL, targets_BL, distance_BL))
        tokens, targets, distance = made
        return Batch(tokens, lengths_B, targets, distance)

    def _hopped(self, symbol_BL: Integers, hops: int) -> Integers:
        """Where so many hops lead from each position, 0 where they do not exist: (B, L)."""
        order_BL = np.argsort(symbol_BL, axis=1, kind="stable")
        sorted_BL = np.take_along_axis(symbol_BL, order_BL, axis=1)
        behind_BL = np.zeros_like(order_BL)
        same_BL = sorted_BL[:, 1:] == sorted_BL[:, :-1]
        behind_BL[:, 1:] = np.where(same_BL, order_BL[:, :-1] + 1, 0)
        next_BL = np.empty_like(behind_BL)
        np.put_along_axis(next_BL, order_BL, behind_BL, 1)
        reached_BL = np.tile(np.arange(symbol_BL.shape[1]), (len(symbol_BL), 1))
        for _ in range(hops):
            reached_BL = np.take_along_axis(next_BL, reached_BL, axis=1)
        return reached_BL

    def oracle(self, batch: Batch) -> Tensor:
        """The right classes, followed through the tokens: (N,)."""
        return self._within(batch, batch.tokens.shape[1] + 1)

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """Rules that need less than the task asks, each (N,) classes: the ladder of scores."""
        ladder: dict[str, Rule] = {
            "always the same symbol": partial(self._within, window=0),
            "the symbol before": self._before,
            "one hop fewer": partial(self._fewer, hops=self.hops - 1),
        }
        if self.hops > 1:
            ladder["two hops fewer"] = partial(self._fewer, hops=self.hops - 2)
        if self.nulls:
            ladder["no answer, always"] = self._none
        for window in WINDOWS:
            if window < self.length:
                ladder[f"sees the last {window} tokens"] = partial(self._within, window=window)
        return ladder

    def _asked(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Where the hops lead from each position, and which positions are scored: (B, L) each."""
        reached_BL = torch.from_numpy(self._hopped(batch.tokens.numpy(), self.hops))
        return reached_BL, (reached_BL > 0) | self.nulls

    def _within(self, batch: Batch, window: int) -> Tensor:
        """Right where the last hop stays in the window, class 0 otherwise; nulls where none is."""
        reached_BL, asked_BL = self._asked(batch)
        here_L = torch.arange(batch.tokens.shape[1])
        back_BL = torch.where(reached_BL > 0, here_L - reached_BL + 1, here_L)
        found_BL = batch.tokens.gather(1, reached_BL) - 1
        found_BL = torch.where(reached_BL > 0, found_BL, self.kinds)
        return torch.where(back_BL < window, found_BL, 0)[asked_BL]

    def _fewer(self, batch: Batch, hops: int) -> Tensor:
        """The symbol that fewer hops reach."""
        reached_BL = torch.from_numpy(self._hopped(batch.tokens.numpy(), hops))
        return (batch.tokens.gather(1, reached_BL) - 1)[self._asked(batch)[1]]

    def _before(self, batch: Batch) -> Tensor:
        """The symbol before the one read, the first one at the start."""
        shifted_BL = torch.cat([batch.tokens[:, :1], batch.tokens[:, :-1]], dim=1)
        return (shifted_BL - 1)[self._asked(batch)[1]]

    def _none(self, batch: Batch) -> Tensor:
        return torch.full((batch.tokens.numel(),), self.kinds)


def _at_least(trials: int, hits: int, one_in: int) -> float:
    """The odds of `hits` or more in so many trials, each hitting one time in `one_in`."""
    chances = (
        math.comb(trials, n) * (one_in - 1) ** (trials - n) / one_in**trials
        for n in range(min(hits, max(trials, 0)))
    )
    return 1 - sum(chances) if trials >= hits else 0.0
