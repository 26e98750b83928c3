"""Interaction reach on models whose joint treatment of tokens is known."""

import pytest
import torch
from tests.measure import known

from howfar.core.errors import UsageError
from howfar.measure import InteractionOptions, interaction_reach

SYMBOLS, LENGTH = 20, 64


def embedding(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(SYMBOLS, 8, generator=generator).double()


def head(width, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(width, 3, generator=generator).double() / width**0.5


def bag_of_words(tokens, lengths):
    return embedding()[tokens].mean(1) @ head(8)


def convolution(tokens, lengths):
    weight = torch.randn(8, 8, 3, generator=torch.Generator().manual_seed(2)).double() / 5
    h = torch.conv1d(embedding()[tokens].transpose(1, 2), weight, padding=1)
    return torch.tanh(h).mean(2) @ head(8)


def product_at(lag):
    def predict(tokens, lengths):
        x = embedding()[tokens]
        return (x[:, lag:] * x[:, :-lag]).mean(1) @ head(8)

    return predict


def measure(predict, num=200, **options):
    tokens = known.symbols(num, LENGTH, SYMBOLS)
    return interaction_reach(predict, tokens, options=InteractionOptions(**options))


def test_g16_bag_of_words_has_none():
    found = measure(bag_of_words)
    assert found.value is None
    assert not found.censored
    assert max(found.curve.mean) < 1e-25


def test_g16_convolution_ends_at_lag_2():
    found = measure(convolution, lags=tuple(range(1, 20)))
    assert (found.value, found.low, found.high) == (2, 2, 2)
    assert min(found.curve.mean[:2]) > 1e-6
    assert max(found.curve.mean[2:]) < 1e-25
    assert found.furthest == 2


def test_g16_product_only_at_lag_17():
    found = measure(product_at(17), lags=tuple(range(1, 40)))
    assert (found.value, found.low, found.high) == (17, 17, 17)
    rest = [m for lag, m in zip(found.curve.lag, found.curve.mean, strict=True) if lag != 17]
    assert found.curve.mean[16] > 1e-4
    assert max(rest) < 1e-25


def test_g16_exclusive_or_at_its_lag():
    lag = 9

    def predict(tokens, lengths):
        bit = tokens % 2
        x = (bit[:, lag:] ^ bit[:, :-lag]).double().mean(1)
        return torch.stack([x, -x], 1)

    found = measure(predict, lags=tuple(range(1, 30)))
    assert (found.value, found.furthest) == (lag, lag)


def test_float32_floor_is_recognised():
    found = measure(lambda t, n: bag_of_words(t, n).float())
    assert found.value is None
    assert 1e-14 < found.noise_floor < 1e-8


def test_a_weak_interaction_is_seen_but_does_not_count():
    """A tenth as strong is a hundredth of I(d), below eps: in no bootstrap sample does it count."""

    def predict(tokens, lengths):
        return product_at(3)(tokens, lengths) + 0.1 * product_at(10)(tokens, lengths)

    found = measure(predict, lags=(1, 3, 5, 10, 20))
    assert (found.value, found.low, found.high, found.furthest) == (3, 3, 3, 10)


def test_default_grid_bisects_to_the_edge():
    def predict(tokens, lengths):
        x = embedding()[tokens]
        total = sum((x[:, d:] * x[:, :-d]).mean(1) for d in range(1, 14))
        return total @ head(8)

    assert measure(predict).value == 13


def test_constant_is_no_influence():
    found = measure(lambda t, n: torch.ones(len(t), 3).double())
    assert found.value is None
    assert "no influence" in found.warnings


def test_short_rows_are_left_out_of_long_lags():
    tokens = known.symbols(200, LENGTH, SYMBOLS)
    lengths = torch.full((200,), 12)
    lengths[:50] = LENGTH
    seen = []

    def predict(t, n):
        seen.append(t.clone())
        mask = torch.arange(t.shape[1])[None] < n[:, None]
        x = embedding()[t] * mask[..., None]
        return (x[:, 3:] * x[:, :-3]).sum(1) @ head(8)

    options = InteractionOptions(lags=(1, 3, 30))
    found = interaction_reach(predict, tokens, lengths=lengths, options=options)
    assert found.value == 3
    pads = torch.arange(LENGTH)[None] >= lengths[:, None]
    original = torch.cat([tokens[i : i + 64] for i in range(0, 200, 64)])
    whole = torch.cat(seen[1:5])  # after the first look at two rows
    assert torch.equal(whole, original)
    assert len(seen) > 8
    assert all(
        torch.equal(a[pads[:64]], tokens[:64][pads[:64]])
        for a in seen
        if a.shape[0] == 64 and a is seen[0]
    )


def test_shapes_and_options_are_checked():
    with pytest.raises(UsageError):
        InteractionOptions(span=0)
    with pytest.raises(UsageError, match="no lag fits"):
        interaction_reach(bag_of_words, known.symbols(64, 1, SYMBOLS))


def test_options_take_all_lags_and_refuse_other_words():
    assert InteractionOptions(lags="all").lags == "all"
    for wrong in ("every", (), (0,)):
        with pytest.raises(UsageError):
            InteractionOptions(lags=wrong)


@pytest.mark.parametrize("num", [64, 200])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_g16_isolated_lag_is_found_on_default_options(num, seed):
    found = measure(product_at(17), num=num, seed=seed)
    assert (found.value, found.low, found.high, found.furthest) == (17, 17, 17, 17)
    assert not found.censored


@pytest.mark.parametrize("lag", [1, 9, 21, 45])
def test_g16_exclusive_or_of_two_fixed_places_on_default_options(lag):
    """Only one pair of places in the text interacts: even draws would rarely hit it."""

    def predict(tokens, lengths):
        bit = tokens % 2
        x = (bit[:, -1] ^ bit[:, -1 - lag]).double()
        return torch.stack([x, -x], 1)

    found = measure(predict, num=64)
    assert (found.value, found.furthest) == (lag, lag)
    rest = [m for d, m in zip(found.curve.lag, found.curve.mean, strict=True) if d != lag]
    assert max(rest) < 1e-25


def test_draws_towards_places_leave_the_mean_where_it_was():
    """By hand: all pairs of XOR differ by +-2 or 0 in both logits, mean square 8 * 1/4."""
    lag = 9

    def predict(tokens, lengths):
        bit = tokens % 2
        x = (bit[:, 3] ^ bit[:, 3 + lag]).double()
        return torch.stack([x, -x], 1)

    found = measure(predict, num=2000)
    place = found.curve.lag.index(lag)
    raw = found.curve.matrix[0, :, place]
    # Only place 3 of the 55 first places counts; both bits flip in a quarter of the swaps.
    assert raw.mean() == pytest.approx(8 / 4 / (LENGTH - lag), rel=0.1)


def test_all_lags_are_measured_on_demand():
    found = measure(product_at(17), num=40, lags="all")
    assert found.curve.lag == tuple(range(1, LENGTH))
    assert found.value == 17
    assert found.passes == 2 + 3 * (LENGTH - 1)


def test_screening_costs_less_than_the_measure_itself():
    default = measure(convolution, num=256)
    grid = measure(convolution, num=256, lags=default.curve.lag)
    assert default.value == 2
    assert grid.passes < default.passes < 2 * grid.passes


def test_long_windows_are_not_screened():
    tokens = known.symbols(40, 300, SYMBOLS)
    found = interaction_reach(bag_of_words, tokens)
    assert found.passes == 2 + 3 * len(found.curve.lag)


def test_a_text_of_two_tokens():
    found = interaction_reach(
        lambda t, n: (t[:, :1] * t[:, 1:2]).double() @ torch.tensor([[1.0, -1.0, 2.0]]).double(),
        known.symbols(64, 2, SYMBOLS),
    )
    assert found.curve.lag == (1,)
    assert (found.value, found.censored) == (1, True)
