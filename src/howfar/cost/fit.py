"""How the time of a pass grows with its length: the power p in seconds ~ length**p.

Idea     a straight line through log seconds against log length, by least squares
Doubt    slope +- t * standard error, Student's t with n - 2 degrees of freedom, 95 %
Note     over the measured lengths only: a sum of a linear and a quadratic part has no one power
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from howfar.record.comparison import Exponent

LEAST_LENGTHS = 3  # with two the line is exact and its doubt unknown


def fit_exponent(lengths: Sequence[int], seconds: Sequence[float]) -> Exponent | None:
    """Fit p in seconds ~ length**p.

    Args:
        lengths: tokens, at least 1.
        seconds: of one pass at each length, or any multiple of it.

    Returns:
        The power with its 95 % interval, or None with fewer than three different lengths.

    Raises:
        ValueError: where the two differ in size or hold a value that has no logarithm.
    """
    if len(lengths) != len(seconds):
        raise ValueError(f"{len(lengths)} lengths, but {len(seconds)} times.")
    length_N = np.asarray(lengths, dtype=np.float64)
    second_N = np.asarray(seconds, dtype=np.float64)
    if not (np.all(length_N > 0) and np.all(second_N > 0) and np.all(np.isfinite(second_N))):
        raise ValueError("Lengths and times must be finite and above 0.")
    if len(np.unique(length_N)) < LEAST_LENGTHS:
        return None
    x_N = np.log(length_N) - np.log(length_N).mean()
    y_N = np.log(second_N) - np.log(second_N).mean()
    slope = float(x_N @ y_N / (x_N @ x_N))
    freedom = len(x_N) - 2
    error = float(np.sqrt(np.sum((y_N - slope * x_N) ** 2) / freedom / (x_N @ x_N)))
    half = float(stats.t.ppf(0.975, freedom)) * error
    return Exponent(value=slope, low=slope - half, high=slope + half)
