"""From squared second differences to I(d), its bounds, and the lags read off it.

Idea     numerator and denominator are resampled together over sequences and models; the winners
         free and held share resamples and denominator, so their difference has bounds of its own
Shapes   R bootstrap samples, K lags; joint lag -> (S, N)
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from howfar.core.seeds import Seeds
from howfar.measure.curve import Curve, curve_of
from howfar.measure.interaction.pairs import Pairs
from howfar.measure.stats import MIN_SEQUENCES, Bootstrap, interval

_UNIT = "share of a single swap's effect"
_RAW = "squared second difference"
_TINY = np.finfo(float).tiny


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One curve over lags and what is read off it.

    samples (R, K); point, least, most: I(d) and its bounds (K,); holds: above the threshold (K,);
    raw (S, N, K).
    """

    lags: tuple[int, ...]
    samples: np.ndarray
    point: np.ndarray
    least: np.ndarray
    most: np.ndarray
    holds: np.ndarray
    value: int | None
    low: int | None
    high: int | None
    furthest: int | None
    raw: np.ndarray


class Doubt:
    """Readings of what `pairs` holds now. influence: whether single swaps move the output."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs, options = pairs, pairs.options
        single = float(pairs.single.sum()) / max(pairs.tried.sum() * len(pairs.models), 1)
        self.influence = single > 3 * pairs.floor
        self.floor = float(pairs.floor / max(single, _TINY)) if self.influence else 0.0
        self.single = single
        rng = Seeds(options.seed).numpy("interaction bootstrap")
        self.bootstrap = Bootstrap(pairs.single.shape, options.resamples, rng)

    def read(self, joint: Mapping[int, np.ndarray]) -> Reading:
        """I(d) with its bounds; zeros without influence, where it would be noise over noise."""
        lags = sorted(joint)
        options = self.pairs.options
        samples_RK, point_K = self._ratios(joint, lags)
        low_K, high_K = interval(samples_RK, options.ci)
        holds_K = low_K > max(self.floor, options.eps * float(point_K.max()))
        above_K = low_K > self.floor
        value = int(lags[np.flatnonzero(holds_K)[-1]]) if holds_K.any() else None
        few = len(self.pairs.seqs.tokens) < MIN_SEQUENCES
        low, high = (None, None) if few or value is None else self._limits(lags, samples_RK, value)
        raw = [np.where(self.pairs.fits[lag], joint[lag], np.nan) for lag in lags]
        return Reading(
            lags=tuple(lags),
            samples=samples_RK,
            point=point_K,
            least=low_K,
            most=high_K,
            holds=holds_K,
            value=value,
            low=low,
            high=high,
            furthest=int(lags[np.flatnonzero(above_K)[-1]]) if above_K.any() else None,
            raw=np.stack(raw, axis=-1),
        )

    def curve(self, reading: Reading, design: str) -> Curve:
        """The reading as a curve over lags."""
        return curve_of(
            reading.lags,
            reading.point,
            reading.least,
            reading.most,
            reading.raw,
            axis="lag",
            unit=_UNIT,
            matrix_unit=_RAW,
            noise_floor=self.floor,
            design=design,
            passes=self.pairs.passes,
        )

    def difference(self, free: Reading, held: Reading) -> Curve:
        """What the maximum's competition adds: free less held, from the same resamples."""
        low_K, high_K = interval(free.samples - held.samples, self.pairs.options.ci)
        return curve_of(
            free.lags,
            free.point - held.point,
            low_K,
            high_K,
            free.raw - held.raw,
            axis="lag",
            unit=_UNIT,
            matrix_unit=_RAW,
            noise_floor=self.floor,
            design="pairs, winners free less held",
            passes=self.pairs.passes,
        )

    def _ratios(
        self, joint: Mapping[int, np.ndarray], lags: list[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """I(d) of every bootstrap sample (R, K) and of the data (K,)."""
        if not self.influence:
            return np.zeros((1, len(lags))), np.zeros(len(lags))
        pairs, means = self.pairs, self.bootstrap.means
        models = np.ones((len(pairs.models), 1))
        single_R = means(pairs.single) / np.maximum(means(models * pairs.tried), _TINY)
        columns, point = [], []
        for lag in lags:
            fits_SN = models * pairs.fits[lag]
            here_R = np.maximum(means(fits_SN), _TINY)
            columns.append(means(joint[lag]) / here_R / np.maximum(single_R, _TINY))
            mean = joint[lag].mean() / max(float(fits_SN.mean()), _TINY)
            point.append(mean / max(self.single, _TINY))
        return np.stack(columns, axis=1), np.array(point)

    def _limits(self, lags: list[int], samples_RK: np.ndarray, value: int) -> tuple[int, int]:
        """Percentiles of each bootstrap sample's own furthest lag above its threshold."""
        options = self.pairs.options
        threshold_R = np.maximum(self.floor, options.eps * samples_RK.max(1))
        holds_RK = samples_RK > threshold_R[:, None]
        grid = np.array([0, *lags])
        furthest_R = grid[(holds_RK * (np.arange(len(lags)) + 1)).max(1)]
        low, high = interval(furthest_R, options.ci)
        return min(int(np.floor(low)), value), max(int(np.ceil(high)), value)
