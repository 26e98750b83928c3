"""The learning rate over the share of the budget that is used.

Idea     linear warm-up to the peak, then down to `final` of it along a cosine or a line, or not
Source   Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983 (cosine)
"""

import math
from collections.abc import Callable

SCHEDULES: dict[str, Callable[[float], float]] = {  # share of the way down -> 1 .. 0
    "cosine": lambda way: 0.5 * (1 + math.cos(math.pi * way)),
    "linear": lambda way: 1 - way,
    "constant": lambda way: 1.0,
}
LEAST = 0.05  # of the peak, so that the first step does something


def rate_at(share: float, *, schedule: str, warmup: float, final: float) -> float:
    """Learning rate as a share of its peak, after `share` of the budget."""
    if share < warmup:
        return max(share / warmup, LEAST)
    way = min((share - warmup) / (1 - warmup), 1.0)
    return final + (1 - final) * SCHEDULES[schedule](way)
