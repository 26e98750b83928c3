"""Accuracy by distance and the monotone task reach."""

import numpy as np
import pytest
from scipy import stats

from howfar.measure import accuracy_by_distance, task_reach
from howfar.record.comparison import DistancePoint


def points(*lows):
    """Points at distances 2, 4, 8, ... with these lower bounds."""
    return [
        DistancePoint(distance=2 ** (i + 1), accuracy=1.0, low=low, high=1.0)
        for i, low in enumerate(lows)
    ]


def test_each_distance_has_its_own_wilson_interval():
    distance_N = np.array([5, 1, 5, 1, 5, 9])
    correct_N = np.array([1, 1, 0, 1, 1, 0])
    found = accuracy_by_distance(correct_N, distance_N)
    assert [(p.distance, p.count) for p in found] == [(1, 2), (5, 3), (9, 1)]
    assert [p.accuracy for p in found] == pytest.approx([1, 2 / 3, 0])
    for p, right in zip(found, (2, 2, 0), strict=True):
        twin = stats.binomtest(right, p.count).proportion_ci(0.95, method="wilson")
        assert (p.low, p.high) == pytest.approx((twin.low, twin.high), abs=1e-10)
    assert accuracy_by_distance(correct_N.astype(bool), distance_N) == found


def test_bounds_are_chance_corrected():
    # With 8 classes 0.85 above chance is an accuracy of 1/8 + 0.85 * 7/8 = 0.86875.
    assert task_reach(points(0.87), 1 / 8) == (2, True)
    assert task_reach(points(0.8687), 1 / 8) == (0, False)
    assert task_reach(points(0.86), 0.0) == (2, True)
    assert task_reach(points(0.86), 0.5) == (0, False)
    assert task_reach(points(0.6), 0.1, theta=0.5) == (2, True)


def test_the_first_failure_ends_it():
    assert task_reach(points(0.99, 0.99, 0.3, 0.99), 0.1) == (4, False)
    assert task_reach(points(0.3, 0.99), 0.1) == (0, False)
    assert task_reach(points(0.99, 0.99), 0.1) == (4, True)
    assert task_reach([], 0.1) == (0, False)


def test_order_does_not_matter():
    assert task_reach(points(0.99, 0.3, 0.99)[::-1], 0.1) == (2, False)


@pytest.mark.parametrize("memory", [1, 5, 16, 40])
def test_an_oracle_with_limited_memory(memory):
    """Right within its memory, one in eight beyond: the reach is the last distance within."""
    rng = np.random.default_rng(memory)
    distance_N = np.repeat([1, 2, 3, 4, 6, 8, 12, 16, 24, 32], 120)
    correct_N = (distance_N < memory) | (rng.random(1200) < 1 / 8)
    want = max([d for d in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32) if d < memory], default=0)
    assert task_reach(accuracy_by_distance(correct_N, distance_N), 1 / 8) == (want, memory == 40)
