"""Doubt: bootstrap over sequences, monotone fits, threshold crossings, binomial intervals.

Idea     sequences are the clusters: they are resampled whole, numerator and denominator together;
         where several trained models stand for one family, models are resampled too
Source   Efron & Tibshirani 1993 (percentile bootstrap); Wilson 1927; Barlow et al. 1972 (PAVA)
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.stats import norm

MIN_SEQUENCES = 30  # below this, percentile intervals of a crossing cover too rarely


def falling(values_K: np.ndarray, weights_K: np.ndarray | None = None) -> np.ndarray:
    """The non-increasing (weighted) least-squares fit of a curve, (K,) -> (K,)."""
    return np.asarray(isotonic_regression(values_K, weights=weights_K, increasing=False).x)


def cells(kept: Sequence[int]) -> np.ndarray:
    """How many whole numbers each grid point stands for: halfway to its neighbours, (K,)."""
    place_K = np.asarray(kept, dtype=float)
    between = (place_K[1:] + place_K[:-1]) / 2
    return np.diff(np.concatenate(([place_K[0] - 0.5], between, [place_K[-1] + 0.5])))


def crossing(kept: Sequence[int], ratio_K: np.ndarray, eps: float) -> int | None:
    """Smallest k with fit(k') <= eps for all k' >= k; None if even the last point is above.

    A curve that rises again is levelled over the k its points stand for, not over the points: a
    grid that is dense near the target must not outvote the far tokens.
    Between two grid points the crossing is interpolated: on log r where both are positive (decays
    are closer to exponential than to linear), else linearly; the result is rounded up.
    """
    fit_K = falling(ratio_K, cells(kept))
    below = np.flatnonzero(fit_K <= eps)
    if below.size == 0:
        return None
    first = int(below[0])
    if first == 0 or kept[first] - kept[first - 1] == 1:
        return int(kept[first])
    high, low = float(fit_K[first - 1]), float(fit_K[first])
    if low > 0 and eps > 0:
        share = (np.log(high) - np.log(eps)) / (np.log(high) - np.log(low))
    else:
        share = (high - eps) / (high - low)
    span = kept[first] - kept[first - 1]
    # A crossing just below a whole number is that number: guard against rounding up by 1e-16.
    return int(kept[first - 1] + max(1, np.ceil(share * span - 1e-9)))


class Bootstrap:
    """Fixed resampling weights over models S and sequences N, so that curves stay comparable.

    Args:
        shape: (S, N), how many models and sequences.
        resamples: how many bootstrap samples.
        rng: where they are drawn from.
    """

    def __init__(self, shape: tuple[int, int], resamples: int, rng: np.random.Generator) -> None:
        models, sequences = shape
        self.models_RS = rng.multinomial(models, np.full(models, 1 / models), size=resamples)
        share = np.full(sequences, 1 / sequences)
        self.sequences_RN = rng.multinomial(sequences, share, size=resamples)

    def means(self, values_SN: np.ndarray) -> np.ndarray:
        """The mean of every bootstrap sample: (S, N) -> (resamples,)."""
        by_model_RS = self.sequences_RN @ values_SN.T
        return np.asarray((self.models_RS * by_model_RS).sum(1) / values_SN.size)


def interval(values_R: np.ndarray, ci: float) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval along the first axis."""
    tail = (1 - ci) / 2
    low, high = np.quantile(values_R, [tail, 1 - tail], axis=0)
    return low, high


def wilson(successes: int, trials: int, ci: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion; (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    z = float(norm.ppf((1 + ci) / 2))
    share = successes / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    # At 0 and at all successes the interval touches the end exactly; rounding must not move it.
    low = 0.0 if successes == 0 else max(0.0, float(centre - half))
    high = 1.0 if successes == trials else min(1.0, float(centre + half))
    return low, high


def log_grid(last: int, dense: int = 4) -> list[int]:
    """0, 1, .. `dense`, then two points an octave (6, 8, 12, 16, ...), then `last` itself."""
    grid = set(range(min(dense, last) + 1)) | {last}
    step = 4
    while step <= last:
        grid |= {k for k in (step, step * 3 // 2) if k <= last}
        step *= 2
    return sorted(grid)
