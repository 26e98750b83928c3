"""Decay fits on curves of known law."""

import numpy as np
import pytest
import torch
from tests.measure import known

from howfar.measure.gradient import GradientOptions, fit_decay, gradient_reach

LAGS = np.arange(60)


def noisy(curve, share=0.02, seed=0):
    return curve * np.exp(share * np.random.default_rng(seed).normal(size=len(curve)))


@pytest.mark.parametrize("share", [0.0, 0.02])
@pytest.mark.parametrize(
    ("kind", "curve", "rate", "floor"),
    [
        ("exponential", 3 * np.exp(-0.1 * LAGS), 0.1, 0),
        ("exponential", 1e-9 * 0.8**LAGS, -np.log(0.8), 0),
        ("power", 2 * (LAGS + 1.0) ** -1.5, 1.5, 0),
        ("exponential + floor", np.exp(-0.3 * LAGS) + 0.01, 0.3, 0.01),
        ("power + floor", (LAGS + 1.0) ** -2 + 0.01, 2, 0.01),
    ],
)
def test_each_law_is_recognised_and_recovered(kind, curve, rate, floor, share):
    for seed in range(4):
        fit = fit_decay(LAGS, noisy(curve, share, seed))
        assert fit.kind == kind
        assert fit.rate == pytest.approx(rate, rel=0.05 if share else 1e-4)
        assert fit.floor == pytest.approx(floor, rel=0.1 if share else 1e-3)
        assert fit.amplitude == pytest.approx(curve[0] - floor, rel=0.1 if share else 1e-3)
        assert fit.r2 > 0.99
        assert set(fit.aic) == {law + end for law in ("exponential", "power")
                                for end in ("", " + floor")}  # fmt: skip
        if kind.startswith("exponential"):
            assert fit.half_life == pytest.approx(np.log(2) / rate, rel=0.05 if share else 1e-4)
        else:
            assert fit.half_life is None
            assert "power" in fit.note


def test_a_floor_needs_evidence():
    """Without one, noise alone must rarely be taken for one: AICc alone would in one of six."""
    kinds = [fit_decay(LAGS, noisy(np.exp(-0.1 * LAGS), 0.05, seed)).kind for seed in range(60)]
    assert kinds.count("exponential") >= 57


def test_half_life_by_hand():
    fit = fit_decay(np.arange(8), 0.5 ** np.arange(8))
    assert fit.half_life == pytest.approx(1, abs=1e-9)
    assert (fit.points, fit.last_lag, fit.note) == (8, 7, "")


def test_nothing_is_extrapolated():
    fit = fit_decay(LAGS, np.exp(-0.01 * LAGS))
    assert fit.kind == "exponential"
    assert fit.rate == pytest.approx(0.01)
    assert fit.half_life is None
    assert fit.note == "half-life beyond the 59 lags fitted"
    edge = fit_decay(LAGS, np.exp(-LAGS * np.log(2) / 58.9))
    assert edge.half_life == pytest.approx(58.9)


def test_a_curve_that_does_not_fall_has_no_half_life():
    flat = fit_decay(LAGS, np.ones(60))
    assert (flat.half_life, flat.r2) == (None, None)
    rising = fit_decay(LAGS, np.exp(0.1 * LAGS))
    assert rising.rate == pytest.approx(-0.1)
    assert (rising.half_life, "does not fall" in rising.note) == (None, True)


def test_a_single_peak_is_no_decay():
    peak = noisy(np.full(60, 0.01), 1.0)
    peak[6] = 1
    fit = fit_decay(LAGS, peak)
    assert fit.r2 < 0.8
    assert fit.half_life is None
    assert fit.note.startswith("no half-life: no law of decay fits (R2 ")


def test_only_points_above_the_noise_are_fitted():
    curve = np.exp(-0.5 * LAGS) + 0
    buried = np.maximum(curve, 1e-7)
    fit = fit_decay(LAGS, buried, noise=1e-6)
    assert fit.kind == "exponential"
    assert fit.rate == pytest.approx(0.5)
    assert fit.last_lag == 27
    assert fit_decay(LAGS, buried, noise=0.2) is None
    assert fit_decay(LAGS, np.zeros(60)) is None
    assert fit_decay(LAGS, np.full(60, np.nan)) is None


def test_uncertain_points_count_less():
    curve = np.exp(-0.1 * LAGS)
    curve[40:] *= np.exp(0.5 * np.random.default_rng(3).normal(size=20) + 0.7)
    variance = np.where(LAGS < 40, 1e-4, 0.5)
    weighed = fit_decay(LAGS, curve, variance_K=variance)
    assert weighed.kind == "exponential"
    assert weighed.rate == pytest.approx(0.1, abs=0.002)
    assert fit_decay(LAGS, curve).kind != "exponential"


def test_the_interval_holds_the_truth_and_narrows():
    rng = np.random.default_rng(0)
    widths = []
    for share in (0.2, 0.02):
        inside = 0
        for _ in range(20):
            data = np.exp(-0.1 * LAGS) * np.exp(share * rng.normal(size=(64, 60)))
            samples = np.stack([data[rng.integers(0, 64, 64)].mean(0) for _ in range(100)])
            fit = fit_decay(LAGS, data.mean(0), samples_RK=samples)
            inside += fit.half_life_low <= np.log(2) / 0.1 <= fit.half_life_high
        widths.append(fit.half_life_high - fit.half_life_low)
        assert inside >= 16
    assert widths[0] > 5 * widths[1]


def test_long_curves_are_thinned_without_harm():
    lags = np.arange(16_384)
    fit = fit_decay(lags, np.exp(-0.001 * lags) + 0.02)
    assert fit.points <= 512
    assert (fit.kind, fit.last_lag) == ("exponential + floor", 16_383)
    assert fit.half_life == pytest.approx(np.log(2) / 0.001, rel=1e-3)


def measured(weights, length=256):
    options = GradientOptions(resamples=50)
    return gradient_reach(known.linear(weights), known.iid(40, length), options=options)


def test_linear_decay_has_the_half_life_of_its_amplitude():
    """|dh_t / dx_{t-d}| = a^d: ln(1/2) / ln a = 6.58 tokens, twice that of its square."""
    found = measured(0.9 ** np.arange(400.0))
    assert found.half_life == pytest.approx(np.log(0.5) / np.log(0.9), rel=1e-9)
    assert round(found.half_life, 2) == 6.58
    assert (found.fit.kind, found.fit.floor) == ("exponential", 0)
    assert found.fit.r2 == pytest.approx(1)
    assert found.fit.half_life_low == pytest.approx(found.half_life)
    deviation = float(known.iid(40, 256).std(correction=0))
    assert found.fit.amplitude == pytest.approx(deviation)


def test_power_law_kernel_is_recognised():
    found = measured(1 / (np.arange(400) + 1))
    assert (found.fit.kind, found.half_life) == ("power", None)
    assert found.fit.rate == pytest.approx(1)
    assert any("power of the distance" in said for said in found.warnings)


def test_rows_of_differing_length_do_not_bend_the_fit():
    """A lag that half of the rows lack is averaged over those that have it."""
    x, lengths = known.iid(60, 40), torch.full((60,), 40)
    lengths[:45] = 12
    options = GradientOptions(resamples=50)
    found = gradient_reach(known.linear(0.8 ** np.arange(40.0)), x, lengths=lengths,
                           options=options)  # fmt: skip
    assert found.half_life == pytest.approx(np.log(0.5) / np.log(0.8), rel=1e-9)
