"""Swap reach on models whose reach is known in closed form."""

import math

import numpy as np
import pytest
import torch
from tests.measure import known

from howfar.core.errors import DataError, UsageError
from howfar.measure import SwapOptions, swap_reach

DESIGNS = ["paired", "fast"]


def measure(predict, tokens, **options):
    return swap_reach(predict, tokens, options=SwapOptions(**options))


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize(("a", "want"), [(0.9, 15), (0.97, 50)])
def test_g1_exponential_decay(design, a, want):
    assert want == math.ceil(math.log(0.05) / (2 * math.log(a)))
    options = {"design": design, "batch": 5000, "resamples": 200}
    found = measure(known.decay(a), known.iid(20_000, 256), **options)
    # r(49) = .0505 for a = .97: pairs of 20,000 sequences leave one token of doubt there.
    assert abs(found.value - want) <= (1 if (design, a) == ("paired", 0.97) else 0)
    assert found.low <= want <= found.high
    for k in (1, 6, 12, 16, 24):
        if k in found.curve.kept:
            place = found.curve.kept.index(k)
            assert found.curve.mean[place] == pytest.approx(a ** (2 * k), rel=0.06)


@pytest.mark.parametrize("design", DESIGNS)
def test_g2_delay(design):
    found = measure(known.delay(40), known.iid(64, 256), design=design)
    assert (found.value, found.r50, found.low, found.high) == (41, 41, 41, 41)
    assert found.structural == 41
    assert found.detectable == 41
    assert set(found.ladder.values()) == {41}


@pytest.mark.parametrize("design", DESIGNS)
def test_g3_boxcar(design):
    found = measure(known.boxcar(30), known.iid(256, 256), design=design)
    assert found.value == 29
    assert 28 <= found.low <= 29 <= found.high <= 30
    assert found.structural == found.detectable == 30


def test_g4_cumulative_mean():
    paired = measure(known.cumulative_mean, known.iid(20_000, 128), batch=5000)
    assert paired.value == 122
    assert 120 <= paired.low <= 122 <= paired.high <= 123
    fast = measure(known.cumulative_mean, known.iid(64, 256), design="fast")
    assert fast.censored
    assert fast.value is None
    assert fast.window == 128


def test_g6_two_modes():
    def predict(x, lengths):
        return 0.9 * known.decay(0.5)(x, lengths) + 0.1 * known.decay(0.99)(x, lengths)

    found = measure(predict, known.iid(6000, 512), batch=2000)
    assert found.r50 == 1
    assert found.low <= 82 <= found.high
    assert abs(found.value - 82) <= 3


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_g7_dilated_convolutions(design, dtype):
    predict = known.dilated()

    def cast(x, lengths):
        return predict(x.double(), lengths).to(dtype)

    found = measure(cast, known.iid(64, 128).to(dtype), design=design)
    assert found.structural == 15
    assert found.value <= 15
    beyond = [m for k, m in zip(found.curve.kept, found.curve.mean, strict=True) if k >= 15]
    assert beyond
    assert max(beyond) == 0.0


@pytest.mark.parametrize("design", DESIGNS)
def test_g8_parity(design):
    found = measure(known.parity(12), known.signs(64, 64), design=design)
    assert (found.value, found.r50) == (12, 12)
    assert found.structural == 12


def test_g9_saturated_far_path():
    def predict(x, lengths):
        return torch.tanh(50 * torch.roll(x, 40, dims=1)) + 0.1 * x

    assert measure(predict, known.signs(64, 128)).value == 41


def test_g10_redundant_copies():
    def predict(x, lengths):
        far = torch.stack([torch.roll(x, d, dims=1) for d in (20, 21, 22)])
        return far.sum(0).sign()

    tokens = known.signs(64, 1).expand(64, 64).contiguous()
    found = measure(predict, tokens)
    assert found.value == 22
    assert found.curve.mean[found.curve.kept.index(21)] > 0.05
    assert found.curve.mean[found.curve.kept.index(22)] == 0


def two_decays(rows, seed):
    """G11: half of the sequences fade with 0.8, half with 0.97; the first input names which."""
    slow = torch.from_numpy(np.random.default_rng(seed).integers(2, size=rows))

    def predict(x, lengths):
        fast = known.decay(0.8)(x, lengths)
        long = known.decay(0.97)(x, lengths)
        if len(x) != rows:  # the first look at the output's type
            return fast
        return torch.where(slow[:, None] > 0, long, fast)

    return predict, known.iid(rows, 128, seed)


@pytest.mark.parametrize("design", DESIGNS)
def test_g11_interval_covers_the_truth(design):
    """Of 200 intervals of 95 % between 88 % and 99 % hold the truth; docs/coverage.md has more."""
    covered = 0
    for seed in range(200):
        predict, tokens = two_decays(64, 1000 + seed)
        found = measure(predict, tokens, design=design, resamples=300, seed=seed)
        high = found.high if found.high is not None else 10**6
        covered += found.low <= truth(design) <= high
    assert 176 <= covered <= 198, covered


def truth(design):
    """Closed form of the mixture's reach, T = 128: by the available history of each design."""
    history = 128 if design == "paired" else 64

    def tail(a, k, last):
        return sum(a ** (2 * d) for d in range(k, last))

    for k in range(200):
        last = history if design == "paired" else history + k
        whole = tail(0.8, 0, history) + tail(0.97, 0, history)
        if (tail(0.8, k, last) + tail(0.97, k, last)) / whole <= 0.05:
            return k
    raise AssertionError


def test_g11_truth_is_the_published_one():
    assert truth("paired") in (46, 47)


@pytest.mark.parametrize("design", DESIGNS)
def test_g12_copy_language_model_in_bits(design):
    found = measure(known.copy_language_model(20, 8), known.symbols(4000, 64, 8), design=design)
    assert found.value == 21
    # Replaced wholly, the donor's symbol differs 7 times in 8: C(0) = 7/8 JS(...) = .7258 bits.
    assert found.curve.matrix[..., 0].mean() == pytest.approx(0.7258, abs=0.015)


@pytest.mark.parametrize("design", DESIGNS)
def test_g14_memoryless(design):
    found = measure(lambda x, lengths: x**3, known.iid(64, 64), design=design)
    assert (found.value, found.low, found.high, found.structural) == (1, 1, 1, 1)


@pytest.mark.parametrize("design", DESIGNS)
def test_g15_constant_is_no_influence(design):
    found = measure(lambda x, lengths: torch.ones_like(x), known.iid(64, 64), design=design)
    assert found.value is None
    assert not found.censored
    assert any("no influence" in warning for warning in found.warnings)


def test_equal_donor_changes_nothing():
    row = known.iid(1, 64)
    found = measure(known.decay(0.9), row.expand(64, 64).contiguous())
    assert found.curve.matrix.max() == 0
    assert found.value is None


def test_output_scale_does_not_matter():
    tokens = known.iid(64, 64)
    small = measure(known.decay(0.9), tokens)
    large = measure(lambda x, n: 1e6 * known.decay(0.9)(x, n), tokens)
    assert small.value == large.value
    assert small.curve.mean == pytest.approx(large.curve.mean)


def test_a_delay_adds_its_length():
    tokens = known.iid(64, 128)
    plain = measure(known.boxcar(10), tokens)
    later = measure(known.linear([0.0] * 7 + [0.1] * 10), tokens)
    assert later.value == plain.value + 7


def test_batches_do_not_matter():
    tokens = known.iid(100, 64)
    one = measure(known.decay(0.9), tokens, batch=100)
    two = measure(known.decay(0.9), tokens, batch=7)
    np.testing.assert_allclose(one.curve.matrix, two.curve.matrix, rtol=1e-9, atol=1e-15)


def test_padding_is_never_swapped_and_targets_are_last():
    tokens = known.iid(64, 40)
    lengths = torch.randint(20, 41, (64,), generator=torch.Generator().manual_seed(1))
    seen = []

    def predict(x, n):
        seen.append(x.clone())
        return known.delay(5)(x, n)

    garbage = tokens.clone()
    garbage[torch.arange(40)[None] >= lengths[:, None]] = 99.0
    found = swap_reach(predict, garbage, lengths=lengths)
    assert found.value == 6
    pads = torch.arange(40)[None] >= lengths[:, None]
    full = [x for x in seen if len(x) == 64]
    assert full
    assert all((x[pads] == 99.0).all() for x in full)
    assert not any((x[~pads] == 99.0).any() for x in full)


def test_benefit_of_a_known_copy():
    """The far symbol is worth exactly the drop in loss it brings, and nothing beyond it."""
    lag, count = 6, 8
    tokens = known.symbols(2000, 41, count)
    labels = torch.roll(tokens, lag, dims=1)
    predict = known.copy_language_model(lag, count)
    found = swap_reach(predict, tokens, labels=labels, options=SwapOptions())
    assert found.useful == lag + 1
    flat = 0.1 / count
    right, wrong = -math.log(0.9 + flat), -math.log(flat)
    worth = 7 / 8 * (wrong - right)
    assert found.benefit.mean[0] == pytest.approx(worth, rel=0.05)
    assert found.benefit.mean[found.benefit.kept.index(lag + 1)] == 0
    fast = swap_reach(predict, tokens, labels=labels, options=SwapOptions(design="fast"))
    assert fast.useful == lag + 1


def test_several_models_are_taken_together():
    tokens = known.iid(64, 128)
    near, far = known.delay(3), known.delay(30)
    both = swap_reach([near, far], tokens)
    assert both.per_model == (4, 31)
    assert both.value == 31
    assert both.low <= 4  # half of the resampled pairs... a quarter hold the near model twice
    assert both.high == 31


def test_few_sequences_give_no_interval():
    found = measure(known.delay(3), known.iid(20, 32))
    assert found.value == 4
    assert found.low is None
    assert found.high is None
    assert any("no interval" in warning for warning in found.warnings)


def test_reach_beyond_the_window_is_censored():
    found = measure(known.delay(31), known.iid(64, 32))
    assert found.censored
    assert found.value is None
    assert found.window == 31


def test_trained_length_is_warned_about():
    found = measure(known.delay(3), known.iid(64, 32), trained_length=16)
    assert any("beyond the trained length" in warning for warning in found.warnings)


def test_length_one_has_reach_one():
    found = measure(lambda x, lengths: x, known.iid(64, 1))
    assert found.value is None  # one token: nothing older could have mattered
    assert found.censored


def test_nan_is_an_error():
    with pytest.raises(DataError, match="not a number"):
        measure(lambda x, n: x * float("nan"), known.iid(64, 16))


@pytest.mark.parametrize(
    "options", [{"eps": 0}, {"ci": 1.0}, {"donors": 0}, {"design": "slow"}, {"grid": ()}]
)
def test_options_are_checked(options):
    with pytest.raises(UsageError):
        SwapOptions(**options)


def test_shapes_are_checked():
    with pytest.raises(UsageError, match="N >= 2"):
        measure(known.delay(3), known.iid(1, 16))
    with pytest.raises(UsageError, match="must return"):
        measure(lambda x, n: x[:, 0], known.iid(64, 16))
    with pytest.raises(UsageError, match="divergence"):
        measure(known.delay(3), known.iid(64, 16), divergence="cosine")
