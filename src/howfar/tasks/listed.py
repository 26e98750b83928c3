"""Recall of a list: all pairs are stated first, then asked one by one at places further on.

Idea     S statements of a key (one token or two) and a value, then questions: a key at the start of
         a slot, its value asked for at its last token. A slot is as wide as a statement
Placing  "uniform": every set of slots is equally likely. "zoology": slot i = 1, 2, .. has weight
         i**(power - 1) and slots are drawn one by one without replacement, by whole weights out of
         2**32, so that rounding is the same everywhere
Distance position of the question's last token - position of the statement's first token
Source   Arora, Eyuboglu et al. 2023, https://arxiv.org/abs/2312.04927. There the first key gets the
         first slot drawn, which is likelier a near one: of 64 pairs in 512 tokens the first asked
         is the first of the list in 17 % of rows, not 1.6 %. Here slots go to the pairs at random
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from howfar.core.batch import Batch
from howfar.tasks.base import Rule
from howfar.tasks.pairs import Pairs, assembled, distinct, places, shuffled
from howfar.tasks.streams import Draws, Integers

PLACINGS = ("uniform", "zoology")


class Read(NamedTuple):
    """What stands in the tokens: statements in order, questions in order."""

    keys: Tensor  # (B, S, K)
    values: Tensor  # (B, S) classes
    asked: Tensor  # (B, N, K) keys
    at: Tensor  # (B, N) positions of the questions' last tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed(Pairs):
    """What these tasks share.

    Args:
        length: tokens a sequence.
        pairs: pairs of a key and a value, each asked once.
        keys: number of key symbols; values: number of value symbols.
        filler: number of symbols between the questions; 0 leaves blanks.
        placing: "uniform" or "zoology".
        power: 0 .. 1, for "zoology" alone: 1 is uniform, small ones ask right behind the pairs.
    """

    key_tokens: ClassVar[int] = 1

    placing: str = "uniform"
    power: float = 0.01

    def __post_init__(self) -> None:
        """Refuse what cannot be made; subclasses call this first."""
        Pairs.__post_init__(self)
        self.require(self.placing in PLACINGS, "placing = uniform or zoology")
        self.require(0 <= self.power <= 1, "0 <= power <= 1")

    @property
    def statements(self) -> int:
        """Keys with a value that are stated."""
        return self.pairs

    @abstractmethod
    def stated(self, draws: Draws) -> tuple[Integers, Integers, Integers]:
        """Key ids (B, S, K), classes (B, S), and the statement that answers each pair (B, N)."""

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split: tokens (B, L), `pairs` scored targets a row."""
        draws = self.draws(split, indices)
        keys_BSK, class_BS, decides_BN = self.stated(draws)
        rows, wide, start = len(draws), self.key_tokens + 1, self._start
        slots_BN = self._slots(draws)
        tokens_BL = self.background(draws)
        list_BSW = np.concatenate([keys_BSK, 1 + self.key_ids + class_BS[:, :, None]], axis=2)
        tokens_BL[:, :start] = list_BSW.reshape(rows, start)
        first_BN, row_B1 = start + wide * slots_BN, np.arange(rows)[:, None]
        for token in range(self.key_tokens):
            tokens_BL[row_B1, first_BN + token] = keys_BSK[row_B1, decides_BN, token]
        at_BN = first_BN + self.key_tokens - 1
        far_BN = at_BN - wide * decides_BN
        return assembled(tokens_BL, at_BN, class_BS[row_B1, decides_BN], far_BN)

    @property
    def _start(self) -> int:
        """Tokens of the list, which the questions follow."""
        return (self.key_tokens + 1) * self.statements

    def _slots(self, draws: Draws) -> Integers:
        """The slot in which each pair is asked: (B, N)."""
        space = (self.length - self._start) // (self.key_tokens + 1)
        if self.placing == "uniform":
            return distinct(draws, space, self.pairs)
        weights_S = power_weights(space, self.power)
        return shuffled(draws, by_weight(draws, weights_S, self.pairs))

    def read(self, batch: Batch) -> Read:
        """Statements and questions as they stand in the tokens."""
        rows, wide, start = len(batch.tokens), self.key_tokens + 1, self._start
        list_BSW = batch.tokens[:, :start].reshape(rows, self.statements, wide)
        rest_BL = batch.tokens[:, start:]
        found_BM = places(self.is_key(rest_BL), self.key_tokens * self.pairs)
        asked_BNK = rest_BL.gather(1, found_BM).view(rows, self.pairs, self.key_tokens)
        at_BN = start + found_BM[:, self.key_tokens - 1 :: self.key_tokens]
        return Read(list_BSW[:, :, :-1], list_BSW[:, :, -1] - 1 - self.key_ids, asked_BNK, at_BN)

    def oracle(self, batch: Batch) -> Tensor:
        """The value last stated with each key that is asked: (N,) classes."""
        read = self.read(batch)
        return taken(read, last(matches(read)))

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """Rules that need less than the task asks, each (N,) classes: the ladder of scores."""
        return self.ladder()

    def ladder(self) -> dict[str, Rule]:
        """The rules that every list has; tasks add their own."""
        ladder: dict[str, Rule] = {
            "always the same value": self._constant,
            "a value of the list": self._first_value,
        }
        if self.pairs > 1:
            ladder["remembers the later half of the list"] = self._half
        return ladder | self.windows(self._within)

    def _constant(self, batch: Batch) -> Tensor:
        return torch.zeros(len(batch.tokens) * self.pairs, dtype=torch.long)

    def _first_value(self, batch: Batch) -> Tensor:
        """The list's first value, whatever is asked."""
        read = self.read(batch)
        return taken(read, torch.zeros_like(read.at))

    def _half(self, batch: Batch) -> Tensor:
        """Right where the key stands in the list's later half, else the list's first value."""
        read = self.read(batch)
        found_BN = last(matches(read))
        return taken(read, torch.where(found_BN >= (self.statements + 1) // 2, found_BN, 0))

    def _within(self, batch: Batch, window: int) -> Tensor:
        """Right where the whole statement stands in the window, class 0 otherwise."""
        read = self.read(batch)
        found_BN = last(matches(read))
        seen_BN = read.at - (self.key_tokens + 1) * found_BN < window
        return torch.where(seen_BN.flatten(), taken(read, found_BN), 0)


def matches(read: Read) -> Tensor:
    """Which statements are about the key of a question: (B, N, S)."""
    return (read.asked[:, :, None] == read.keys[:, None]).all(-1)


def last(match_BNS: Tensor) -> Tensor:
    """The last statement that matches, 0 where none does: (B, N)."""
    return (match_BNS * torch.arange(match_BNS.shape[-1])).amax(-1)


def taken(read: Read, statement_BN: Tensor) -> Tensor:
    """The values of these statements, rows first: (N,) classes."""
    return read.values.gather(1, statement_BN).flatten()


def by_weight(draws: Draws, weights_S: Integers, count: int) -> Integers:
    """`count` different slots by whole weights, one draw after another: (B, count).

    A draw is a point of the line of weights without the pieces that are gone; to come back to the
    whole line, the weight of every gone piece that begins at or before the point is added.
    """
    ends_S = np.cumsum(weights_S)
    starts_S, total = ends_S - weights_S, ends_S[-1]
    words_BC = draws.words(count) >> np.uint64(32)
    slots_BC = np.zeros(words_BC.shape, dtype=np.int64)
    for step in range(count):
        gone_BT = np.sort(slots_BC[:, :step], axis=1)
        weight_BT = weights_S[gone_BT]
        before_BT = np.cumsum(weight_BT, axis=1) - weight_BT
        bound_B = (total - weight_BT.sum(1)).astype(np.uint64)
        point_B = ((words_BC[:, step] * bound_B) >> np.uint64(32)).astype(np.int64)
        passed_BT = starts_S[gone_BT] - before_BT <= point_B[:, None]
        point_B = point_B + (weight_BT * passed_BT).sum(1)
        slots_BC[:, step] = np.searchsorted(ends_S, point_B, side="right")
    return slots_BC


@lru_cache  # every batch asks
def power_weights(space: int, power: float) -> Integers:
    """Whole weights of slots 1 .. space, together at most about 2**32."""
    scale = 2**32 // max(space, 1)
    numbers = [max(1, round(scale * number ** (power - 1))) for number in range(1, space + 1)]
    weights_S = np.array(numbers, dtype=np.int64)
    weights_S.setflags(write=False)
    return weights_S
