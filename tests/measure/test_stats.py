"""Bootstrap, monotone fit, crossings and binomial intervals against slow twins."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from howfar.measure.stats import Bootstrap, cells, crossing, falling, interval, log_grid, wilson

curves = st.lists(st.floats(0, 2), min_size=1, max_size=12)


def falling_twin(values):
    """The max-min formula: fit_i = min over a <= i of max over b >= i of mean(a .. b)."""
    size = len(values)
    return [
        min(max(float(np.mean(values[a : b + 1])) for b in range(i, size)) for a in range(i + 1))
        for i in range(size)
    ]


def crossing_twin(kept, values, eps):
    """The definition on a grid of every k: the fit stays at or below eps from there on."""
    fit = falling_twin(values)
    good = [k for i, k in enumerate(kept) if all(f <= eps for f in fit[i:])]
    return min(good) if good else None


@given(curves)
@settings(deadline=None)
def test_the_fit_is_the_max_min_formula_and_never_rises(values):
    fit = falling(np.array(values))
    np.testing.assert_allclose(fit, falling_twin(values), atol=1e-10)
    assert (np.diff(fit) <= 1e-12).all()


def test_the_fit_by_hand():
    np.testing.assert_allclose(falling(np.array([1, 0.2, 0.4, 0.3, 0.0])), [1, 0.3, 0.3, 0.3, 0])


@given(curves, st.floats(0.01, 0.9))
@settings(deadline=None)
def test_a_crossing_on_every_k_is_the_definition(values, eps):
    fit = falling_twin(values)
    if min(abs(f - eps) for f in fit) < 1e-9:
        return
    kept = list(range(len(values)))
    assert crossing(kept, np.array(values), eps) == crossing_twin(kept, values, eps)


@pytest.mark.parametrize(("rate", "eps"), [(0.3, 0.05), (0.05, 0.05), (0.01, 0.5), (1.0, 0.001)])
def test_between_grid_points_an_exponential_is_found_exactly(rate, eps):
    kept = [0, 4, 64, 4096]
    want = math.ceil(-math.log(eps) / rate - 1e-9)
    assert crossing(kept, np.exp(-rate * np.array(kept)), eps) == want


def test_between_grid_points_a_fall_to_zero_is_linear():
    # From 1 at 0 to 0 at 100: 0.05 is met at 95; at 0.5 after half the way.
    assert crossing([0, 100], np.array([1.0, 0.0]), 0.05) == 95
    assert crossing([0, 100], np.array([1.0, 0.0]), 0.5) == 50


def test_grid_points_weigh_as_many_k_as_they_stand_for():
    np.testing.assert_array_equal(cells(range(7)), np.ones(7))
    np.testing.assert_array_equal(cells([0, 1, 4, 8]), [1, 2, 3.5, 2.5])
    # Levelled over the 40 tokens that k = 1, 2, 3 and 40 stand for: 19 * 0.12 / 40 = 0.057.
    ratio_K = np.array([1, 0.0, 0.0, 0.0, 0.12, 0.0])
    assert crossing([0, 1, 2, 3, 40, 41], ratio_K, 0.05) == 41
    assert crossing([0, 1, 2, 3, 4, 5], ratio_K, 0.05) == 1


def test_a_dip_does_not_count_where_the_curve_comes_back():
    assert crossing([0, 1, 2, 3], np.array([1, 0.0, 0.4, 0.01]), 0.05) == 3
    assert crossing([0, 1, 2, 3], np.array([1, 0.0, 0.4, 0.2]), 0.05) is None
    assert crossing([0, 1], np.array([1.0, 0.05]), 0.05) == 1


def test_bootstrap_means_are_those_of_the_rows_drawn():
    rng = np.random.default_rng(1)
    values_SN = rng.random((3, 7))
    bootstrap = Bootstrap((3, 7), 50, np.random.default_rng(2))
    for r, mean in enumerate(bootstrap.means(values_SN)):
        models = np.repeat(np.arange(3), bootstrap.models_RS[r])
        rows = np.repeat(np.arange(7), bootstrap.sequences_RN[r])
        assert (len(models), len(rows)) == (3, 7)
        twin = sum(values_SN[s, i] for s in models for i in rows) / 21
        assert mean == pytest.approx(twin, abs=1e-12)


def test_bootstrap_spread_is_the_standard_error():
    rng = np.random.default_rng(3)
    values_1N = rng.normal(0, 1, (1, 400))
    means = Bootstrap((1, 400), 4000, np.random.default_rng(4)).means(values_1N)
    assert means.std() == pytest.approx(values_1N.std() / 20, rel=0.05)
    both = rng.normal(0, 1, (40, 1)) + rng.normal(0, 1, (1, 400))
    spread = Bootstrap((40, 400), 4000, np.random.default_rng(4)).means(both).std()
    want = math.hypot(both.mean(1).std() / math.sqrt(40), both.mean(0).std() / 20)
    assert spread == pytest.approx(want, rel=0.06)


def test_the_interval_is_the_middle():
    low, high = interval(np.arange(1001.0)[:, None] * [1, 2], 0.9)
    assert [*low, *high] == pytest.approx([50, 100, 950, 1900])


@given(st.integers(1, 500), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
@settings(deadline=None)
def test_wilson_is_scipys_and_the_root_of_the_score_equation(trials, share, ci):
    right = round(share * trials)
    low, high = wilson(right, trials, ci)
    twin = stats.binomtest(right, trials).proportion_ci(ci, method="wilson")
    assert (low, high) == pytest.approx((twin.low, twin.high), abs=1e-10)
    z = stats.norm.ppf((1 + ci) / 2)
    for p in (low, high):
        if 1e-6 < p < 1 - 1e-6:
            assert (right / trials - p) ** 2 == pytest.approx(
                z * z * p * (1 - p) / trials, rel=1e-6
            )
    assert 0 <= low <= right / trials <= high <= 1


def test_wilson_by_hand_and_at_the_ends():
    # n = 1, z = 1.959964: z^2 = 3.841459, so [1 / (1 + z^2), 1].
    assert wilson(1, 1) == (pytest.approx(1 / 4.841459, abs=1e-6), 1.0)
    assert wilson(0, 1) == (0.0, pytest.approx(3.841459 / 4.841459, abs=1e-6))
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_grid_has_two_points_an_octave():
    assert log_grid(40) == [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40]
    assert log_grid(0) == [0]
    assert log_grid(3) == [0, 1, 2, 3]
    assert log_grid(20, dense=8) == [*range(9), 12, 16, 20]
    assert all(log_grid(n)[-1] == n and log_grid(n)[0] == 0 for n in range(300))
