"""Accuracy by known distance, and the task reach read off it.

Idea     each scored target carries its distance d; accuracy(d) with a Wilson interval
         task reach = largest d such that at every tested d' <= d the lower bound of the
         chance-corrected accuracy (a - chance) / (1 - chance) is at least theta
Units    distance in tokens
Source   the threshold 0.85 follows RULER's effective length, https://arxiv.org/abs/2404.06654;
         the monotone rule is ours
"""

from collections.abc import Sequence

import numpy as np

from howfar.measure.stats import wilson
from howfar.record.comparison import DistancePoint

THETA = 0.85


def accuracy_by_distance(
    correct_N: np.ndarray, distance_N: np.ndarray, ci: float = 0.95
) -> tuple[DistancePoint, ...]:
    """Accuracy at each distance that occurs: correct (N,) 0/1, distance (N,) tokens."""
    points = []
    for distance in np.unique(distance_N):
        here = correct_N[distance_N == distance]
        right, count = int(here.sum()), int(here.size)
        low, high = wilson(right, count, ci)
        points.append(
            DistancePoint(
                distance=int(distance), accuracy=right / count, low=low, high=high, count=count
            )
        )
    return tuple(points)


def task_reach(
    points: Sequence[DistancePoint], chance: float, theta: float = THETA
) -> tuple[int, bool]:
    """The largest distance solved together with every shorter one, and whether it is censored.

    0 where none is solved; censored where all tested distances are. Of a bin of distances its first
    one counts.
    """
    solved = 0
    for point in sorted(points, key=lambda point: point.distance):
        if (point.low - chance) / (1 - chance) < theta:
            return solved, False
        solved = point.distance
    return solved, bool(points)
