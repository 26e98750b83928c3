"""Continuous delay: the number that stood `lag` positions back.

Idea      one channel of numbers; at the end, the one `lag` positions before

              numbers  .31 -.87  .05  .64 -.22  .90 -.48       lag = 4
              answer              |<--- lag --->|       .05, at the last position

          The signal is white, uniform in (-1, 1), or smooth: no part of it is faster than one
          period in `fastest` positions
Distance  lag
Chance    the constant 0: squared error 1/3, the variance of the white and of the smooth signal
Ladder    always 0: 1/3. The last number: (2 - 2 r) / 3, r the autocorrelation at `lag` (white: 0).
          Extrapolates from the last w numbers, linearly and as well as can be (Wiener): white 0
          where lag < w, else 1/3; smooth: what `expected` says, little where lag is near w
Smooth    u_t = sum_k a_k cos(2 pi k t / 2L) + b_k sin(2 pi k t / 2L), k = 1 .. 2L / fastest. The
          period is 2L, twice the length, so that the end does not tell the start. Amplitudes and
          the table of cosines are whole numbers below 2**53 / K in sum: exact in any order
Source    https://github.com/state-spaces/s4, `delay`: there 4,000 positions, a lag of 1,000 and a
          signal by FFT with period L, in which the last positions tell the first ones.
          Memory capacity over many lags: `howfar.tasks.capacity`
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from howfar.core.batch import Batch
from howfar.tasks.base import NumberTask, Rule
from howfar.tasks.streams import Integers

Reals = NDArray[np.float64]

FINENESS = 1 << 23  # white numbers are odd multiples of 2**-23: their mean is 0 and a float32 fits
AMPLITUDES = 1 << 16
COSINES = 1 << 20
WINDOWS = (8, 32)
ROUNDING = 2.0**-52  # mean square of what float32 leaves off: no extrapolation is perfect


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay(NumberTask):
    """The task.

    Args:
        length: positions a sequence, more than `lag`.
        lag: positions back from the last one (at least 1).
        fastest: 0: white; else the shortest period of the signal, in positions (at least 2).
    """

    name: ClassVar[str] = "delay"
    idea: ClassVar[str] = "give back the number that stood a fixed lag before"
    channels: ClassVar[int] = 1
    informative: ClassVar[str] = "In a smooth signal neighbouring numbers tell about one another."

    length: int = 128
    lag: int = 32
    fastest: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        NumberTask.__post_init__(self)
        self.require(self.lag >= 1, "lag >= 1")
        self.require(self.lag < self.length, "lag < length")
        smooth = 2 <= self.fastest <= self.length
        self.require(self.fastest == 0 or smooth, "fastest == 0 or 2 <= fastest <= length")

    @property
    def chance(self) -> float:
        """Squared error of the constant 0: the variance."""
        return 1 / 3

    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split: tokens (B, L, 1), one number a row."""
        draws = self.draws(split, indices)
        if self.fastest:
            waves = _waves(self.length, self.fastest)
            drawn_BK = 2 * draws.below(AMPLITUDES, len(waves)) - (AMPLITUDES - 1)
            # Whole numbers, and sums below 2**53: float64 gives the same in any order.
            signal_BL = (drawn_BK.astype(np.float64) @ waves) * _unit(len(waves) // 2)
        else:
            signal_BL = (2 * draws.below(FINENESS, self.length) - (FINENESS - 1)) / FINENESS
        tokens_BL1 = torch.from_numpy(signal_BL.astype(np.float32))[:, :, None]
        distance_BL = torch.zeros(tokens_BL1.shape[:2], dtype=torch.int64)
        distance_BL[:, -1] = self.lag
        lengths_B = torch.full((len(draws),), self.length)
        return Batch(tokens_BL1, lengths_B, tokens_BL1[:, -1 - self.lag, 0].clone(), distance_BL)

    def oracle(self, batch: Batch) -> Tensor:
        """The number `lag` before the last: (B,)."""
        return batch.tokens[:, -1 - self.lag, 0]

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """The ladder, each (B,) numbers; `expected` gives the squared errors."""
        ladder: dict[str, Rule] = {
            "always 0": partial(_weighed, weights=np.zeros(1)),
            "the last number": partial(_weighed, weights=np.ones(1)),
        }
        for window in WINDOWS:
            if window < self.length:
                weights = _wiener(self, window)
                ladder[f"extrapolates from the last {window}"] = partial(_weighed, weights=weights)
        return ladder

    def expected(self, weights: Reals) -> float:
        """Squared error of a weighted sum of the last numbers; weights: (W,), the last one last."""
        at_W = self.length - len(weights) + np.arange(len(weights))
        shared_W = _covariance(self, at_W, np.array([self.length - 1 - self.lag]))[:, 0]
        squares = weights @ _covariance(self, at_W, at_W) @ weights + ROUNDING * weights @ weights
        return float(1 / 3 - 2 * weights @ shared_W + squares)


def _weighed(batch: Batch, weights: Reals) -> Tensor:
    """A weighted sum of the last numbers: (B,)."""
    recent_BW = batch.tokens[:, -len(weights) :, 0].double()
    return (recent_BW @ torch.from_numpy(weights)).float()


def _covariance(task: Delay, one_A: Integers, other_B: Integers) -> Reals:
    """Of the numbers at some positions with those at others: (A, B)."""
    if not task.fastest:
        return np.asarray(one_A[:, None] == other_B, dtype=np.float64) / 3
    waves = _waves(task.length, task.fastest)
    harmonics = len(waves) // 2
    return waves[:, one_A].T @ waves[:, other_B] / (3 * harmonics * COSINES**2)


@lru_cache(maxsize=64)
def _wiener(task: Delay, window: int) -> Reals:
    """The weights of the last numbers with the least squared error: (W,)."""
    at_W = task.length - window + np.arange(window)
    own_WW = _covariance(task, at_W, at_W) + ROUNDING * np.eye(window)
    shared_W = _covariance(task, at_W, np.array([task.length - 1 - task.lag]))[:, 0]
    return np.asarray(np.linalg.solve(own_WW, shared_W), dtype=np.float64)


@lru_cache(maxsize=8)
def _waves(length: int, fastest: int) -> Reals:
    """Whole numbers: (2K, L) cosines, then sines, of k = 1 .. K periods in twice the length."""
    period = 2 * length
    turns_KL = np.arange(1, period // fastest + 1)[:, None] * np.arange(length) % period
    angles = [2 * math.pi * at / period for at in range(period)]
    tables = ([round(COSINES * wave(angle)) for angle in angles] for wave in (math.cos, math.sin))
    waves = np.concatenate([np.array(table, dtype=np.float64)[turns_KL] for table in tables])
    waves.setflags(write=False)
    return waves


def _unit(harmonics: int) -> float:
    """What the sum of whole numbers is multiplied by to have the variance 1/3."""
    variance = (AMPLITUDES**2 - 1) / 3  # of one amplitude
    return 1 / math.sqrt(3 * harmonics * variance) / COSINES
