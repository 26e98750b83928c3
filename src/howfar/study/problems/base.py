"""What a comparison is about: one protocol, and the parts that its three kinds share.

Idea     each problem says what a model must look like (`vocabulary`, `outputs`, `causal`), gives
         batches, scores answers, offers sequences to measure reach on, and knows its baselines
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from howfar.core.batch import Batch
from howfar.core.protocols import Source
from howfar.record.comparison import Baseline, Data, Score
from howfar.study.score import accuracy_score
from howfar.train import Answers

EVALUATION_ROWS = 64


@dataclass(frozen=True, slots=True)
class Probe:
    """Sequences to measure reach on: tokens (N, L), lengths (N,), labels (N, L) or None."""

    tokens: Tensor
    lengths: Tensor
    labels: Tensor | None = None


class Problem(Protocol):
    """One thing to compare families on."""

    @property
    def data(self) -> Data:
        """What was read, or how items are made."""
        ...

    @property
    def causal(self) -> bool:
        """One answer a position (True), or one a sequence."""
        ...

    @property
    def vocabulary(self) -> int:
        """Token ids, padding included."""
        ...

    @property
    def outputs(self) -> int:
        """Classes to choose from."""
        ...

    @property
    def channels(self) -> int:
        """Real numbers a position in place of ids; 0: ids."""
        ...

    @property
    def last(self) -> bool:
        """Whether a causal model gives one answer a sequence, at its last position."""
        ...

    @property
    def length(self) -> int:
        """Tokens a sequence is trained on, at most."""
        ...

    @property
    def pass_tokens(self) -> int | None:
        """Tokens of one pass over the training part; None: there is no end to them."""
        ...

    def source(self, seed: int, rows: int) -> Source:
        """Training and evaluation batches."""
        ...

    def score(self, answers: Sequence[Answers], seed: int) -> tuple[Score, tuple[float, ...]]:
        """The score with its interval over seeds and test items, and each seed's own value."""
        ...

    def probe(self, count: int, seed: int) -> Probe:
        """Test sequences to measure reach on."""
        ...

    def baselines(self, seed: int) -> tuple[Baseline, ...]:
        """Simple predictors on the same test items."""
        ...


@dataclass(frozen=True)
class Thinned:
    """A source that trains on everything and evaluates on some batches, spread evenly.

    most: part -> rows; parts not named are evaluated whole.
    """

    training: Source
    full: Source
    most: dict[str, int]

    def batch(self, step: int) -> Batch:
        """The training batch of this step."""
        return self.training.batch(step)

    def evaluation(self, part: str) -> Iterator[Batch]:
        """Some of the part's batches, the same ones every time."""
        if part not in self.most:
            yield from self.full.evaluation(part)
            return
        batches = list(self.full.evaluation(part))
        for index in spread(len(batches), self.most[part]):
            yield batches[index]


def spread(num_batches: int, most_rows: int) -> np.ndarray:
    """Indices of at most `most_rows` rows' worth of batches, evenly spread."""
    count = min(num_batches, max(1, most_rows // EVALUATION_ROWS))
    return np.unique(np.linspace(0, num_batches - 1, count).round().astype(int))


def accuracy(
    correct: Sequence[np.ndarray], seed: int, rows: np.ndarray | None = None
) -> tuple[Score, tuple[float, ...]]:
    """Accuracy over seeds and items with its interval, and each seed's own.

    rows: (N,) in which row each answer stands: answers of one row are drawn together.
    """
    each = tuple(float(c.mean()) for c in correct)
    if rows is None or len(np.unique(rows)) == len(rows):
        return accuracy_score(np.stack(correct), seed), each
    _, place = np.unique(rows, return_inverse=True)
    count = np.bincount(place)
    shares = [np.bincount(place, weights=c.astype(float)) / count for c in correct]
    return accuracy_score(np.stack(shares), seed, weights=count), each
