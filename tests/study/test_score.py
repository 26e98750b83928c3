import math

import numpy as np
import pytest
from scipy import stats

from howfar.core.seeds import Seeds
from howfar.study.score import accuracy_score, bits_score


def test_all_right_has_the_interval_of_wilson():
    score = accuracy_score(np.ones((3, 50), dtype=bool), seed=1)
    wilson = stats.binomtest(50, 50).proportion_ci(method="wilson")
    assert (score.name, score.value, score.better) == ("accuracy", 1.0, "higher")
    assert score.low == pytest.approx(wilson.low, abs=1e-12)
    assert score.high == pytest.approx(1.0)


@pytest.mark.parametrize("right", [0, 3, 25, 49])
def test_it_is_never_narrower_than_wilson(right):
    score = accuracy_score((np.arange(50) < right)[None], seed=1)
    wilson = stats.binomtest(right, 50).proportion_ci(method="wilson")
    assert score.value == right / 50
    assert score.low <= wilson.low + 1e-12
    assert score.high >= wilson.high - 1e-12


def test_one_seed_is_the_plain_bootstrap_over_items():
    random = np.random.default_rng(3)
    nats_1W = random.normal(2.0, 0.5, (1, 200))
    score = bits_score(nats_1W, np.ones(200), "bits per character", seed=2, resamples=4000)
    draws = nats_1W[0][random.integers(200, size=(4000, 200))].mean(1) / math.log(2)
    low, high = np.quantile(draws, (0.025, 0.975))
    assert score.low == pytest.approx(low, abs=0.01)
    assert score.high == pytest.approx(high, abs=0.01)


def test_weights_by_hand_and_both_axes_vary():
    # (1 * 1 + 3 * 2) / 4 = 1.75 bits for the first seed, one bit more for the second.
    bits_SW = np.array([[1.0, 2.0], [2.0, 3.0]])
    score = bits_score(bits_SW * math.log(2), np.array([1, 3]), "bits per byte", seed=2)
    assert (score.name, score.better) == ("bits per byte", "lower")
    assert score.value == pytest.approx(2.25)
    # The extremes are drawn: the same seed and the same window both times, 1 in 16 each.
    assert score.low == pytest.approx(1.0)
    assert score.high == pytest.approx(3.0)


def test_items_are_drawn_once_for_all_seeds():
    # Ten seeds that agree on every item know no more than one.
    right_1N = (np.arange(400) % 2 == 0)[None].astype(float)
    one = bits_score(right_1N, np.ones(400), "bits", seed=4)
    ten = bits_score(np.repeat(right_1N, 10, axis=0), np.ones(400), "bits", seed=4)
    assert ten.high - ten.low == pytest.approx(one.high - one.low, rel=0.1)


def test_a_window_is_drawn_with_its_weight():
    bits_1W = np.repeat([[9.0, 1.0]], 50, axis=0).reshape(1, 100)
    weights = np.tile([1e-6, 1.0], 50)
    score = bits_score(bits_1W * math.log(2), weights, "bits", seed=3)
    assert score.low == pytest.approx(1, abs=1e-4)
    assert score.high == pytest.approx(1, abs=1e-4)


def test_an_empty_window_is_never_drawn_alone():
    score = bits_score(np.array([[1.0, 9.0]]), np.array([5, 0]), "bits", seed=0)
    assert score.value == pytest.approx(1 / math.log(2))
    assert score.low is None
    assert score.high is None


def covered(draw, truth, runs):
    scores = [draw() for _ in range(runs)]
    return np.mean([score.low <= truth <= score.high for score in scores])


def test_accuracy_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(11)

    def draw():
        return accuracy_score(random.random((1, 100)) < 0.8, seed=0, resamples=300)

    assert 0.93 <= covered(draw, 0.8, 600) <= 0.98


def test_loss_covers_the_truth_with_seeds_and_windows_that_differ():
    random = np.random.default_rng(12)

    def draw():
        nats_SW = random.normal(0, 0.1, (8, 1)) + random.normal(0, 1, (1, 100)) + 2
        return bits_score(nats_SW, np.ones(100), "bits", seed=0, resamples=300)

    assert 0.91 <= covered(draw, 2 / math.log(2), 600) <= 0.98


def test_the_same_seed_gives_the_same_interval():
    right_SN = np.random.default_rng(1).random((3, 300)) < 0.7
    assert accuracy_score(right_SN, seed=5) == accuracy_score(right_SN, seed=5)
    assert accuracy_score(right_SN, seed=5) != accuracy_score(right_SN, seed=6)


def test_many_items_are_drawn_in_parts(monkeypatch):
    monkeypatch.setattr("howfar.study.score.CELLS", 700)
    score = accuracy_score(np.random.default_rng(1).random((2, 300)) < 0.7, seed=5)
    assert score.low < score.value < score.high


@pytest.mark.parametrize("shape", [(5,), (0, 5), (5, 0)])
def test_a_table_without_cells_is_refused(shape):
    with pytest.raises(ValueError, match="seeds, items"):
        accuracy_score(np.ones(shape), seed=0)


@pytest.mark.parametrize("weights", [(1,), (1, -1), (0, 0)])
def test_wrong_weights_are_refused(weights):
    with pytest.raises(ValueError, match="weight"):
        bits_score(np.ones((1, 2)), np.array(weights), "bits", seed=0)


def test_the_interval_is_that_of_the_seeds_and_items_drawn():
    """A slow twin: repeat every drawn seed and item, average, take the middle."""
    bits_SW = np.random.default_rng(5).random((3, 7))
    weights = np.array([1, 2, 3, 4, 5, 6, 7])
    score = bits_score(bits_SW * math.log(2), weights, "bits", seed=9, resamples=200)
    rng = Seeds(9).numpy("bootstrap")
    seeds_RS = rng.multinomial(3, np.full(3, 1 / 3), 200)
    items_RN = rng.multinomial(7, np.full(7, 1 / 7), 200)
    means = []
    for seeds, items in zip(seeds_RS, items_RN, strict=True):
        drawn = [(s, i) for s in np.repeat(range(3), seeds) for i in np.repeat(range(7), items)]
        total = math.fsum(bits_SW[s, i] * weights[i] for s, i in drawn)
        means.append(total / sum(int(weights[i]) for _, i in drawn))
    low, high = np.quantile(means, (0.025, 0.975))
    assert (score.low, score.high) == pytest.approx((low, high), abs=1e-12)
    assert score.value == pytest.approx((bits_SW @ weights).mean() / 28)
