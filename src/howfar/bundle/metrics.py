"""How right answers are, and how sure that is: classes, labels, numbers; sums over rows.

Idea     what can be summed over rows is summed, so that a bootstrap draws rows and adds up again
F1       of a class: 2 tp / (2 tp + fp + fn). Macro: mean over the classes that occur among truth
         or answers; one that occurs in neither is left out. Micro: from the sums over all labels
ECE      15 bins of equal width over the probability of the answer, sum of n_b / N |accuracy - mean
         probability|; bin b holds ((b - 1) / 15, b / 15]
Doubt    95 %. Accuracy: Wilson; of tokens, which are alike within a row, of as many as tell as
         much when drawn one by one. All else: percentile bootstrap over rows
Source   Guo et al. 2017, https://arxiv.org/abs/1706.04599, equation 3; Wilson 1927,
         doi:10.1080/01621459.1927.10502953; Efron & Tibshirani 1993, chapter 13; Korn & Graubard
         1998, Survey Methodology 24(2):193-201 (shares in clusters)
"""

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from howfar.core.seeds import Seeds
from howfar.record.evaluation import Bin, ClassScore, LengthScore

Whole = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Interval = tuple[float, float]

BINS = 15
TAILS = (0.025, 0.975)
RESAMPLES = 1000
DRAWS = 5 * 10**7  # rows drawn in all; where a part is larger than 50,000 rows, fewer resamples
LENGTH_BINS = 5


def wilson(share: float, count: float) -> Interval:
    """Wilson's interval for a share right of `count`; (0, 1) of none."""
    if count == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(TAILS[1])
    scale = 1 + z * z / count
    middle = (share + z * z / (2 * count)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def clustered(right_N: Reals, of_N: Reals) -> Interval:
    """Wilson's interval for a share right of targets that lie in rows together.

    Its count is that of independent targets with the same standard error of the share, and never
    more than there are; of rows where all is right or all wrong, that of the rows.
    """
    rows, total = len(of_N), float(of_N.sum())
    share = float(right_N.sum()) / total
    between = float(((right_N - share * of_N) ** 2).sum())
    if rows < 2 or not 0 < share < 1:
        return wilson(share, min(rows, total))
    if not between:  # every row has the same share
        return wilson(share, total)
    count = share * (1 - share) * total**2 * (rows - 1) / (rows * between)
    return wilson(share, min(max(count, 1.0), total))


def bootstrap(
    sums_NK: npt.NDArray[Any], statistic: Callable[[Reals], float], seed: int = 0
) -> Interval | None:
    """Middle 95 % of a statistic of summed rows.

    Args:
        sums_NK: (rows, K) what each row adds.
        statistic: of the (K,) sums over drawn rows; nan draws are left out.
        seed: of the draws.

    Returns:
        None with fewer than two rows, or where every draw gave nan.
    """
    table_NK = np.asarray(sums_NK, dtype=np.float64)
    rows = len(table_NK)
    if rows < 2:
        return None
    draws = Seeds(seed).numpy("bootstrap")
    found = []
    for _ in range(max(50, min(RESAMPLES, DRAWS // rows))):
        times_N = np.bincount(draws.integers(rows, size=rows), minlength=rows)
        found.append(statistic(times_N @ table_NK))
    told = [value for value in found if not math.isnan(value)]
    if not told:
        return None
    low, high = np.quantile(told, TAILS)
    return float(low), float(high)


def ratio(sums_2: Reals) -> float:
    """The first sum by the second; nan where that is 0."""
    return float(sums_2[0] / sums_2[1]) if sums_2[1] else math.nan


def confusion(truth_N: Whole, answer_N: Whole, classes: int) -> Whole:
    """(classes, classes) rows of this class that got that answer."""
    pair_N = truth_N * classes + answer_N
    return np.bincount(pair_N, minlength=classes * classes).reshape(classes, classes)


def class_scores(confusion_CC: Whole, names: tuple[str, ...]) -> tuple[ClassScore, ...]:
    """Precision, recall and F1 of every class; None where nothing was there to divide by."""
    right_C = np.diag(confusion_CC).tolist()
    said_C, true_C = (confusion_CC.sum(axis).tolist() for axis in (0, 1))
    return tuple(
        ClassScore(
            name=name,
            rows=true,
            precision=right / said if said else None,
            recall=right / true if true else None,
            f1=2 * right / (said + true) if said + true else None,
        )
        for name, right, said, true in zip(names, right_C, said_C, true_C, strict=True)
    )


def macro_f1(confusion_CC: npt.NDArray[Any]) -> float:
    """Mean F1 of the classes that occur; nan where none does."""
    right_C = np.diag(confusion_CC)
    both_C = confusion_CC.sum(0) + confusion_CC.sum(1)
    occurs_C = both_C > 0
    if not occurs_C.any():
        return math.nan
    return float((2 * right_C[occurs_C] / both_C[occurs_C]).mean())


def macro_f1_interval(confusion_CC: Whole, seed: int = 0) -> Interval | None:
    """As `bootstrap`: drawing rows anew draws the cells of the confusion matrix anew."""
    rows, classes = int(confusion_CC.sum()), len(confusion_CC)
    if rows < 2:
        return None
    cell_X = np.flatnonzero(confusion_CC)
    share_X = confusion_CC.ravel()[cell_X] / rows
    truth_X, answer_X = np.divmod(cell_X, classes)
    draws = Seeds(seed).numpy("bootstrap")
    found = []
    for times_X in draws.multinomial(rows, share_X, size=RESAMPLES):
        right_C = np.bincount(truth_X, times_X * (truth_X == answer_X), classes)
        both_C = np.bincount(truth_X, times_X, classes) + np.bincount(answer_X, times_X, classes)
        occurs_C = both_C > 0
        found.append((2 * right_C[occurs_C] / both_C[occurs_C]).mean())
    low, high = np.quantile(found, TAILS)
    return float(low), float(high)


def auc(positive_N: npt.NDArray[np.bool_], score_N: Reals) -> float | None:
    """Chance that a positive row scores above a negative one, equals half; None without either."""
    positives = int(positive_N.sum())
    negatives = len(positive_N) - positives
    if not positives or not negatives:
        return None
    above = ranks(score_N)[positive_N].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def reliability(confidence_N: Reals, right_N: npt.NDArray[np.bool_]) -> tuple[Bin, ...]:
    """The bins that hold rows, lowest first."""
    bin_N = np.clip(np.ceil(confidence_N * BINS).astype(np.int64) - 1, 0, BINS - 1)
    found = []
    for b in range(BINS):
        held_N = bin_N == b
        if held_N.any():
            found.append(
                Bin(
                    low=b / BINS,
                    high=(b + 1) / BINS,
                    rows=int(held_N.sum()),
                    confidence=float(confidence_N[held_N].mean()),
                    accuracy=float(right_N[held_N].mean()),
                )
            )
    return tuple(found)


def ece(bins: tuple[Bin, ...]) -> float:
    """Expected calibration error of `reliability`; 0 is perfect."""
    rows = sum(b.rows for b in bins)
    return sum(b.rows * abs(b.accuracy - b.confidence) for b in bins) / rows


def by_length(
    length_N: Whole, right_N: npt.NDArray[Any], of_N: npt.NDArray[Any] | None = None
) -> tuple[LengthScore, ...]:
    """Accuracy in at most five bins of length with about as many rows each.

    Args:
        length_N: tokens of each row.
        right_N: what was right of each row.
        of_N: out of how many, with the interval of `clustered`; None: 1, with Wilson's.
    """
    if not len(length_N):
        return ()
    bin_N = np.searchsorted(_bin_starts(length_N), length_N, side="right") - 1
    found = []
    for b in range(LENGTH_BINS):
        held_N = bin_N == b
        total = float(held_N.sum() if of_N is None else of_N[held_N].sum())
        if total:
            share = float(right_N[held_N].sum() / total)
            if of_N is None:
                low, high = wilson(share, total)
            else:
                low, high = clustered(right_N[held_N].astype(float), of_N[held_N].astype(float))
            first, last = int(length_N[held_N].min()), int(length_N[held_N].max())
            rows = int(held_N.sum())
            found.append(
                LengthScore(first=first, last=last, rows=rows, value=share, low=low, high=high)
            )
    return tuple(found)


def _bin_starts(length_N: Whole) -> Whole:
    """The least length of each bin: rows of one length stay together, and fill it evenly."""
    length_X, count_X = np.unique(length_N, return_counts=True)
    if len(length_X) <= LENGTH_BINS:
        return length_X.astype(np.int64)
    starts, held, left = [int(length_X[0])], 0, len(length_N)
    fair = left / LENGTH_BINS  # rows that this bin should hold
    for length, count in zip(length_X.tolist(), count_X.tolist(), strict=True):
        worse = abs(held + count - fair) > abs(held - fair)
        if held and worse and len(starts) < LENGTH_BINS:
            left -= held
            fair = left / (LENGTH_BINS - len(starts))
            starts, held = [*starts, length], 0
        held += count
    return np.asarray(starts, dtype=np.int64)


def f1_of_sums(sums_3: Reals) -> float:
    """From right, said and true: 2 right / (said + true); nan where there is nothing."""
    return ratio(np.asarray([2 * sums_3[0], sums_3[1] + sums_3[2]]))


def ranks(value_N: Reals) -> Reals:
    """Places from 1 in ascending order; equals share their mean place."""
    _, place_N, count_X = np.unique(value_N, return_inverse=True, return_counts=True)
    last_X = count_X.cumsum()
    mean_X: Reals = last_X - (count_X - 1) / 2
    return mean_X[place_N]


def spearman(truth_N: Reals, answer_N: Reals) -> float | None:
    """Correlation of ranks; None where either is constant."""
    a_N, b_N = (ranks(x_N) - (len(x_N) + 1) / 2 for x_N in (truth_N, answer_N))
    scale = math.sqrt(float((a_N**2).sum() * (b_N**2).sum()))
    return float((a_N * b_N).sum() / scale) if scale > 0 else None


def r_squared(sums_4: Reals) -> float:
    """From rows, sum y, sum y**2 and squared error: 1 - error / variance; nan if y is constant."""
    rows, total, squares, error = sums_4
    spread = squares - total * total / rows
    return float(1 - error / spread) if spread > 1e-12 * squares else math.nan
