r"""A planted dependency in real text: a marker word stands d words before the final question.

Idea      running text from the start of a sentence, one of `markers` words that no text has put
          between two of its words, then the question

              speak , <3> speak . first citizen : you are all resolved ?   <?>
                       |<-------------------- d ------------------------->|
              -     -   -    -  .  -      -     -  -   -   -      -        3

Distance  d = position of the question - position of the marker, log-uniform in 1 .. length - 1:
          P(d) = log((d + 1) / d) / log(length)
Splits    by place: the first eight tenths of the text's words train, then a tenth each
Words     lower-cased \w+, or one other character that is no white space; the `words` most frequent
          ones of the training text have ids, all others share one
Chance    1 / markers
Ladder    always the same marker: chance. Sees the last w words, else the same marker:
          s + (1 - s) / markers with s = log(w) / log(length)
Source    howfar's own; the noise of `recall` is here the user's text, which pulls at the state as
          real words do. The text is read once a process
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from howfar.core.batch import IGNORED, Batch
from howfar.data.read import read_text
from howfar.data.shipped import resolve
from howfar.tasks.base import Rule, Task
from howfar.tasks.rows import SPLITS, nothing_left, number_of
from howfar.tasks.streams import Integers

_WORD = re.compile(r"\w+|[^\w\s]")
_ENDS = frozenset(".!?\u3002\uff01\uff1f")  # of sentences, the last three in Chinese
_TENTHS = (0, 8, 9, 10)
WINDOWS = (8, 32)


class Corpus(NamedTuple):
    """words: names of the ids from 1. ids: (W,) of the whole text, 0 where unknown."""

    words: tuple[str, ...]
    ids: Integers
    starts: tuple[Integers, ...]  # first words of sentences, one array a split
    ends: tuple[int, ...]  # where each split's text ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted(Task):
    """The task.

    Args:
        length: words a sequence, the marker and the question included (at least 2).
        path: a plain text, or "tinyshakespeare", which is shipped.
        markers: number of marker words (at least 2).
        words: number of words that have ids of their own (at least 1).
    """

    name: ClassVar[str] = "planted"
    idea: ClassVar[str] = "name the marker word planted d words back in real text"
    informative: ClassVar[str] = "The marker is the answer: which one was seen, wherever it stands."

    length: int = 128
    path: str = "tinyshakespeare"
    markers: int = 8
    words: int = 1000

    def __post_init__(self) -> None:
        """Refuse what cannot be made; the text is read when it is needed."""
        Task.__post_init__(self)
        self.require(self.length >= 2, "length >= 2")
        self.require(self.markers >= 2, "markers >= 2")
        self.require(self.words >= 1, "words >= 1")

    @property
    def vocabulary(self) -> int:
        """Padding 0, markers 1 .., one id for unknown words, the words, and last the question."""
        return 1 + self.markers + 1 + self.words + 1

    @property
    def outputs(self) -> int:
        """Classes to choose from: the markers."""
        return self.markers

    @property
    def chance(self) -> float:
        """Accuracy of a guess."""
        return 1 / self.markers

    @property
    def state_bits(self) -> float:
        """Which marker it was, or none yet, and nothing else."""
        return math.log2(self.markers + 1)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Markers and the question in angle brackets; a short text leaves ids unused."""
        named = _corpus(self.path, self.words).words
        unused = ("<unused>",) * (self.words - len(named))
        markers = (f"<{marker}>" for marker in range(self.markers))
        return ("_", *markers, "<unknown>", *named, *unused, "<?>")

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split: tokens (B, L), one scored target a row, at the question.

        Raises:
            DataError: E-TOO-SHORT where the split's text has no sentence followed by enough words.
            DataError, UsageError, EnvironmentFault: where the text cannot be read.
        """
        corpus = _corpus(self.path, self.words)
        starts = self._starts(corpus, split)
        draws = self.draws(split, indices)
        start_B1 = starts[draws.below(len(starts), 1)]
        marker_B1 = draws.below(self.markers, 1)
        drawn_B1 = draws.words(1) >> np.uint64(32)
        back_B1 = 1 + np.searchsorted(_octaves(self.length), drawn_B1, side="right")
        place_B1 = self.length - 1 - back_B1
        at_L = np.arange(self.length)
        # Words after the marker stand one place later; the question's place is overwritten.
        from_BL = np.minimum(start_B1 + at_L - (at_L > place_B1), len(corpus.ids) - 1)
        tokens_BL = 1 + self.markers + corpus.ids[from_BL]
        np.put_along_axis(tokens_BL, place_B1, 1 + marker_B1, axis=1)
        tokens_BL[:, -1] = self.vocabulary - 1
        targets_BL, distance_BL = np.full_like(tokens_BL, IGNORED), np.zeros_like(tokens_BL)
        targets_BL[:, -1:], distance_BL[:, -1:] = marker_B1, back_B1
        made = (torch.from_numpy(array) for array in (tokens_BL, targets_BL, distance_BL))
        tokens, targets, distances = made
        return Batch(tokens, torch.full((len(draws),), self.length), targets, distances)

    def _starts(self, corpus: Corpus, split: str) -> Integers:
        number = number_of(split)
        starts, end = corpus.starts[number], corpus.ends[number]
        starts = starts[starts + self.length - 2 <= end]
        if not len(starts):
            why = f"no sentence of its text is followed by length - 2 = {self.length - 2} words"
            raise nothing_left(self, split, why)
        return starts

    def oracle(self, batch: Batch) -> Tensor:
        """The marker, wherever it stands: (B,)."""
        return self._within(batch, batch.tokens.shape[1])

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """The ladder, each (B,) classes; its scores stand in the header."""
        ladder: dict[str, Rule] = {"always the same marker": partial(self._within, window=1)}
        for window in WINDOWS:
            if window < self.length:
                ladder[f"sees the last {window} words"] = partial(self._within, window=window)
        return ladder

    def _within(self, batch: Batch, window: int) -> Tensor:
        """The marker where it stands in the last `window` words, else class 0: (B,)."""
        recent_BW = batch.tokens[:, max(0, batch.tokens.shape[1] - window) :]
        is_marker_BW = (recent_BW >= 1) & (recent_BW <= self.markers)
        return ((recent_BW * is_marker_BW).sum(1) - 1).clamp(min=0)


@lru_cache(maxsize=4)
def _corpus(path: str, words: int) -> Corpus:
    text, _, _ = read_text(resolve(path))
    found = _WORD.findall(text.lower())
    cuts = [tenth * len(found) // 10 for tenth in _TENTHS]
    counts = Counter(found[: cuts[1]])
    named = sorted(counts, key=lambda word: (-counts[word], word))[:words]
    ids = {word: number for number, word in enumerate(named, start=1)}
    begins = np.array([True, *(word in _ENDS for word in found[:-1])])
    begins[cuts[:-1]] = True
    starts = np.flatnonzero(begins)
    parts = tuple(
        starts[(starts >= cuts[number]) & (starts < cuts[number + 1])]
        for number in range(len(SPLITS))
    )
    numbers_W = np.array([ids.get(word, 0) for word in found], dtype=np.int64)
    return Corpus(tuple(named), numbers_W, parts, tuple(cuts[1:]))


@lru_cache
def _octaves(length: int) -> np.ndarray:
    """Upper thresholds, in 2**-32, of d = 1, 2, .. length - 2 under the log-uniform law."""
    shares = [math.log(d + 1) / math.log(length) for d in range(1, length - 1)]
    thresholds = np.array([round(share * 2**32) for share in shares], dtype=np.uint64)
    thresholds.setflags(write=False)
    return thresholds
