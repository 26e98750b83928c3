import numpy as np
import pytest

from howfar.cost.fit import fit_exponent

LENGTHS = (128, 512, 2048, 8192)


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5, 2.0])
def test_an_exact_power_law_gives_its_power_without_doubt(power):
    fit = fit_exponent(LENGTHS, [3e-4 * n**power for n in LENGTHS])
    assert fit.value == pytest.approx(power, abs=1e-12)
    assert fit.low == pytest.approx(power, abs=1e-10)
    assert fit.high == pytest.approx(power, abs=1e-10)


def test_by_hand():
    # log2 of the lengths: 0, 1, 2; of the times: 0, 1, 1. Slope 1/2, residuals -1/6, 1/3, -1/6:
    # squares sum to 1/6, one degree of freedom, error sqrt(1/6 / 2), t = 12.7062.
    fit = fit_exponent((1, 2, 4), (1.0, 2.0, 2.0))
    assert fit.value == pytest.approx(0.5)
    assert fit.high - fit.value == pytest.approx(12.7062047 * np.sqrt(1 / 12), rel=1e-7)


def test_linear_and_quadratic_together_lie_between():
    fit = fit_exponent(LENGTHS, [n + n**2 / 1000 for n in LENGTHS])
    assert 1.2 < fit.value < 1.8
    assert fit.low < fit.value < fit.high


def test_the_interval_covers_the_power_as_often_as_it_says():
    random = np.random.default_rng(5)
    noise_RN = np.exp(random.normal(0, 0.1, (2000, len(LENGTHS))))
    fits = [fit_exponent(LENGTHS, np.array(LENGTHS) ** 1.3 * noise_N) for noise_N in noise_RN]
    assert 0.93 < np.mean([fit.low <= 1.3 <= fit.high for fit in fits]) < 0.97


@pytest.mark.parametrize("lengths", [(), (4,), (4, 8), (4, 4, 8)])
def test_fewer_than_three_lengths_have_no_fit(lengths):
    assert fit_exponent(lengths, [1.0] * len(lengths)) is None


@pytest.mark.parametrize(
    ("lengths", "seconds"),
    [((1, 2), (1.0,)), ((1, 2, 4), (1.0, 0.0, 1.0)), ((0, 2, 4), (1.0, 1.0, 1.0))],
)
def test_what_has_no_logarithm_is_refused(lengths, seconds):
    with pytest.raises(ValueError, match=r"lengths|above 0"):
        fit_exponent(lengths, seconds)
