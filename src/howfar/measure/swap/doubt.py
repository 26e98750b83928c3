"""Reaches read off the effects, with the doubt that the sequences leave.

Idea     bootstrap the ratio column by column, find where it crosses a level for good, and measure
         further k where the answer hangs on a gap of the grid
Units    kept tokens
"""

from collections.abc import Callable, Sequence

import numpy as np

from howfar.core.seeds import Seeds
from howfar.measure.stats import Bootstrap, crossing, interval
from howfar.measure.swap.fast import Fast
from howfar.measure.swap.options import SwapOptions
from howfar.measure.swap.paired import Paired

Effects = Paired | Fast


class Doubt:
    """Bootstrap of the ratio and of the benefit, column by column."""

    def __init__(self, effects: Effects, options: SwapOptions) -> None:
        shape = effects.moved[0].shape
        rng = Seeds(options.seed).numpy("swap bootstrap")
        self.bootstrap = Bootstrap(shape, options.resamples, rng)
        self.effects, self.ci = effects, options.ci
        self.whole = float(effects.moved[0].mean())
        self.whole_R = self.bootstrap.means(effects.moved[0])
        self.floor = effects.floor / self.whole if self.whole > 0 else 0.0
        self._columns: dict[int, np.ndarray] = {}

    def ratio(self, k: int) -> float:
        """r(k)."""
        return float(self.effects.at(k).mean()) / self.whole

    def ratios(self, k: int) -> np.ndarray:
        """r(k) of every bootstrap sample: (resamples,)."""
        if k not in self._columns:
            moved_R = self.bootstrap.means(self.effects.at(k))
            safe_R = np.maximum(self.whole_R, np.finfo(float).tiny)
            self._columns[k] = moved_R / safe_R
        return self._columns[k]

    def seen(self, k: int) -> bool:
        """The lower bound of r(k) is above the noise floor: tokens beyond k matter."""
        return bool(interval(self.ratios(k), self.ci)[0] > self.floor)

    def useful(self, k: int, tolerance: float) -> bool:
        """The upper bound of the benefit of tokens beyond k is not below the tolerance."""
        self.effects.at(k)
        worse_R = self.bootstrap.means(self.effects.worse[k])
        return bool(interval(worse_R, self.ci)[1] >= tolerance)

    def crossing(self, eps: float) -> int | None:
        """Where the fit of r falls to `eps` for good, by the k measured so far."""
        kept = sorted(self.effects.moved)
        return crossing(kept, np.array([self.ratio(k) for k in kept]), eps)

    def crossings(self, eps: float) -> list[int | None]:
        """The same in every bootstrap sample."""
        kept = sorted(self.effects.moved)
        ratios_KR = np.stack([self.ratios(k) for k in kept])
        return [crossing(kept, column, eps) for column in ratios_KR.T]


def furthest(effects: Effects, holds: Callable[[int], bool], *, exact: bool) -> int | None:
    """Smallest k such that `holds` is false from k on; bisected where the grid leaves a gap.

    None: it lies beyond the last k that can be told from the window itself.
    """
    kept = [k for k in sorted(effects.moved) if k < effects.top or isinstance(effects, Fast)]
    last = max((k for k in kept if holds(k)), default=-1)
    first = next((k for k in sorted(effects.moved) if k > last), effects.top + 1)
    while exact and first - last > 1:
        middle = (first + last) // 2
        effects.at(middle)
        if holds(middle):
            last = middle
        else:
            first = middle
    return first if first <= last_measured(effects) else None


def last_measured(effects: Effects) -> int:
    """The largest k measured: in the paired design nothing is swapped at the window itself."""
    return effects.top if isinstance(effects, Fast) else effects.top - 1


def sharpen(effects: Effects, doubt: Doubt, levels: Sequence[float]) -> None:
    """Bisect to the exact crossing of every level: about log2(gap) further passes each."""
    for eps in levels:
        while True:
            kept = sorted(effects.moved)
            ratios = np.array([doubt.ratio(k) for k in kept])
            found = crossing(kept, ratios, eps)
            if found is None or found == 0:
                break
            place = int(np.searchsorted(kept, found))
            low = kept[place - 1] if place > 0 else 0
            if kept[place] - low <= 1:
                break
            effects.at((low + kept[place]) // 2)


def within(found: int | None, effects: Effects) -> int | None:
    """A paired crossing at the whole window is there by construction only: censored."""
    return found if found is not None and found <= last_measured(effects) else None


def fill_interval(effects: Effects, doubt: Doubt, options: SwapOptions) -> None:
    """Measure inside the interval, so that its ends are not set by interpolation."""
    sharpen(effects, doubt, [options.eps])
    low, high = percentiles(doubt, effects, options)
    for k in np.linspace(low - 1, min(high, last_measured(effects)), 6).round():
        effects.at(int(max(k, 0)))


def limits(
    doubt: Doubt, effects: Effects, options: SwapOptions, value: int | None
) -> tuple[int | None, int | None]:
    """The interval's ends; None: beyond the window."""
    beyond = last_measured(effects) + 1
    low, high = percentiles(doubt, effects, options)
    point = beyond if value is None else value
    low, high = min(low, point), max(high, point)
    return (None if low >= beyond else low), (None if high >= beyond else high)


def percentiles(doubt: Doubt, effects: Effects, options: SwapOptions) -> tuple[int, int]:
    """Ends among the crossings that occurred; one more than the last k for those beyond it."""
    beyond = last_measured(effects) + 1
    found = [within(c, effects) for c in doubt.crossings(options.eps)]
    found_R = np.array([beyond if c is None else c for c in found])
    tail = (1 - options.ci) / 2
    low = np.quantile(found_R, tail, method="lower")
    return int(low), int(np.quantile(found_R, 1 - tail, method="higher"))
