"""How a curve over lags decays: by a constant share a token, or by a power of the distance.

Idea     log g(d) is fitted by least squares, weighted by what the bootstrap says of each point:
             exponential  g(d) = A exp(-rate d)           half-life ln 2 / rate tokens
             power        g(d) = A (d + 1)^-rate          no half-life: each halving takes longer
         each also with a constant floor; the lowest AICc wins, and of those within 2 of it the one
         with the fewest parameters
Shapes   lags (K,), g (K,), variance of log g (K,)
Units    g is an amplitude (the root of a squared gradient, which decays twice as fast); the power
         counts kept tokens, d + 1, so that lag 0 takes part
Limits   nothing is said beyond the last lag fitted: a half-life longer than that is not given, nor
         one of a curve that no law fits, such as a single peak
Source   Burnham & Anderson 2002 (AICc and the margin of 2)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares

MIN_POINTS = 6  # AICc of three parameters and a scale needs one more than five
MOST_POINTS = 512
EXACT = 1e-6  # a residual of log g below this is rounding
MARGIN = 2.0
POOR = 0.8  # R2 under which a law says nothing of a curve, such as one with a single peak


@dataclass(frozen=True, slots=True, kw_only=True)
class DecayFit:
    """The law that fits, and how well.

    kind: "exponential" or "power", with " + floor" where a constant stays. rate: a token, or the
    power. floor: the constant, 0 without. r2: share of the weighted variance of log g, None where
    there is none to explain. aic: of every law tried. points, last_lag: what was fitted.
    half_life: tokens after which the amplitude above the floor is halved; None: see `note`.
    half_life_low, half_life_high: its interval (high None: beyond the last lag).
    """

    kind: str
    amplitude: float
    rate: float
    floor: float
    r2: float | None
    aic: dict[str, float]
    points: int
    last_lag: int
    half_life: float | None
    half_life_low: float | None = None
    half_life_high: float | None = None
    note: str = ""

    def scaled(self, unit: float) -> "DecayFit":
        """The same law of amplitudes that are `unit` times as large."""
        return replace(self, amplitude=self.amplitude * unit, floor=self.floor * unit)


@dataclass(frozen=True, slots=True)
class _Law:
    """One candidate fitted: parameters (log A, rate[, log floor]) and its weighted squares."""

    kind: str
    parameters: np.ndarray
    squares: float


def fit_decay(
    lag_K: np.ndarray,
    g_K: np.ndarray,
    *,
    variance_K: np.ndarray | None = None,
    noise: float = 0.0,
    samples_RK: np.ndarray | None = None,
    ci: float = 0.95,
) -> DecayFit | None:
    """Fit the decay of an amplitude.

    Args:
        lag_K: lags, ascending.
        g_K: amplitudes.
        variance_K: of log g; None: all alike.
        noise: points that are not above it are left out.
        samples_RK: g of bootstrap samples, for the interval of the half-life.
        ci: its level.

    Returns:
        None with fewer than 6 points above the noise.
    """
    use = _chosen(np.flatnonzero((g_K > noise) & (g_K > 0) & np.isfinite(g_K)))
    if len(use) < MIN_POINTS:
        return None
    x, y = lag_K[use].astype(float), np.log(g_K[use])
    w = _weights(np.zeros(len(use)) if variance_K is None else variance_K[use])
    laws = [_line(x, y, w, "exponential"), _line(x, y, w, "power")]
    laws += [_floored(x, y, w, law) for law in laws]
    aic = {law.kind: _aicc(law, len(x)) for law in laws}
    near = [law for law in laws if aic[law.kind] <= min(aic.values()) + MARGIN]
    law = min(near, key=lambda law: (len(law.parameters), aic[law.kind]))
    spread = float(w @ (y - w @ y / w.sum()) ** 2)
    log_a, rate = float(law.parameters[0]), float(law.parameters[1])
    last = int(x[-1])
    r2 = 1 - law.squares / spread if spread > len(x) * EXACT**2 else None
    half_life, note = _half_life(law, last, r2)
    low = high = None
    if half_life is not None and samples_RK is not None:
        low, high = _limits(law, x, samples_RK[:, use], w, ci)
    return DecayFit(
        kind=law.kind,
        amplitude=float(np.exp(log_a)),
        rate=rate,
        floor=float(np.exp(law.parameters[2])) if len(law.parameters) > 2 else 0.0,
        r2=r2,
        aic=aic,
        points=len(x),
        last_lag=last,
        half_life=half_life,
        half_life_low=low,
        half_life_high=high,
        note=note,
    )


def _half_life(law: _Law, last: int, r2: float | None) -> tuple[float | None, str]:
    """In tokens, or why there is none."""
    rate = float(law.parameters[1])
    if r2 is not None and r2 < POOR:
        return None, f"no half-life: no law of decay fits (R2 {r2:.2f})"
    if law.kind.startswith("power"):
        return None, "no half-life: the gradient falls by a power of the distance"
    if rate <= 0:
        return None, f"no half-life: the gradient does not fall over {last} lags"
    if np.log(2) / rate > last:
        return None, f"half-life beyond the {last} lags fitted"
    return float(np.log(2) / rate), ""


def _limits(
    law: _Law, x: np.ndarray, samples_RK: np.ndarray, w: np.ndarray, ci: float
) -> tuple[float | None, float | None]:
    """Percentiles of the half-life over bootstrap samples, the same law fitted to each."""
    logs = [np.log(g_K) for g_K in samples_RK if (g_K > 0).all()]
    if len(logs) < len(samples_RK) / 2:
        return None, None
    if len(law.parameters) > 2:
        laws = [_bend(x, y, w, law.kind, law.parameters) for y in logs]
    else:
        laws = [_line(x, y, w, law.kind) for y in logs]
    rates = [found.parameters[1] for found in laws]
    fast, slow = np.quantile(rates, [1 - (1 - ci) / 2, (1 - ci) / 2])
    low, high = (np.log(2) / rate if rate > 0 else np.inf for rate in (fast, slow))
    return (float(low) if low <= x[-1] else None), (float(high) if high <= x[-1] else None)


def _line(x: np.ndarray, y: np.ndarray, w: np.ndarray, kind: str) -> _Law:
    """Two parameters: a straight line in the lag, or in the log of the kept tokens."""
    z = _stretch(kind)(x)
    centre, level = w @ z / w.sum(), w @ y / w.sum()
    slope = float(w @ ((z - centre) * (y - level)) / (w @ (z - centre) ** 2))
    residual = y - level - slope * (z - centre)
    return _Law(kind, np.array([level - slope * centre, -slope]), float(w @ residual**2))


def _floored(x: np.ndarray, y: np.ndarray, w: np.ndarray, line: _Law) -> _Law:
    """Three parameters, from several starts: a floor at, or well under, the lowest point."""
    early = max(3, len(x) // 3)
    steep = _line(x[:early], y[:early], w[:early], line.kind)
    guesses = [
        np.array([start.parameters[0], max(start.parameters[1], 1e-6), y.min() - under])
        for start in (steep, line)
        for under in (0.05, 3.0)
    ]
    laws = [_bend(x, y, w, line.kind, guess) for guess in guesses]
    return min(laws, key=lambda law: law.squares)


def _bend(x: np.ndarray, y: np.ndarray, w: np.ndarray, kind: str, guess: np.ndarray) -> _Law:
    """log(A stretch^-rate + floor) by least squares from a guess of log A, rate and log floor."""
    z, root = _stretch(kind)(x), np.sqrt(w)

    def residual(p: np.ndarray) -> np.ndarray:
        return np.asarray(root * (np.logaddexp(p[0] - p[1] * z, p[2]) - y))

    lowest, highest = [-np.inf, 0.0, y.min() - 40.0], [np.inf, np.inf, y.max() + 1.0]
    found = least_squares(residual, np.clip(guess, lowest, highest), bounds=(lowest, highest))
    return _Law(f"{kind.split()[0]} + floor", found.x, float(2 * found.cost))


def _stretch(kind: str) -> Callable[[np.ndarray], np.ndarray]:
    return np.log1p if kind.startswith("power") else np.asarray


def _weights(variance_K: np.ndarray) -> np.ndarray:
    """Inverse variances, of mean 1; no point may outweigh a typical one a hundred times."""
    if not (variance_K > 0).any():
        return np.ones(len(variance_K))
    w = 1 / (variance_K + 0.01 * np.median(variance_K[variance_K > 0]))
    return np.asarray(w / w.mean())


def _aicc(law: _Law, n: int) -> float:
    free = len(law.parameters) + 1  # and the scale of the residuals
    fit = n * np.log(law.squares / n + EXACT**2)
    return float(fit + 2 * free + 2 * free * (free + 1) / (n - free - 1))


def _chosen(use: np.ndarray) -> np.ndarray:
    """At most `MOST_POINTS` of the points: evenly spaced ones, and as many densely near lag 0."""
    if len(use) <= MOST_POINTS:
        return use
    even = np.linspace(0, len(use) - 1, MOST_POINTS // 2)
    dense = np.geomspace(1, len(use), MOST_POINTS // 2) - 1
    return np.asarray(use[np.unique(np.concatenate([even, dense]).round().astype(int))])
