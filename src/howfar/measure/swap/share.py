"""Parts of an effect: r of a change relative to another, larger one.

Idea     a class of tokens, an order, a side: C_part(k) / C_whole(0), where numerator and
         denominator are resampled together
"""

from copy import copy

import numpy as np

from howfar.core.seeds import Seeds
from howfar.measure.stats import MIN_SEQUENCES, Bootstrap, interval
from howfar.measure.swap.doubt import Doubt, Effects, fill_interval, limits, sharpen, within
from howfar.measure.swap.options import SwapOptions
from howfar.measure.swap.result import Own, Share


def is_part(effects: Effects) -> bool:
    """Less is changed at k = 0 than what r is a share of."""
    return effects.whole is not effects.moved[0]


class Shared(Doubt):
    """Doubt of r as a share of the swap of everything."""

    def __init__(self, effects: Effects, options: SwapOptions) -> None:
        super().__init__(effects, options)
        self.whole = float(effects.whole.mean())
        self.whole_R = self.bootstrap.means(effects.whole)
        self.floor = effects.floor / self.whole if self.whole > 0 else 0.0


def share_of(part_SN: np.ndarray, whole_SN: np.ndarray, options: SwapOptions) -> Share:
    """Ratio of means, with its interval where there are enough sequences."""
    value = float(part_SN.mean() / max(whole_SN.mean(), np.finfo(float).tiny))
    if part_SN.shape[1] < MIN_SEQUENCES:
        return Share(value=value, low=None, high=None)
    rng = Seeds(options.seed).numpy("swap share")
    bootstrap = Bootstrap((part_SN.shape[0], part_SN.shape[1]), options.resamples, rng)
    safe_R = np.maximum(bootstrap.means(whole_SN), np.finfo(float).tiny)
    low, high = interval(bootstrap.means(part_SN) / safe_R, options.ci)
    return Share(value=value, low=float(low), high=float(high))


def own_reach(effects: Effects, options: SwapOptions) -> Own:
    """The reach relative to what the same change does with no token kept."""
    share = share_of(effects.moved[0], effects.whole, options)
    effects = copy(effects)  # measured k stay shared
    effects.whole = effects.moved[0]
    doubt = Doubt(effects, options)
    if doubt.whole <= 3 * effects.floor:
        return Own(share=share, value=None, low=None, high=None, censored=False)
    if options.exact:
        fill_interval(effects, doubt, options)
        sharpen(effects, doubt, [options.eps])
    value = within(doubt.crossing(options.eps), effects)
    low = high = None
    if share.low is not None:
        low, high = limits(doubt, effects, options, value)
    return Own(share=share, value=value, low=low, high=high, censored=value is None)
