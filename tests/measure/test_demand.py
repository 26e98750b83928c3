"""How far the data itself reaches, against closed forms, planted dependencies and slow twins."""

from itertools import pairwise

import numpy as np
import pytest

from howfar.core.errors import DataError, UsageError
from howfar.measure.demand import (
    LabelOptions,
    MutualOptions,
    PredictOptions,
    label_demand,
    mutual_information,
    predictability,
)
from howfar.measure.demand.mutual import _plug_in
from howfar.measure.demand.predictability import _earlier


def entropy(p):
    p = np.asarray(p, dtype=float)
    return float(-(p[p > 0] * np.log2(p[p > 0])).sum())


def switching(num, flip, seed=0):
    """A binary chain that changes with probability `flip`."""
    changes = np.random.default_rng(seed).random(num) < flip
    return np.cumsum(changes) % 2


def at(curve, x):
    return curve.mean[curve.x.index(x)]


def test_a_sum_by_hand():
    """Pairs ab, ba, ab: p(a first) = 2/3, each first symbol decides the second."""
    bits, _ = _plug_in(np.array([0, 1, 0]), np.array([1, 0, 1]), 2)
    assert bits == pytest.approx(entropy([1 / 3, 2 / 3]), abs=1e-12)


@pytest.mark.parametrize("flip", [0.1, 0.3])
def test_a_binary_chain_has_its_closed_form(flip):
    """P(equal at lag d) = (1 + (1 - 2 flip)^d) / 2."""
    found = mutual_information([switching(100_000, flip)], MutualOptions(furthest=64))
    for lag in (1, 2, 4, 8):
        equal = (1 + (1 - 2 * flip) ** lag) / 2
        want = 1 - entropy([equal, 1 - equal])
        place = found.curve.x.index(lag)
        assert found.curve.low[place] - 1e-4 <= want <= found.curve.high[place] + 1e-4
        assert found.curve.mean[place] == pytest.approx(want, rel=0.1, abs=3e-4)


@pytest.mark.parametrize("seed", range(4))
def test_independent_tokens_depend_at_no_lag(seed):
    ids = np.random.default_rng(seed).integers(20, size=60_000)
    found = mutual_information([ids], MutualOptions(seed=seed))
    assert found.value is None
    assert max(abs(bits) for bits in found.curve.mean) < 2e-3


def test_an_isolated_copy_is_found_where_it_is():
    rng = np.random.default_rng(0)
    ids = rng.integers(8, size=60_000)
    for t in np.flatnonzero(rng.random(len(ids)) < 0.9):
        if t >= 20:
            ids[t] = ids[t - 20]
    found = mutual_information([ids], MutualOptions(lags=(1, 19, 20, 21, 30)))
    assert found.value == 20
    right = 0.9 + 0.1 / 8
    want = 3 - entropy([right] + [0.1 / 8] * 7)
    assert at(found.curve, 20) == pytest.approx(want, rel=0.03)
    assert abs(at(found.curve, 19)) < 0.003


def test_an_isolated_copy_is_found_without_being_named():
    """Lags 20 and 117 are no points of the grid; copies of copies reach their multiples."""
    for lag in (20, 117):
        rng = np.random.default_rng(lag)
        ids = rng.integers(8, size=40_000)
        for t in np.flatnonzero(rng.random(len(ids)) < 0.5):
            if t >= lag:
                ids[t] = ids[t - lag]
        found = mutual_information([ids], MutualOptions(furthest=256))
        assert found.value % lag == 0
        assert lag in found.curve.x
        assert at(found.curve, lag) > 0.3


def test_pairs_never_cross_rows():
    """Each row starts as the last one ended, yet rows hold nothing."""
    rng = np.random.default_rng(1)
    rows = [rng.integers(4, size=6) for _ in range(4000)]
    for before, row in pairwise(rows):
        row[0] = before[-1]
    found = mutual_information(rows)
    assert max(found.curve.x) == 5
    assert found.value is None


def test_many_rare_tokens_leave_no_bias():
    ids = np.random.default_rng(2).zipf(1.3, size=40_000) % 5000
    found = mutual_information([ids])
    assert found.value is None
    assert "count as one" in found.warnings[0]
    assert abs(at(found.curve, 1)) < 0.01


def test_long_runs_do_not_pass_for_far_dependence():
    """Tokens that stay for about 50 steps: the plain sum is inflated, the shuffled one as well."""
    rng = np.random.default_rng(3)
    ids = np.repeat(rng.integers(6, size=2000), rng.geometric(1 / 50, size=2000))
    found = mutual_information([ids])
    assert found.value is not None
    assert 64 <= found.value <= 384  # e^-2 .. e^-8 of the runs are that long


def test_few_rows_have_no_interval():
    rows = [switching(50, 0.1, seed) for seed in range(10)]
    found = mutual_information(rows, MutualOptions(tokens=100))
    assert found.num_sequences >= 2
    assert mutual_information(rows[:1] * 2, MutualOptions(tokens=40)).warnings


@pytest.mark.parametrize("rows", [[], [np.array([1])], [np.array([], dtype=int)] * 3])
def test_nothing_to_pair_is_said(rows):
    with pytest.raises(DataError):
        mutual_information(rows)


def earlier_twin(ids, m):
    found = []
    for i in range(len(ids)):
        gram = tuple(ids[i - m + 1 : i + 1]) if i >= m - 1 else None
        ends = [j for j in range(m - 1, i) if tuple(ids[j - m + 1 : j + 1]) == gram]
        found.append(ends[-1] if gram and ends else -1)
    return found


@pytest.mark.parametrize("m", [1, 2, 5])
def test_earlier_places_are_their_twin(m):
    ids = np.random.default_rng(m).integers(3, size=80)
    got = _earlier(ids, m)
    inside = np.arange(len(ids)) >= m - 1
    np.testing.assert_array_equal(got[inside], np.array(earlier_twin(ids.tolist(), m))[inside])


def split(ids):
    a, b = int(0.7 * len(ids)), int(0.8 * len(ids))
    return [ids[:a]], [ids[a:b]], [ids[b:]]


def test_a_chain_needs_one_token():
    flip = 0.2
    found = predictability(*split(switching(60_000, flip)), 2, PredictOptions(furthest=64))
    assert (found.value, found.censored) == (1, False)
    assert at(found.curve, 0) == pytest.approx(1, abs=0.01)
    assert at(found.curve, 1) == pytest.approx(entropy([flip, 1 - flip]), abs=0.02)
    assert at(found.curve, 32) == pytest.approx(at(found.curve, 1), abs=0.01)


def test_independent_tokens_need_none():
    ids = np.random.default_rng(0).integers(16, size=60_000)
    found = predictability(*split(ids), 16, PredictOptions(furthest=64))
    assert found.value == 0
    assert at(found.curve, 64) == pytest.approx(4, abs=0.01)


def test_a_repetition_needs_its_period_and_the_match():
    """Every block of 30 stands twice: copies are seen from 31 tokens on, surely by 33 (a match of
    two or three of 64 symbols)."""
    rng = np.random.default_rng(1)
    blocks = [rng.integers(64, size=30) for _ in range(1500)]
    ids = np.concatenate([np.tile(block, 2) for block in blocks])
    found = predictability(*split(ids), 64, PredictOptions(furthest=128))
    assert 31 <= found.value <= 36
    assert at(found.curve, 24) == pytest.approx(6, abs=0.08)
    # Half of the tokens, less a few at the start of a copy, are said by the copy.
    assert at(found.curve, 128) == pytest.approx(3.6, abs=0.5)
    assert found.copied == pytest.approx(0.5, abs=0.06)


def test_rows_do_not_lend_to_each_other():
    rng = np.random.default_rng(2)
    row = rng.integers(50, size=40)
    fresh = [rng.integers(50, size=40) for _ in range(300)]
    found = predictability(fresh, fresh[:50], [row] * 60, 50)
    assert at(found.curve, found.curve.x[-1]) > 4.5


def test_a_need_near_the_longest_context_is_censored():
    rng = np.random.default_rng(3)
    blocks = [rng.integers(64, size=100) for _ in range(500)]
    ids = np.concatenate([np.tile(block, 2) for block in blocks])
    found = predictability(*split(ids), 64, PredictOptions(furthest=128))
    assert (found.value, found.censored) == (None, True)


@pytest.mark.parametrize("rows", [[], [np.array([1])]])
def test_nothing_to_predict_is_said(rows):
    text = [np.arange(50) % 3]
    with pytest.raises(DataError):
        predictability(text, text, rows, 3)


def keyed(num, place, seed):
    """The class stands `place` tokens before the end of 40."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=num)
    rows = rng.integers(2, 30, size=(num, 40))
    rows[:, -place] = labels
    return list(rows), labels


def test_a_planted_word_is_needed_from_its_place_on():
    train, test = keyed(400, 10, 0), keyed(200, 10, 1)
    options = LabelOptions(kept=(1, 4, 9, 10, 20))
    last = label_demand(*train, *test, side="last", options=options)
    assert last.value == 10
    assert last.whole > 0.97
    assert at(last.curve, 9) < 0.65
    assert at(last.curve, 10) == 1
    first = label_demand(*train, *test, side="first", options=LabelOptions(kept=(30, 31, 35)))
    assert first.value == 31
    assert first.chance == pytest.approx(0.5, abs=0.1)


def test_labels_that_need_all_are_censored():
    train, test = keyed(400, 40, 0), keyed(200, 40, 1)
    assert label_demand(*train, *test, side="last").censored


def test_one_label_is_told_by_the_commonest():
    rows = [np.array([1, 2])] * 40
    found = label_demand(rows, np.zeros(40, int), rows, np.zeros(40, int))
    assert (found.value, found.whole, found.chance) == (1, 1.0, 1.0)


@pytest.mark.parametrize("options", [{"furthest": 0}, {"lags": ()}, {"ci": 1.0}, {"tokens": 1}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(UsageError):
        MutualOptions(**options)


def test_a_side_nobody_knows_is_refused():
    with pytest.raises(UsageError, match="side"):
        label_demand([np.array([1])], np.array([0]), [np.array([1])], np.array([0]), side="up")
