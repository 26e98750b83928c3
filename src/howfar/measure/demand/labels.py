"""How much of a text its label needs: TF-IDF on the first or last k tokens.

Idea     cut every training and test text to k tokens, learn TF-IDF with logistic regression, and
         score; what the whole text adds over k tokens is what a long reach could be good for
Number   smallest k from which on the accuracy is below that of the whole text by less than the
         tolerance, at the lower end of its paired interval
Units    k in tokens; accuracy
Limits   a bag of words and word pairs: order beyond two words is not asked for
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from howfar.core.errors import DataError, UsageError, in_range
from howfar.core.seeds import Seeds
from howfar.measure.curve import Curve, curve_of
from howfar.measure.stats import MIN_SEQUENCES, Studentised

Rows = Sequence[NDArray[np.integer]]

SIDES = ("last", "first")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOptions:
    """How to measure. kept: None for 1, 4, 16, ... tokens; tolerance: accuracy given up."""

    kept: tuple[int, ...] | None = None
    tolerance: float = 0.01
    ci: float = 0.95
    seed: int = 0
    resamples: int = 1000

    def __post_init__(self) -> None:
        checks = {
            "kept": self.kept is None or (len(self.kept) > 0 and min(self.kept) >= 1),
            "tolerance": 0 < self.tolerance < 1,
            "ci": 0 < self.ci < 1,
            "resamples": self.resamples >= 1,
        }
        in_range(self, checks, "`help(howfar.demand)` gives the ranges.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelDemand:
    """Accuracy by tokens kept on one side of the text.

    side: "last" or "first". value: tokens needed; None and `censored`: the whole text.
    curve: accuracy at each k; whole: accuracy on whole texts; chance: of the commonest label.
    """

    side: str
    value: int | None
    low: int | None
    high: int | None
    censored: bool
    curve: Curve
    whole: float
    chance: float
    num_sequences: int
    warnings: tuple[str, ...]


def label_demand(
    train: Rows,
    train_labels: NDArray[np.integer],
    test: Rows,
    test_labels: NDArray[np.integer],
    *,
    side: str = "last",
    options: LabelOptions | None = None,
) -> LabelDemand:
    """Accuracy of TF-IDF on the `side` k tokens of every text.

    Args:
        train: rows of ids to learn from.
        train_labels: (N,) their classes.
        test: rows to score on.
        test_labels: (N,) their classes.
        side: which tokens are kept.
        options: see `LabelOptions`.

    Raises:
        UsageError: E-OPTION for a side nobody knows. DataError: E-EMPTY without rows.
    """
    options = options or LabelOptions()
    if side not in SIDES:
        raise UsageError("E-OPTION", f"side={side!r} is not known.", 'side="last" or "first".')
    if len(train) == 0 or len(test) == 0:
        raise DataError("E-EMPTY", "There are no labelled rows to learn from or to test on.")
    longest = max(len(row) for row in (*train, *test))
    grid = options.kept or tuple(4**i for i in range(16))
    kept = [*sorted(k for k in set(grid) if k < longest), longest]
    labels = np.asarray(train_labels), np.asarray(test_labels)
    right_KN = np.stack([_right(_cut(train, k, side), _cut(test, k, side), *labels) for k in kept])
    num = len(test)
    rng = Seeds(options.seed).numpy("label demand")
    means = Studentised(num, options.resamples, rng)
    low_K, high_K = means.limits(right_KN.T[None], options.ci)
    lost_KN = right_KN[-1] - right_KN
    few = num < MIN_SEQUENCES
    bound_K = lost_KN.mean(1) if few else means.limits(lost_KN.T[None], options.ci)[1]
    worse = np.flatnonzero(bound_K[:-1] >= options.tolerance)
    place = int(worse[-1]) + 1 if worse.size else 0
    censored = place == len(kept) - 1 and place > 0
    common = np.bincount(labels[0]).argmax()
    said = f"no interval: {num} test rows, at least {MIN_SEQUENCES} are needed"
    return LabelDemand(
        side=side,
        value=None if censored else kept[place],
        low=None,
        high=None,
        censored=censored,
        curve=curve_of(
            kept,
            right_KN.mean(1),
            np.maximum(low_K, 0),
            np.minimum(high_K, 1),
            right_KN.T[None],
            axis="kept tokens",
            unit="accuracy",
            design=f"TF-IDF on the {side} tokens",
        ),
        whole=float(right_KN[-1].mean()),
        chance=float((labels[1] == common).mean()),
        num_sequences=num,
        warnings=(said,) if few else (),
    )


def _cut(rows: Rows, k: int, side: str) -> list[list[int]]:
    return [(row[-k:] if side == "last" else row[:k]).tolist() for row in rows]


def _right(
    train: list[list[int]],
    test: list[list[int]],
    train_labels: np.ndarray,
    test_labels: np.ndarray,
) -> np.ndarray:
    """Which test rows are told right, (N,) 0/1; the commonest label where nothing is learned."""
    # Half a second to import, and texts without labels do not need it.
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    common = np.bincount(train_labels).argmax()
    if len(np.unique(train_labels)) < 2 or not any(train):
        return np.asarray(test_labels == common, dtype=float)
    vectors = TfidfVectorizer(analyzer=_terms, sublinear_tf=True, max_features=100_000)
    x_NF = vectors.fit_transform(train)
    model = LogisticRegression(C=10.0, max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x_NF, train_labels)
    guessed = np.asarray(model.predict(vectors.transform(test)))
    return np.asarray(guessed == test_labels, dtype=float)


def _terms(row: list[int]) -> list[tuple[int, ...]]:
    """Tokens and pairs of neighbours."""
    return [*((one,) for one in row), *pairwise(row)]
