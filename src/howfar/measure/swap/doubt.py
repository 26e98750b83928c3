"""Reaches read off the effects, with the doubt that the sequences leave.

Idea     R_eps > k holds exactly where the mean of y_i(k) = C_i(k) - eps C_i(0) is above 0, so its
         interval is read off intervals of means: it begins behind the k up to which all y(k) are
         above 0 beyond doubt, and ends at the k from which on none can be. Where an answer hangs on
         a gap of the grid, further k are measured
Units    kept tokens
Source   turning a test of a ratio into its interval: Fieller 1954,
         https://doi.org/10.1111/j.2517-6161.1954.tb00159.x
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from howfar.core.seeds import Seeds
from howfar.measure.stats import Studentised, crossing, crossing_limits
from howfar.measure.swap.fast import Fast
from howfar.measure.swap.options import SwapOptions
from howfar.measure.swap.paired import Paired

Effects = Paired | Fast
Ends = tuple[float, float]


class Doubt:
    """Intervals of the ratio, and of the extra loss, at every k.

    Args:
        effects: what was measured; the ratio is a share of their `whole`.
        options: of these the level of the intervals and the seed.
    """

    def __init__(self, effects: Effects, options: SwapOptions) -> None:
        self.whole_WSN = effects.whole_by_way
        self.whole = float(self.whole_WSN.mean())
        self.floor = effects.floor / self.whole if self.whole > 0 else 0.0
        rng = Seeds(options.seed).numpy("swap bootstrap")
        num = self.whole_WSN.shape[-1]
        self.means = Studentised(num, options.resamples, rng, np.stack(effects.ways))
        self.effects, self.ci = effects, options.ci
        self._ratios: dict[int, float] = {}
        self._bands: dict[int, Ends] = {}
        self._worse: dict[int, Ends] = {}
        self._sides: dict[tuple[int, float], Ends] = {}

    def ratio(self, k: int) -> float:
        """r(k)."""
        if k not in self._ratios:
            self._ratios[k] = float(self.effects.at(k).mean()) / self.whole
        return self._ratios[k]

    def side(self, k: int, eps: float) -> Ends:
        """The interval of r(k) - eps; numerator and denominator are in doubt together."""
        if (k, eps) not in self._sides:
            fresh = self._fresh(k, {seen for seen, level in self._sides if level == eps})
            ends = self._limits(fresh, np.full(len(fresh), eps))
            self._sides |= {(at, eps): pair for at, pair in zip(fresh, ends, strict=True)}
        return self._sides[k, eps]

    def band(self, k: int) -> Ends:
        """The interval of r(k); its lower end on a log scale, as an effect is never below 0."""
        if k not in self._bands:
            fresh = self._fresh(k, set(self._bands))
            ratios = [self.ratio(at) for at in fresh]
            ends = self._limits(fresh, np.array(ratios))
            for at, ratio, (low, high) in zip(fresh, ratios, ends, strict=True):
                # A band that rounding alone leaves must still hold its middle.
                below = ratio * math.exp(min(low, 0) / ratio) if ratio > 0 else 0.0
                self._bands[at] = below, ratio + max(high, 0)
        return self._bands[k]

    def worse(self, k: int) -> Ends:
        """The interval of the extra loss with k tokens kept, nats a target."""
        if k not in self._worse:
            fresh = self._fresh(k, set(self._worse))
            values = np.stack([self.effects.worse_by_way[at] for at in fresh], axis=-1)
            low_K, high_K = self.means.limits(values, self.ci)
            ends = zip(low_K.tolist(), high_K.tolist(), strict=True)
            self._worse |= dict(zip(fresh, ends, strict=True))
        return self._worse[k]

    def seen(self, k: int) -> bool:
        """The lower bound of r(k) is above the noise floor: tokens beyond k matter."""
        return self.band(k)[0] > self.floor

    def useful(self, k: int, tolerance: float) -> bool:
        """The upper bound of the benefit of tokens beyond k is not below the tolerance."""
        return self.worse(k)[1] >= tolerance

    def crossing(self, eps: float) -> int | None:
        """Where the fit of r falls to `eps` for good, by the k measured so far."""
        kept = sorted(self.effects.moved)
        return crossing(kept, np.array([self.ratio(k) for k in kept]), eps)

    def limits(self, eps: float) -> tuple[int, int | None]:
        """The interval of R_eps by the k measured so far; an end None: beyond the window."""
        kept = self.inside
        ends = [self.side(k, eps) for k in kept]
        return crossing_limits(kept, *np.array(ends).T)

    @property
    def inside(self) -> list[int]:
        """The k measured so far, without the one at which nothing is changed by construction."""
        return [k for k in sorted(self.effects.moved) if k <= last_measured(self.effects)]

    def _fresh(self, k: int, known: set[int]) -> list[int]:
        """All measured k that are not worked out yet, together: that is much quicker."""
        self.effects.at(k)
        return [at for at in sorted(self.effects.moved) if at not in known]

    def _limits(self, kept: Sequence[int], level_K: np.ndarray) -> list[Ends]:
        values_WSNK = np.stack([self.effects.moved_by_way[k] for k in kept], axis=-1)
        off_WSNK = (values_WSNK - level_K * self.whole_WSN[..., None]) / self.whole
        low_K, high_K = self.means.limits(off_WSNK, self.ci)
        return list(zip(low_K.tolist(), high_K.tolist(), strict=True))


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


def narrow(effects: Effects, doubt: Doubt, eps: float) -> None:
    """Bisect to the exact ends of the interval: about log2(gap) further passes each."""
    while True:
        kept = doubt.inside
        low, high = doubt.limits(eps)
        behind = next((k for k in kept if k >= low), None)
        before = max((k for k in kept if high is not None and k < high), default=None)
        if behind is not None and behind > low:
            effects.at((low - 1 + behind) // 2)
        elif high is not None and before is not None and high - before > 1:
            effects.at((before + high) // 2)
        else:
            return


def limits(
    doubt: Doubt, effects: Effects, options: SwapOptions, value: int | None
) -> tuple[int | None, int | None]:
    """The interval's ends, never without the value itself; None: beyond the window."""
    beyond = last_measured(effects) + 1
    low, high = doubt.limits(options.eps)
    point = beyond if value is None else value
    low, high = min(low, point), max(beyond if high is None else high, point)
    return (None if low >= beyond else low), (None if high >= beyond else high)
