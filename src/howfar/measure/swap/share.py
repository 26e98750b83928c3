"""Parts of an effect: r of a change relative to another, larger one.

Idea     a class of tokens, an order, a side: C_part(k) / C_whole(0), where numerator and
         denominator are resampled together
"""

from collections.abc import Sequence
from copy import copy

import numpy as np

from howfar.core.seeds import Seeds
from howfar.measure.stats import MIN_SEQUENCES, Studentised
from howfar.measure.swap.doubt import Doubt, Effects, limits, narrow, sharpen, within
from howfar.measure.swap.options import SwapOptions
from howfar.measure.swap.result import Own, Share


def is_part(effects: Effects) -> bool:
    """Less is changed at k = 0 than what r is a share of."""
    return effects.whole is not effects.moved[0]


def share_of(
    part_WSN: np.ndarray,
    whole_WSN: np.ndarray,
    ways: Sequence[np.ndarray],
    options: SwapOptions,
) -> Share:
    """Ratio of means, with its interval where there are enough sequences."""
    whole = max(float(whole_WSN.mean()), np.finfo(float).tiny)
    value = float(part_WSN.mean()) / whole
    num = part_WSN.shape[-1]
    if num < MIN_SEQUENCES:
        return Share(value=value, low=None, high=None)
    rng = Seeds(options.seed).numpy("swap share")
    means = Studentised(num, options.resamples, rng, np.stack(ways))
    low, high = means.limits((part_WSN - value * whole_WSN)[..., None] / whole, options.ci)
    return Share(value=value, low=max(0.0, value + float(low[0])), high=value + float(high[0]))


def own_reach(effects: Effects, options: SwapOptions) -> Own:
    """The reach relative to what the same change does with no token kept."""
    share = share_of(effects.moved_by_way[0], effects.whole_by_way, effects.ways, options)
    effects = copy(effects)  # measured k stay shared
    effects.whole, effects.whole_by_way = effects.moved[0], effects.moved_by_way[0]
    doubt = Doubt(effects, options)
    if doubt.whole <= 3 * effects.floor:
        return Own(share=share, value=None, low=None, high=None, censored=False)
    if options.exact:
        sharpen(effects, doubt, [options.eps])
        narrow(effects, doubt, options.eps)
    value = within(doubt.crossing(options.eps), effects)
    low = high = None
    if share.low is not None:
        low, high = limits(doubt, effects, options, value)
    return Own(share=share, value=value, low=low, high=high, censored=value is None)
