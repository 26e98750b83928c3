"""Needles in a haystack: short statements far apart in noise; the end asks for one of them.

Idea      `needles` statements "key = value" in a haystack; the row ends with one of the keys and a
          question mark, and the value's tokens are asked for one after another. The others distract

              .4 .1 k2 = 5 7  .9 .2 .1  k7 = 3 8  .3  k2 ? 5
                                                         5 7    targets
                    |<------------- d ----------------->|       distance of the first answer 5

Distance  d = position that answers - position of the needle's key
Chance    1 / values; the value of any needle: 1 / needles + (1 - 1 / needles) / values
Shortcut  the first or last needle, whatever is asked; what stood behind the token read (finds later
          tokens of a value, without the key); seeing the last w tokens
State     log2(values) bits a value token, of all needles
Source    the passkey of Mohtashami & Jaggi 2023, https://arxiv.org/abs/2305.16300; needles that
          distract as in RULER, https://arxiv.org/abs/2404.06654. Over symbols, so that it can be
          trained from nothing; "repeated" noise goes round its alphabet like their sentences
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
from howfar.tasks.base import Rule, Task
from howfar.tasks.pairs import WINDOWS, assembled, distinct, places, subset
from howfar.tasks.streams import Draws, Integers

HAYSTACKS = ("random", "repeated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Needle(Task):
    """The task.

    Args:
        length: tokens a sequence, question and answers but the last included.
        needles: statements, one of which is asked for.
        answer: tokens of a value, m.
        depth: where the asked needle stands, percent of the noise tokens and other needles that
            come before it; -1: anywhere.
        keys: number of key symbols (at least needles); values: number of value symbols.
        noise: number of noise symbols; haystack: "random" or "repeated".
    """

    name: ClassVar[str] = "needle"
    idea: ClassVar[str] = "find the statement asked for in a haystack and say its value"
    informative: ClassVar[str] = (
        "The values shown are counted easily, and the answer is one of them: a share 1 / needles."
    )

    length: int = 256
    needles: int = 4
    answer: int = 1
    depth: int = -1
    keys: int = 32
    values: int = 32
    noise: int = 32
    haystack: str = "random"

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Task.__post_init__(self)
        self.require(self.needles >= 1, "needles >= 1")
        self.require(self.answer >= 1, "answer >= 1")
        self.require(-1 <= self.depth <= 100, "-1 <= depth <= 100")
        self.require(self.keys >= self.needles, "keys >= needles")
        self.require(self.values >= 2, "values >= 2")
        self.require(self.noise >= 1, "noise >= 1")
        self.require(self.haystack in HAYSTACKS, "haystack = random or repeated")
        fits = self._units >= self.needles
        self.require(fits, "needles * (answer + 2) + answer + 1 <= length")

    @property
    def vocabulary(self) -> int:
        """Symbols: padding 0, keys, values, noise, and last = and ?."""
        return 1 + self.keys + self.values + self.noise + 2

    @property
    def outputs(self) -> int:
        """Classes to choose from: the value symbols."""
        return self.values

    @property
    def chance(self) -> float:
        """Accuracy of a guess, a token of the answer."""
        return 1 / self.values

    @property
    def symbols(self) -> tuple[str, ...]:
        """Keys are k with a number, values numbers, noise a dot with its number."""
        keys = (f"k{key}" for key in range(self.keys))
        values = (str(value) for value in range(self.values))
        return ("_", *keys, *values, *(f".{number}" for number in range(self.noise)), "=", "?")

    @property
    def state_bits(self) -> float:
        """The values of all needles: before the question any of them may be asked."""
        return self.needles * self.answer * math.log2(self.values)

    @property
    def _wide(self) -> int:
        """Tokens of a needle: key, = and the value."""
        return self.answer + 2

    @property
    def _units(self) -> int:
        """Noise tokens and needles, each counted as one."""
        haystack = self.length - self.answer - 1
        return haystack - self.needles * (self._wide - 1)

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split: tokens (B, L), `answer` scored targets a row, at the end."""
        draws = self.draws(split, indices)
        key_BN = 1 + distinct(draws, self.keys, self.needles)
        class_BA = draws.below(self.values, self.needles * self.answer)
        class_BNA = class_BA.reshape(len(draws), self.needles, self.answer)
        at_BN = self._starts(draws)
        tokens_BL = self._haystack(draws)
        np.put_along_axis(tokens_BL, at_BN, key_BN, 1)
        np.put_along_axis(tokens_BL, at_BN + 1, self.vocabulary - 2, 1)
        for token in range(self.answer):
            shown_BN = 1 + self.keys + class_BNA[:, :, token]
            np.put_along_axis(tokens_BL, at_BN + 2 + token, shown_BN, 1)
        end = self.length - self.answer - 1  # the key that is asked
        tokens_BL[:, end], tokens_BL[:, end + 1] = key_BN[:, 0], self.vocabulary - 1
        tokens_BL[:, end + 2 :] = 1 + self.keys + class_BNA[:, 0, :-1]
        asked_BA = np.tile(np.arange(end + 1, self.length), (len(draws), 1))
        return assembled(tokens_BL, asked_BA, class_BNA[:, 0], asked_BA - at_BN[:, :1])

    def _starts(self, draws: Draws) -> Integers:
        """Where the needles begin, the one that is asked for first: (B, N)."""
        units = self._units
        asked_B1 = draws.below(units, 1)
        if self.depth >= 0:
            asked_B1[:] = (2 * self.depth * (units - 1) + 100) // 200  # rounded, halves up
        others_BM = np.sort(subset(draws, units - 1, self.needles - 1), axis=1)
        others_BM = others_BM + (others_BM >= asked_B1)
        unit_BN = np.concatenate([asked_B1, others_BM], axis=1)
        before_BN = (unit_BN[:, None] < unit_BN[:, :, None]).sum(2)
        start_BN: Integers = unit_BN + (self._wide - 1) * before_BN
        return start_BN

    def _haystack(self, draws: Draws) -> Integers:
        first = 1 + self.keys + self.values
        if self.haystack == "random":
            return first + draws.below(self.noise, self.length)
        rows_BL: Integers = np.zeros((len(draws), self.length), dtype=np.int64)
        rows_BL += first + np.arange(self.length) % self.noise
        return rows_BL

    def oracle(self, batch: Batch) -> Tensor:
        """The value stated with the key before the question mark: (N,) classes."""
        return self._within(batch, batch.tokens.shape[1])

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """Rules that need less than the task asks, each (N,) classes: the ladder of scores."""
        ladder: dict[str, Rule] = {
            "always the same value": partial(self._within, window=0),
            "the first needle": partial(self._needle, which=0),
            "the last needle": partial(self._needle, which=self.needles - 1),
        }
        if self.answer > 1:
            ladder["what stood behind the token read"] = self._behind
        for window in WINDOWS:
            if window < self.length:
                ladder[f"sees the last {window} tokens"] = partial(self._within, window=window)
        return ladder

    def _found(self, batch: Batch) -> Tensor:
        """Positions of the needles' keys, from left to right: (B, N)."""
        is_key_BL = (batch.tokens >= 1) & (batch.tokens <= self.keys)
        return places(is_key_BL, self.needles + 1)[:, :-1]

    def _values(self, batch: Batch, at_B1: Tensor) -> Tensor:
        """The value classes of the needles that begin there: (B, m)."""
        return batch.tokens.gather(1, at_B1 + 2 + torch.arange(self.answer)) - 1 - self.keys

    def _needle(self, batch: Batch, which: int) -> Tensor:
        return self._values(batch, self._found(batch)[:, which : which + 1]).flatten()

    def _within(self, batch: Batch, window: int) -> Tensor:
        """Right where the needle's key stands in the window, class 0 otherwise."""
        at_BN = self._found(batch)
        end = batch.tokens.shape[1] - self.answer
        same_BN = batch.tokens.gather(1, at_BN) == batch.tokens[:, end - 1 : end]
        at_B1 = at_BN.gather(1, same_BN.int().argmax(1, keepdim=True))
        seen_BA = end + torch.arange(self.answer) - at_B1 < window
        return torch.where(seen_BA, self._values(batch, at_B1), 0).flatten()

    def _behind(self, batch: Batch) -> Tensor:
        """What followed the last earlier occurrence of the token read, if a value; else class 0."""
        tokens_BL, end = batch.tokens, batch.tokens.shape[1] - self.answer
        found = []
        for at in range(end, tokens_BL.shape[1]):
            same_BT = tokens_BL[:, :at] == tokens_BL[:, at : at + 1]
            back_B1 = (same_BT * torch.arange(1, at + 1)).amax(1, keepdim=True)
            class_B1 = tokens_BL.gather(1, back_B1) - 1 - self.keys
            fine_B1 = (back_B1 > 0) & (class_B1 >= 0) & (class_B1 < self.values)
            found.append(torch.where(fine_B1, class_B1, 0))
        return torch.cat(found, dim=1).flatten()
