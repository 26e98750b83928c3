"""Fuzzy recall: keys and values of several symbols; a key counts only as a whole.

Idea      keys of 1 .. key_tokens symbols and values of 1 .. value_tokens. Pairs are stated in a
          list, then each key is asked once, and its value's tokens are asked for and shown one
          after another. A key is a whole run of key symbols: its parts are parts of others too

              k7 k2 3 5  k2 8  k7 1 5  .1 .4  k7 k2 3 5  .9  k2 8
                                                  3 5         8         targets
              |<------------ d ------------------>|                     distance of the 3

Distance  d = position that answers - position of the key's first symbol in the list
Chance    1 / values, for each token of a value
Shortcut  what stood behind the last token alone; seeing the last w tokens
State     log2(values) bits a value token
Source    Poli et al. 2024 (MAD), https://arxiv.org/abs/2403.17844, fuzzy in-context recall. Not as
          there: train and test have the same lengths of keys (there all tested keys are of the
          greatest one), symbols may repeat within a key or value, and each key is asked once
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from howfar.core.batch import IGNORED, Batch
from howfar.tasks.base import Rule
from howfar.tasks.pairs import Pairs, shuffled, subset
from howfar.tasks.streams import Draws, Integers


class Lists(NamedTuple):
    """What is stated: symbols, numbered from 0, and how many of them."""

    keys: Integers  # (B, N, K)
    key_sizes: Integers  # (B, N)
    values: Integers  # (B, N, V)
    value_sizes: Integers  # (B, N)


@dataclass(frozen=True, slots=True, kw_only=True)
class FuzzyRecall(Pairs):
    """The task.

    Args:
        length: tokens a sequence, at least 2 * pairs * (key_tokens + value_tokens).
        pairs: pairs of a key and a value, each asked once.
        keys: number of key symbols (at least pairs); few of them make keys alike.
        values: number of value symbols; filler: number of symbols in between, 0 leaves blanks.
        key_tokens: symbols of the longest keys; value_tokens: of the longest values. Each key and
            each value has 1 up to that many, equally likely.
    """

    name: ClassVar[str] = "fuzzy_recall"
    idea: ClassVar[str] = "name the value of a key where both are several symbols long"

    informative: ClassVar[str] = (
        "The value symbols shown are counted easily, and the answer is one of them."
    )

    keys: int = 8
    values: int = 8
    key_tokens: int = 3
    value_tokens: int = 3

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Pairs.__post_init__(self)
        self.require(self.keys >= self.pairs, "keys >= pairs")
        self.require(self.key_tokens >= 1, "key_tokens >= 1")
        self.require(self.value_tokens >= 1, "value_tokens >= 1")
        self.require(self.keys**self.key_tokens < 2**31, "keys ** key_tokens < 2**31")
        needed = 2 * self.pairs * (self.key_tokens + self.value_tokens)
        self.require(needed <= self.length, "2 * pairs * (key_tokens + value_tokens) <= length")

    @property
    def state_bits(self) -> float:
        """The values of all pairs, where all are of the greatest length."""
        return self.pairs * self.value_tokens * math.log2(self.values)

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split: tokens (B, L), a target for each token of each value."""
        draws = self.draws(split, indices)
        lists = self._lists(draws)
        width_BN = lists.key_sizes + lists.value_sizes
        stated_BN = np.cumsum(width_BN, axis=1) - width_BN
        asked_BN = self._asked(draws, width_BN)
        tokens_BL = self.background(draws)
        targets_BL, distance_BL = np.full_like(tokens_BL, IGNORED), np.zeros_like(tokens_BL)
        for token in range(self.key_tokens):
            row, pair = np.nonzero(token < lists.key_sizes)
            for start_BN in (stated_BN, asked_BN):
                tokens_BL[row, start_BN[row, pair] + token] = 1 + lists.keys[row, pair, token]
        for token in range(self.value_tokens):
            row, pair = np.nonzero(token < lists.value_sizes)
            offset, found = lists.key_sizes[row, pair] + token, lists.values[row, pair, token]
            for start_BN in (stated_BN, asked_BN):
                tokens_BL[row, start_BN[row, pair] + offset] = 1 + self.keys + found
            at = asked_BN[row, pair] + offset - 1
            targets_BL[row, at], distance_BL[row, at] = found, at - stated_BN[row, pair]
        lengths_B = torch.full((len(draws),), self.length)
        made = (torch.from_numpy(array) for array in (tokens_BL, targets_BL, distance_BL))
        tokens, targets, distance = made
        return Batch(tokens, lengths_B, targets, distance)

    def _lists(self, draws: Draws) -> Lists:
        """Different keys of random sizes, and values."""
        size_BN = 1 + draws.below(self.key_tokens, self.pairs)
        code_BN = self._codes(draws, size_BN)
        order_BN = draws.orders(self.pairs)
        size_BN = np.take_along_axis(size_BN, order_BN, axis=1)
        code_BN = np.take_along_axis(code_BN, order_BN, axis=1)
        powers_K = self.keys ** np.arange(self.key_tokens, dtype=np.int64)
        keys_BNK = code_BN[:, :, None] // powers_K % self.keys
        value_size_BN = 1 + draws.below(self.value_tokens, self.pairs)
        drawn_BM = draws.below(self.values, self.pairs * self.value_tokens)
        shape = (len(draws), self.pairs, self.value_tokens)
        return Lists(keys_BNK, size_BN, drawn_BM.reshape(shape), value_size_BN)

    def _codes(self, draws: Draws, size_BN: Integers) -> Integers:
        """Numbers below keys ** size, different among keys of a size (as in `pairs.subset`)."""
        same_BNN = size_BN[:, :, None] == size_BN[:, None]
        before_BN = (same_BNN & np.tri(self.pairs, k=-1, dtype=bool)).sum(2)
        tops_BN = self.keys**size_BN - same_BNN.sum(2) + before_BN
        code_BN = draws.below(tops_BN + 1, self.pairs)
        for step in range(1, self.pairs):
            equal_BS = code_BN[:, :step] == code_BN[:, step : step + 1]
            clash_B = (equal_BS & same_BNN[:, step, :step]).any(1)
            code_BN[:, step] = np.where(clash_B, tops_BN[:, step], code_BN[:, step])
        return code_BN

    def _asked(self, draws: Draws, width_BN: Integers) -> Integers:
        """Where each question begins: all ways to spread them behind the list are as likely."""
        listed_B1 = width_BN.sum(1, keepdims=True)
        units_B1 = self.length - 2 * listed_B1 + self.pairs  # filler tokens and questions
        unit_BN = np.sort(subset(draws, units_B1, self.pairs), axis=1)
        order_BN = shuffled(draws, np.broadcast_to(np.arange(self.pairs), width_BN.shape))
        before_BN = np.cumsum(np.take_along_axis(width_BN - 1, order_BN, axis=1), axis=1)
        before_BN -= np.take_along_axis(width_BN - 1, order_BN, axis=1)
        start_BN = np.empty_like(unit_BN)
        np.put_along_axis(start_BN, order_BN, listed_B1 + unit_BN + before_BN, 1)
        return start_BN

    def oracle(self, batch: Batch) -> Tensor:
        """The value of each whole key, token by token: (N,) classes."""
        return self._within(batch, batch.tokens.shape[1])

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """Rules that need less than the task asks, each (N,) classes: the ladder of scores."""
        ladder: dict[str, Rule] = {
            "always the same value": lambda batch: self._within(batch, 0),
            "what stood behind the token read": self._behind,
        }
        return ladder | self.windows(self._within)

    def _within(self, batch: Batch, window: int) -> Tensor:
        """Right where the statement's key stands in the window, class 0 otherwise."""
        found: list[int] = []
        for row in batch.tokens.tolist():
            for at, stated, answer in self._answers(row):
                found.append(answer if at - stated < window else 0)
        return torch.tensor(found, dtype=torch.long)

    def _answers(self, row: list[int]) -> list[tuple[int, int, int]]:
        """(position that answers, position of the key in the list, class) of each target."""
        stated: dict[tuple[int, ...], int] = {}
        asked = []
        for start, key, value in self._runs(row):
            if len(stated) < self.pairs:
                stated[key] = start
                continue
            first = start + len(key) - 1
            for token, symbol in enumerate(value):
                asked.append((first + token, stated[key], symbol - 1 - self.keys))
        return asked

    def _runs(self, row: list[int]) -> list[tuple[int, tuple[int, ...], tuple[int, ...]]]:
        """(start, key, value) of every run of key symbols with the value symbols behind it."""
        runs, at = [], 0
        while at < len(row):
            start = at
            while at < len(row) and 1 <= row[at] <= self.keys:
                at += 1
            middle = at
            while at < len(row) and self.keys < row[at] <= self.keys + self.values:
                at += 1
            if middle > start:
                runs.append((start, tuple(row[start:middle]), tuple(row[middle:at])))
            at = max(at, start + 1)
        return runs

    def _behind(self, batch: Batch) -> Tensor:
        """The value symbol that stood behind the last earlier such token; class 0 if none did."""
        found = []
        for row in batch.tokens.tolist():
            for at, _, _ in self._answers(row):
                near = (row[i + 1] for i in range(at - 1, -1, -1) if row[i] == row[at])
                symbol = next(near, 0) - 1 - self.keys
                found.append(symbol if 0 <= symbol < self.values else 0)
        return torch.tensor(found, dtype=torch.long)
