"""Bootstrap, monotone fit, crossings and binomial intervals against slow twins."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from howfar.measure.stats import (
    Bootstrap,
    Studentised,
    cells,
    crossing,
    crossing_limits,
    falling,
    interval,
    log_grid,
    wilson,
)

curves = st.lists(st.floats(0, 2), min_size=1, max_size=12)


def falling_twin(values):
    """The max-min formula: fit_i = min over a <= i of max over b >= i of mean(a .. b)."""
    size = len(values)
    return [
        min(max(float(np.mean(values[a : b + 1])) for b in range(i, size)) for a in range(i + 1))
        for i in range(size)
    ]


def limits_twin(values, ways, drawn, ci=0.95):
    """The studentised interval of one column's mean, pair by pair: values (W, S, N), ways (W, N).

    The variance counts each pair of effects as often as they have a sequence in common.
    """
    values = np.asarray(values, dtype=float)
    num_ways, models, num = values.shape
    rows = values.mean((0, 1))
    mean = rows.mean()
    plain = ((rows - mean) ** 2).sum() / num / max(num - 1, 1)
    edges = [
        (values[w, :, i].mean() - mean, {i, int(ways[w][i])})
        for w in range(num_ways)
        for i in range(num)
    ]
    shared = sum(
        one * two * (len(a & b) if p != q else 1)
        for p, (one, a) in enumerate(edges)
        for q, (two, b) in enumerate(edges)
        if a & b
    )
    variance = max(plain, shared / (num_ways * num) ** 2 * num / (num - 1))
    if models > 1:
        variance += values.mean((0, 2)).var(ddof=1) / models
    ts = []
    for taken in drawn:
        some = rows[taken]
        own = math.sqrt(max(((some - some.mean()) ** 2).mean(), 0) / max(num - 1, 1))
        scale = max(own, math.sqrt(plain) / 3, 1e-300)
        ts.append((some.mean() - mean) / scale)
    low, high = np.quantile(ts, [(1 - ci) / 2, (1 + ci) / 2])
    return mean - high * math.sqrt(variance), mean - low * math.sqrt(variance)


def drawn_rows(means):
    """The rows of every bootstrap sample of a `Studentised`."""
    num = means.share_RN.shape[1]
    times_RN = (means.share_RN * num).round().astype(int)
    return [np.repeat(np.arange(num), times) for times in times_RN]


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


def chains(ways, num, rng):
    """Donors in rings, as `probe.donors` gives them."""
    found = []
    for _ in range(ways):
        order = rng.permutation(num)
        way = np.empty(num, dtype=int)
        way[order] = np.roll(order, 1)
        found.append(way)
    return np.stack(found)


@pytest.mark.parametrize(("ways", "models", "num"), [(1, 1, 30), (3, 1, 12), (1, 2, 8), (2, 3, 2)])
def test_studentised_limits_are_their_twin(ways, models, num):
    rng = np.random.default_rng(0)
    values = rng.exponential(size=(ways, models, num, 3)) ** 2
    donors = chains(ways, num, rng)
    means = Studentised(num, 80, rng, donors)
    low_K, high_K = means.limits(values, 0.9)
    for k in range(3):
        twin = limits_twin(values[..., k], donors, drawn_rows(means), 0.9)
        np.testing.assert_allclose((low_K[k], high_K[k]), twin, rtol=1e-9)


def test_many_columns_are_worked_out_as_each_alone():
    rng = np.random.default_rng(1)
    values = rng.exponential(size=(1, 20, 600))
    means = Studentised(20, 50, rng)
    low_K, high_K = means.limits(values, 0.95)
    for k in (0, 255, 256, 599):
        alone = means.limits(values[..., k : k + 1], 0.95)
        np.testing.assert_allclose((low_K[k], high_K[k]), np.ravel(alone), rtol=1e-9)


def test_equal_values_leave_no_doubt():
    low, high = Studentised(40, 50, np.random.default_rng(0)).limits(np.full((1, 40, 1), 3.0), 0.95)
    np.testing.assert_allclose((low[0], high[0]), 3, rtol=1e-12)


@pytest.mark.parametrize("shared", [False, True])
def test_studentised_intervals_cover_a_skewed_mean(shared):
    """Squares of differences of neighbours in a ring, truth 2: they share sequences."""
    held, repeats, num = 0, 400, 40
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal(num)
        donors = chains(1, num, rng)
        values = (x - (x[donors[0]] if shared else rng.standard_normal(num))) ** 2
        means = Studentised(num, 300, rng, donors if shared else None)
        low, high = means.limits(values[None, :, None], 0.95)
        held += low[0] <= 2 <= high[0]
    assert 0.915 <= held / repeats <= 0.985


def test_without_the_ring_the_interval_is_too_narrow():
    """The same squares, taken for independent: fewer than nine in ten hold the truth."""
    held, repeats, num = 0, 400, 40
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal(num)
        values = (x - x[chains(1, num, rng)[0]]) ** 2
        low, high = Studentised(num, 300, rng).limits(values[None, :, None], 0.95)
        held += low[0] <= 2 <= high[0]
    assert held / repeats < 0.91


@pytest.mark.parametrize(
    ("low", "high", "want"),
    [
        ([1, 1, -1, -1], [2, 2, 1, -1], (5, 6)),
        ([1, 1, 1, 1], [2, 2, 2, 2], (7, None)),
        ([-1, -1, -1, -1], [0, 0, 0, 0], (0, 0)),
        ([1, -1, 1, -1], [2, 1, 2, 1], (1, None)),
        ([1, 1, -1, -2], [2, 0, 1, -1], (5, 6)),
    ],
)
def test_crossing_limits_by_hand(low, high, want):
    """At 0, 4, 5 and 6 kept tokens: the end of what is surely above, the start of surely not."""
    assert crossing_limits([0, 4, 5, 6], np.array(low), np.array(high)) == want
