"""Shares of the squared gradient by lag, with the doubt that the sequences leave.

Idea     g2_i(d) of every sequence; the share of lag d and the tail fraction are ratios of sums
             rho(k) = sum_{d >= k} g2(d) / sum_d g2(d),   G_eps = min{k: rho(k) <= eps}
         sequences are resampled whole, numerator and denominator together
Shapes   squared gradients (N, K) by lag; a row has none (NaN) where its window ends: no share there
Units    G in kept tokens: 1 is the target's own token alone
"""

from dataclasses import dataclass

import numpy as np

from howfar.core.seeds import Seeds
from howfar.measure.stats import Bootstrap, interval

COLUMNS = 1024  # lags resampled at a time: bounds memory for long windows
TIE = 1e-9  # a tail of exactly eps must not be missed by its rounding
FITS = 200  # bootstrap samples that the decay is fitted to


@dataclass(frozen=True, slots=True)
class Spread:
    """A ratio by point with its interval, each (K,)."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Doubt:
    """Ratios of sums and their bootstrap.

    squared_NK: squared gradients by lag, NaN beyond a row's window; their sum is not 0.
    """

    def __init__(self, squared_NK: np.ndarray, *, resamples: int, ci: float, seed: int) -> None:
        self.squared_NK, self.ci = squared_NK, ci
        self.known_NK = np.isfinite(squared_NK)
        self.value_NK = np.where(self.known_NK, squared_NK, 0.0)
        # Scaled, so that neither tiny nor huge gradients leave the range of numbers.
        self.value_NK = self.value_NK / self.value_NK.max()
        self.tail_NK = np.cumsum(self.value_NK[:, ::-1], axis=1)[:, ::-1]
        rng = Seeds(seed).numpy("gradient bootstrap")
        bootstrap = Bootstrap((1, len(squared_NK)), resamples, rng)
        self.weight_RN = bootstrap.sequences_RN.astype(float)
        # A sample may hold none of the rows that have a gradient: its ratios stay at 0.
        self.whole_R = np.maximum(self.weight_RN @ self.tail_NK[:, 0], np.finfo(float).tiny)
        self.whole = float(self.tail_NK[:, 0].sum())

    def shares(self) -> Spread:
        """g2(d) / sum g2."""
        return self._spread(self.value_NK)

    def tails(self) -> Spread:
        """rho(k), k = 0, 1, ..."""
        return self._spread(self.tail_NK)

    def reach(self, eps: float) -> int:
        """G_eps; the number of lags where it is not before the window's end."""
        return int((self.tail_NK.sum(0) / self.whole > eps * (1 + TIE)).sum())

    def limits(self, eps: float) -> tuple[int, int]:
        """Percentiles of G_eps over the samples, among the values that occurred."""
        count_R = np.zeros(len(self.weight_RN), dtype=np.int64)
        for some in self._columns():
            tail_RK = self.weight_RN @ self.tail_NK[:, some] / self.whole_R[:, None]
            count_R += (tail_RK > eps * (1 + TIE)).sum(1)
        count_R = count_R[self.weight_RN @ self.tail_NK[:, 0] > 0]
        tail = (1 - self.ci) / 2
        low = np.quantile(count_R, tail, method="lower")
        return int(low), int(np.quantile(count_R, 1 - tail, method="higher"))

    def amplitude(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """g(d) (K,) over the rows that have lag d, in samples (R, K), and the variance of log g.

        In units of the root of the largest squared gradient.
        """
        rows_K = np.maximum(self.known_NK.sum(0), 1)
        weight_RN = self.weight_RN[:FITS]
        rows_RK = np.maximum(weight_RN @ self.known_NK, 1)
        sample_RK = np.sqrt(weight_RN @ self.value_NK / rows_RK)
        log_RK = np.log(np.maximum(sample_RK, np.finfo(float).tiny))
        return np.sqrt(self.value_NK.sum(0) / rows_K), sample_RK, log_RK.var(0)

    def scale(self) -> float:
        """What `amplitude` was divided by."""
        return float(np.sqrt(np.nanmax(self.squared_NK)))

    def _spread(self, top_NK: np.ndarray) -> Spread:
        mean_K = top_NK.sum(0) / self.whole
        low_K, high_K = np.empty_like(mean_K), np.empty_like(mean_K)
        for some in self._columns():
            ratio_RK = self.weight_RN @ top_NK[:, some] / self.whole_R[:, None]
            low_K[some], high_K[some] = interval(ratio_RK, self.ci)
        return Spread(mean_K, low_K, high_K)

    def _columns(self) -> list[slice]:
        last = self.value_NK.shape[1]
        return [slice(start, start + COLUMNS) for start in range(0, last, COLUMNS)]
