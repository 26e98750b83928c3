"""Continuous delay: exact numbers, the spectrum of the smooth signal, errors in closed form."""

import math

import numpy as np
import pytest
import torch

from howfar.core.errors import UsageError
from howfar.tasks.base import distances, scored
from howfar.tasks.delay import AMPLITUDES, COSINES, Delay


@pytest.mark.parametrize("fastest", [0, 2, 7])
@pytest.mark.parametrize(("length", "lag"), [(7, 6), (9, 1), (64, 40), (700, 3)])
def test_oracle_and_distance(length, lag, fastest):
    task = Delay(length=7, lag=lag, fastest=fastest) if lag < 7 else Delay(length=64, lag=lag)
    task = task.at_length(length)
    batch = task.batch(range(50))
    assert batch.tokens.shape == (50, length, 1)
    assert batch.tokens.dtype == batch.targets.dtype == torch.float32
    for row in range(50):
        assert batch.targets[row] == batch.tokens[row].flatten().tolist()[length - 1 - lag]
    assert torch.equal(task.oracle(batch), scored(batch))
    assert (distances(batch) == lag).all()
    assert (batch.distance[:, :-1] == 0).all()


def test_white_numbers_are_uniform():
    numbers = Delay().batch(range(2000)).tokens.double().flatten().numpy()
    assert -1 < numbers.min() < -0.9999
    assert 0.9999 < numbers.max() < 1
    for power, want in ((1, 0.0), (2, 1 / 3), (4, 1 / 5)):
        spread = (numbers**power).std() / math.sqrt(numbers.size)
        assert abs((numbers**power).mean() - want) < 4 * spread


def test_a_smooth_item_against_a_slow_sum():
    """The same amplitudes, summed one by one as whole numbers in Python."""
    task = Delay(length=12, lag=3, fastest=4)
    got = task.batch([5]).tokens[0, :, 0].tolist()
    drawn = task.draws("train", [5]).below(AMPLITUDES, 12)[0].tolist()
    sizes = [2 * number - (AMPLITUDES - 1) for number in drawn]
    waves = len(sizes) // 2  # 2 * 12 / 4 = 6 periods at most in 24 positions
    assert waves == 6
    scale = COSINES * math.sqrt(3 * waves * (AMPLITUDES**2 - 1) / 3)
    for t, number in enumerate(got):
        total = 0
        for k in range(1, waves + 1):
            angle = 2 * math.pi * (k * t % 24) / 24
            total += sizes[k - 1] * round(COSINES * math.cos(angle))
            total += sizes[waves + k - 1] * round(COSINES * math.sin(angle))
        assert number == pytest.approx(total / scale, rel=1e-6)


def test_the_smooth_signal_has_its_band_and_variance():
    task = Delay(length=64, lag=10, fastest=8)
    signal = task.batch(range(4000)).tokens[:, :, 0].double().numpy()
    spread = signal.var() * math.sqrt(2 / 4000)  # positions of a row are not independent
    assert abs((signal**2).mean() - 1 / 3) < 4 * spread
    # Differences of twelfth order let through what is fast: a period of 4 is damped by nothing.
    rough = np.diff(signal, 12, axis=1).std()
    assert rough < (2 * math.sin(math.pi / 8)) ** 12 * signal.std()


@pytest.mark.parametrize(("lag", "fastest"), [(5, 0), (20, 0), (20, 8), (40, 8), (11, 3)])
def test_squared_errors_are_those_said(lag, fastest):
    task, count = Delay(length=64, lag=lag, fastest=fastest), 8000
    batch = task.batch(range(count), split="test")
    rows, y = batch.tokens[:, :, 0].double().numpy(), batch.targets.double().numpy()
    want = {"always 0": 1 / 3, "the last number": 2 / 3 * (1 - correlation(task, lag))}
    for name, rule in task.shortcuts.items():
        errors = (rule(batch).double().numpy() - y) ** 2
        spread = errors.std() / math.sqrt(count)
        if name.startswith("extrapolates"):
            window = int(name.split()[-1])
            weights = rule.keywords["weights"]
            expected = task.expected(weights)
            assert abs(errors.mean() - expected) < 4 * spread + 0.1 * expected + 1e-6
            fitted = np.linalg.lstsq(rows[:, -window:], y)[0]  # the best there is, on these rows
            assert ((rows[:, -window:] @ fitted - y) ** 2).mean() <= errors.mean() + 1e-9
            best = ((rows[:, -window:] @ fitted - y) ** 2).mean()
            assert errors.mean() < best * (1 + 4 * window / count) + 1e-4
            if not fastest:
                assert errors.mean() == pytest.approx(0 if lag < window else 1 / 3, abs=0.02)
        else:
            assert abs(errors.mean() - want[name]) < 4 * spread
    assert task.chance == 1 / 3


def correlation(task, lag):
    if not task.fastest:
        return 0.0
    waves = range(1, 2 * task.length // task.fastest + 1)
    return sum(math.cos(math.pi * k * lag / task.length) for k in waves) / len(waves)


@pytest.mark.parametrize("fastest", [0, 6])
def test_items_do_not_depend_on_their_batch(fastest):
    task = Delay(length=50, fastest=fastest, lag=20)
    together = task.batch(range(14)).tokens
    for shards in (2, 7):
        for first in range(shards):
            part = task.batch(range(first, 14, shards)).tokens
            assert torch.equal(part, together[first::shards])
    other = Delay(length=50, fastest=fastest, lag=20, seed=1).batch(range(14)).tokens
    assert not torch.equal(together, other)
    assert not torch.equal(together, task.batch(range(14), split="test").tokens)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"lag": 0}, "lag >= 1"),
        ({"length": 8, "lag": 8}, "lag < length"),
        ({"fastest": 1}, "2 <= fastest <= length"),
        ({"length": 40, "fastest": 41}, "2 <= fastest <= length"),
    ],
)
def test_bad_settings_are_named(settings, match):
    with pytest.raises(UsageError, match=match):
        Delay(**settings)


def test_there_are_no_ids():
    assert (Delay().vocabulary, Delay().outputs, Delay().symbols) == (0, 1, ())
