"""A callable and tokens in, a curve, one number and its doubt out. Knows no model of ours."""

from howfar.measure.distance import accuracy_by_distance, task_reach
from howfar.measure.interaction import InteractionOptions, InteractionReach, interaction_reach
from howfar.measure.swap import SwapOptions, SwapReach, swap_reach

MEASURES = {"swap": swap_reach, "interaction": interaction_reach}

__all__ = [
    "MEASURES",
    "InteractionOptions",
    "InteractionReach",
    "SwapOptions",
    "SwapReach",
    "accuracy_by_distance",
    "interaction_reach",
    "swap_reach",
    "task_reach",
]
