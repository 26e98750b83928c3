"""Frequent words: which word of a text, drawn by a steep law, occurs most often.

Idea      words drawn by Zipf's law with a whole exponent, in an order of their own each item

              w3 w7 w3 w1 w3 w3 w9 w7 w3 ASK
          targets                         w3

          Where two words lead, the last place of one is given to the other
Distance  length - 1: every word counts, from the first on
Chance    1 / words
Ladder    always the same word 1 / words; the last word, right as often as the law's first word is
          drawn; the most frequent of the last 8 and 32 words
Source    RULER's frequent words extraction, Hsieh et al. 2024, https://arxiv.org/abs/2404.06654:
          there the three most frequent coded words of a zeta law with exponent 2; here one, at any
          length, and by default with exponent 1: with 2 the last 8 tokens give 92 of 100 answers
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from howfar.core.batch import IGNORED, Batch
from howfar.tasks.base import Rule, Task
from howfar.tasks.streams import HALF, Integers

WINDOWS = (8, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counting(Task):
    """Words and a question behind them, whose answer is a word.

    Args:
        words: different words (at least 2).
    """

    informative: ClassVar[str] = (
        "How often each word occurs is the question itself: counts give the answer."
    )

    length: int = 256
    words: int = 64

    @property
    def vocabulary(self) -> int:
        """Padding 0, the words, and last the question."""
        return self.words + 2

    @property
    def outputs(self) -> int:
        """The words."""
        return self.words

    @property
    def chance(self) -> float:
        """Every word is as often the answer."""
        return 1 / self.words

    @property
    def symbols(self) -> tuple[str, ...]:
        """Words by number."""
        return ("_", *(f"w{number}" for number in range(self.words)), "?")

    @property
    def answers(self) -> tuple[str, ...]:
        """The words."""
        return self.symbols[1:-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrequentWords(Counting):
    """The task.

    Args:
        length: tokens a sequence, the question included (at least 4).
        words: different words (at least 2). exponent: of Zipf's law, 1 .. 4; 1 is hardest.
    """

    name: ClassVar[str] = "frequent_words"
    idea: ClassVar[str] = "name the most frequent word of a text with Zipf's law"

    exponent: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Counting.__post_init__(self)
        self.require(self.length >= 4, "length >= 4")
        self.require(2 <= self.words <= 65536, "2 <= words <= 65536")
        self.require(1 <= self.exponent <= 4, "1 <= exponent <= 4")

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split, one scored target a row, at the question."""
        draws = self.draws(split, indices)
        ids_BW = 1 + draws.orders(self.words)
        drawn_BT = draws.words(self.length - 1) >> HALF
        rank_BT = np.searchsorted(zipf(self.words, self.exponent), drawn_BT, side="right")
        first_B = _led(rank_BT, self.words)
        text_BT = np.take_along_axis(ids_BW, rank_BT, axis=1)
        answer_B = ids_BW[np.arange(len(draws)), first_B] - 1
        return asked(text_BT, answer_B, self.vocabulary - 1)

    def oracle(self, batch: Batch) -> Tensor:
        """The most frequent word, counted: (B,)."""
        return most_frequent(batch, self.words, batch.tokens.shape[1])

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """Rules that need less than the task asks, each (B,)."""
        return ladder(self.words, self.length)


def asked(text_BT: Integers, answer_B: Integers, question: int) -> Batch:
    """Texts with the question behind them; every word counts towards the answer."""
    num, places = text_BT.shape
    tokens_BL = np.column_stack([text_BT, np.full(num, question)])
    targets_BL, distance_BL = np.full_like(tokens_BL, IGNORED), np.zeros_like(tokens_BL)
    targets_BL[:, -1], distance_BL[:, -1] = answer_B, places
    tokens, targets, distance = (
        torch.from_numpy(array) for array in (tokens_BL, targets_BL, distance_BL)
    )
    return Batch(tokens, torch.full((num,), places + 1), targets, distance)


def ladder(words: int, length: int) -> dict[str, Rule]:
    """The rungs of both tasks on the most frequent word."""
    rungs: dict[str, Rule] = {
        "always the same word": lambda batch: torch.zeros(len(batch.tokens), dtype=torch.int64),
        "the last word": lambda batch: batch.tokens[:, -2] - 1,
    }
    for window in WINDOWS:
        if window < length:
            name = f"counts the last {window} tokens"
            rungs[name] = partial(most_frequent, words=words, window=window)
    return rungs


def most_frequent(batch: Batch, words: int, window: int) -> Tensor:
    """Of the words among the last `window` tokens, the least id where several lead: (B,)."""
    seen_BW = batch.tokens[:, -window:-1]
    counts_BV = torch.zeros(len(seen_BW), words + 1, dtype=torch.int64)
    return counts_BV.scatter_add(1, seen_BW, torch.ones_like(seen_BW))[:, 1:].argmax(1)


def _led(rank_BT: Integers, words: int) -> Integers:
    """The rank that leads in each row, made the only one in place: (B,)."""
    num, places = rank_BT.shape
    flat = (rank_BT + words * np.arange(num)[:, None]).ravel()
    counts_BW = np.bincount(flat, minlength=num * words).reshape(num, words)
    first_B = counts_BW.argmax(1)
    leads_BW = counts_BW == counts_BW.max(1, keepdims=True)
    second_B = words - 1 - leads_BW[:, ::-1].argmax(1)  # the same, where one alone leads
    from_end_B = (rank_BT[:, ::-1] == second_B[:, None]).argmax(1)
    rank_BT[np.arange(num), places - 1 - from_end_B] = first_B
    return np.asarray(first_B, dtype=np.int64)


@lru_cache  # every batch asks
def zipf(words: int, exponent: int) -> np.ndarray:
    """Upper thresholds, in 2**-32, of all ranks but the last; whole numbers throughout."""
    weights = [10**24 // rank**exponent for rank in range(1, words + 1)]
    total, upto, thresholds = sum(weights), 0, []
    for weight in weights[:-1]:
        upto += weight
        thresholds.append((upto << 32) // total)
    made = np.array(thresholds, dtype=np.uint64)
    made.setflags(write=False)
    return made
