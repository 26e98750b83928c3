"""Doubt: bootstrap over sequences, monotone fits, threshold crossings, binomial intervals.

Idea     sequences are the clusters: they are resampled whole, numerator and denominator together;
         where several trained models stand for one family, models are resampled too.
         Means of heavy-tailed effects get a studentised interval (bootstrap-t), and a crossing gets
         the interval of the levels k at which the data cannot say on which side of eps r(k) is
Source   Efron & Tibshirani 1993, chapters 12 and 13; Wilson 1927; Barlow et al. 1972 (PAVA);
         variance of effects that share sequences: Aronow, Samii & Assenova 2015,
         https://arxiv.org/abs/1312.3398
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


class Studentised:
    """Intervals of means over sequences, where each sequence lends tokens to others.

    The effects of (i, its donor j) and of (j, its donor) share sequence j and so are dependent: the
    variance of the mean adds up every pair of effects that has a sequence in common. The shape
    comes from the bootstrap-t, t* = (mean* - mean) / se*, which follows the skew of the effects.

    Args:
        num: N.
        resamples: how many bootstrap samples.
        rng: where they are drawn from.
        ways: (W, N), the donor of each sequence in each of W ways; None: independent sequences.
    """

    def __init__(
        self, num: int, resamples: int, rng: np.random.Generator, ways: np.ndarray | None = None
    ) -> None:
        self.share_RN = rng.multinomial(num, np.full(num, 1 / num), size=resamples) / num
        self.ways = ways

    def limits(self, values: np.ndarray, ci: float) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the interval of each column's mean.

        Args:
            values: (W, S, N, K) by way, model, sequence and column; (S, N, K) for one way.
            ci: level, such as 0.95.

        Returns:
            low (K,) and high (K,).
        """
        values_WSNK = values if values.ndim == 4 else values[None]
        parts = [
            self._some(values_WSNK[..., k : k + 256], ci) for k in range(0, values.shape[-1], 256)
        ]
        return np.concatenate([low for low, _ in parts]), np.concatenate(
            [high for _, high in parts]
        )

    def _some(self, values_WSNK: np.ndarray, ci: float) -> tuple[np.ndarray, np.ndarray]:
        rows_NK = values_WSNK.mean((0, 1))
        num = len(rows_NK)
        mean_K = rows_NK.mean(0)
        off_NK = rows_NK - mean_K
        plain_K = (off_NK**2).mean(0) / max(num - 1, 1)
        se_K = np.sqrt(self._variance(values_WSNK, plain_K))
        moved_RK = self.share_RN @ off_NK
        spread_RK = np.maximum(self.share_RN @ off_NK**2 - moved_RK**2, 0) / max(num - 1, 1)
        # A resample that misses the few rows that matter has almost no spread of its own.
        least_K = np.sqrt(plain_K) / 3
        tiny = np.finfo(float).tiny
        t_RK = moved_RK / np.maximum(np.maximum(np.sqrt(spread_RK), least_K), tiny)
        t_low_K, t_high_K = interval(t_RK, ci)
        return mean_K - t_high_K * se_K, mean_K - t_low_K * se_K

    def _variance(self, values_WSNK: np.ndarray, plain_K: np.ndarray) -> np.ndarray:
        """Of the mean: over sequences that share tokens, and between models."""
        models = values_WSNK.shape[1]
        variance_K = plain_K
        if self.ways is not None and len(plain_K):
            edges_WNK = values_WSNK.mean(1) - values_WSNK.mean((0, 1, 2))
            ways, num, _ = edges_WNK.shape
            node_NK = edges_WNK.sum(0)
            for edge_NK, way_N in zip(edges_WNK, self.ways, strict=True):
                np.add.at(node_NK, way_N, edge_NK)
            shared_K = (node_NK**2).sum(0) - (edges_WNK**2).sum((0, 1))
            variance_K = np.maximum(plain_K, shared_K / (ways * num) ** 2 * num / (num - 1))
        if models > 1:
            variance_K = variance_K + values_WSNK.mean((0, 2)).var(0, ddof=1) / models
        return variance_K


def crossing_limits(
    kept: Sequence[int], low_K: np.ndarray, high_K: np.ndarray
) -> tuple[int, int | None]:
    """Interval of the crossing, from intervals of r(k) - eps at every k measured.

    It begins behind the k up to which every lower end is above 0, and ends at the k from which on
    every upper end is at most 0; None: not within the k measured. As each end needs one claim about
    one k, no allowance for looking at many is due.
    """
    above = np.asarray(low_K) > 0
    below = np.asarray(high_K) <= 0
    num_above = int(np.argmin(above)) if not above.all() else len(above)
    num_below = int(np.argmin(below[::-1])) if not below.all() else len(below)
    low = int(kept[num_above - 1]) + 1 if num_above else int(kept[0])
    return low, int(kept[-num_below]) if num_below else None


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
