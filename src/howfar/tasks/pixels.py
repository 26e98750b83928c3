"""Pictures as sequences: a pixel a position, the class asked at the last one.

Idea     what digits and MNIST share: order, splits, oracle, and the ladder of fitted shortcuts
Oracle   looks the whole sequence up among the pictures; a picture that comes twice is left out, so
         that none is in two splits, and an answer is never ambiguous
Ladder   fitted on training pictures: majority; the last pixel; the bag of pixels (nearest mean
         histogram); logistic regression on the last quarter of the pixels, and on all of them:
         what one weight a position and a class gets, with no picture of strokes
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from howfar.core.batch import IGNORED, Batch
from howfar.tasks.base import Rule, Task
from howfar.tasks.rows import SPLITS, nothing_left, number_of, visited
from howfar.tasks.streams import Integers

CLASSES = 10
FITTED = 5_000  # training pictures at most in a logistic regression: seconds, not minutes


class Pictures(NamedTuple):
    """ids: (N, L) pixels row by row, from 1. labels: (N,) 0 .. 9. parts: (N,) numbers of SPLITS."""

    ids: Integers
    labels: Integers
    parts: Integers


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels(Task, ABC):
    """What both tasks share.

    Args:
        permuted: pixels in one random order, the same for all pictures of this seed.
    """

    informative: ClassVar[str] = "Real pictures: the count of each intensity tells about the class."

    permuted: bool = False

    @abstractmethod
    def pictures(self) -> Pictures:
        """All pictures, none twice; read once and kept."""

    @property
    def levels(self) -> int:
        """Intensities."""
        return self.vocabulary - 1

    @property
    def outputs(self) -> int:
        """Classes to choose from."""
        return CLASSES

    @property
    def symbols(self) -> tuple[str, ...]:
        """Padding, then intensities from 0."""
        return ("_", *(str(level) for level in range(self.levels)))

    @property
    def chance(self) -> float:
        """Share of the most frequent class among the test pictures."""
        labels_N = self.rows("test").labels
        return float(np.bincount(labels_N).max() / len(labels_N))

    def rows(self, split: str) -> Pictures:
        """The pictures of a split."""
        ids_NL, labels_N, parts_N = self.pictures()
        here_N = parts_N == number_of(split)
        if not here_N.any():
            raise nothing_left(self, split, f"there are {len(ids_NL)} pictures in all")
        return Pictures(ids_NL[here_N], labels_N[here_N], parts_N[here_N])

    def size(self, split: str) -> int:
        """Different items of a split; later ones repeat them in another order."""
        return len(self.rows(split).labels)

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split: tokens (B, L), the class at the last pixel."""
        kept = _kept(self, split)
        rows_B = visited(self, split, indices, len(kept.labels))
        tokens_BL = kept.ids[rows_B][:, _places(self)]
        targets_BL, distance_BL = np.full_like(tokens_BL, IGNORED), np.zeros_like(tokens_BL)
        targets_BL[:, -1] = kept.labels[rows_B]
        distance_BL[:, -1] = self.length - 1 - (tokens_BL > 1).argmax(1)
        made = (torch.from_numpy(array) for array in (tokens_BL, targets_BL, distance_BL))
        tokens, targets, distances = made
        return Batch(tokens, torch.full((len(rows_B),), self.length), targets, distances)

    def oracle(self, batch: Batch) -> Tensor:
        """The class of each picture, looked up by all its pixels: (B,)."""
        answers, back_L = _answers(self), np.argsort(_places(self))
        rows_BL = _key(batch.tokens.numpy()[:, back_L])
        return torch.tensor([answers[row.tobytes()] for row in rows_BL], dtype=torch.int64)

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """The ladder, each (B,) classes."""
        quarter = self.length // 4
        return {
            "majority": partial(_majority, self),
            "last pixel": partial(_last_pixel, self),
            "bag of pixels": partial(_bag, self),
            f"logistic regression on the last {quarter} pixels": partial(_linear, self, quarter),
            "logistic regression on all pixels": partial(_linear, self, self.length),
        }


def first_of_each(ids_NL: Integers, labels_N: Integers) -> tuple[Integers, Integers]:
    """The pictures without those that came before."""
    seen: dict[bytes, int] = {}
    for row, key in enumerate(_key(ids_NL)):
        seen.setdefault(key.tobytes(), row)
    rows = list(seen.values())
    return ids_NL[rows], labels_N[rows]


def _key(ids_NL: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(ids_NL, dtype="<u2")


@lru_cache(maxsize=8)
def _kept(task: Pixels, split: str) -> Pictures:
    return task.rows(split)


@lru_cache(maxsize=8)
def _places(task: Pixels) -> Integers:
    """Which pixel stands at each position: (L,)."""
    if not task.permuted:
        return np.arange(task.length)
    return np.asarray(task.draws("permutation", [0]).orders(task.length)[0])


@lru_cache(maxsize=2)
def _answers(task: Pixels) -> dict[bytes, int]:
    ids_NL, labels_N, _ = task.pictures()
    keys = (row.tobytes() for row in _key(ids_NL))
    return dict(zip(keys, labels_N.tolist(), strict=True))


@lru_cache(maxsize=4)
def _training(task: Pixels) -> tuple[Integers, Integers]:
    """(N, L) tokens in the order of the task, (N,) classes."""
    kept = _kept(task, SPLITS[0])
    return kept.ids[:, _places(task)], kept.labels


def _majority(task: Pixels, batch: Batch) -> Tensor:
    common = int(np.bincount(_training(task)[1]).argmax())
    return torch.full((len(batch.tokens),), common)


def _last_pixel(task: Pixels, batch: Batch) -> Tensor:
    """The class seen most often with this last pixel in training, the majority for a new one."""
    tokens_NL, labels_N = _training(task)
    counts_VC = np.zeros((task.vocabulary, CLASSES), dtype=np.int64)
    np.add.at(counts_VC, (tokens_NL[:, -1], labels_N), 1)
    unseen_V = counts_VC.sum(1) == 0
    counts_VC[unseen_V] = np.bincount(labels_N, minlength=CLASSES)
    return torch.from_numpy(counts_VC.argmax(1))[batch.tokens[:, -1]]


def _bag(task: Pixels, batch: Batch) -> Tensor:
    """The class whose mean count of each intensity is nearest."""
    means_CV = _mean_counts(task)
    far_BC = ((_counts(batch.tokens.numpy(), task.vocabulary)[:, None] - means_CV) ** 2).sum(-1)
    return torch.from_numpy(far_BC.argmin(1))


@lru_cache(maxsize=4)
def _mean_counts(task: Pixels) -> np.ndarray:
    tokens_NL, labels_N = _training(task)
    counts_NV = _counts(tokens_NL, task.vocabulary)
    missing = np.full(task.vocabulary, np.inf)  # a class without training pictures is never near
    groups = (counts_NV[labels_N == label] for label in range(CLASSES))
    return np.stack([group.mean(0) if len(group) else missing for group in groups])


def _counts(tokens_NL: np.ndarray, vocabulary: int) -> np.ndarray:
    rows_N1 = np.arange(len(tokens_NL))[:, None] * vocabulary
    flat = np.bincount((rows_N1 + tokens_NL).ravel(), minlength=len(tokens_NL) * vocabulary)
    return flat.reshape(len(tokens_NL), vocabulary)


def _linear(task: Pixels, window: int, batch: Batch) -> Tensor:
    features_BF = _features(task, batch.tokens.numpy(), window)
    return torch.from_numpy(np.asarray(_regression(task, window).predict(features_BF)))


@lru_cache(maxsize=8)
def _regression(task: Pixels, window: int) -> Any:  # noqa: ANN401 - a class of scikit-learn's
    # Half a second to import, and training needs no ladder.
    from sklearn.dummy import DummyClassifier  # noqa: PLC0415
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    tokens_NL, labels_N = _training(task)
    tokens_NL, labels_N = tokens_NL[:FITTED], labels_N[:FITTED]
    one_class = len(np.unique(labels_N)) < 2
    model = DummyClassifier() if one_class else LogisticRegression(max_iter=100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(_features(task, tokens_NL, window), labels_N)


def _features(task: Pixels, tokens_NL: np.ndarray, window: int) -> np.ndarray:
    """Intensities in 0 .. 1 of the last `window` pixels."""
    return (tokens_NL[:, -window:] - 1) / max(task.levels - 1, 1)
