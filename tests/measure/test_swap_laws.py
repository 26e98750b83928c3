"""Laws of the swap reach: closed forms, invariances, and the card of nested numbers."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.measure import known
from torch import nn

from howfar.measure.stats import falling
from howfar.measure.swap import SwapOptions, swap_reach
from howfar.models import build


def measure(predict, tokens, **options):
    return swap_reach(predict, tokens, options=SwapOptions(**{"resamples": 100, **options}))


def tail(weights):
    """r(k) of y_t = sum g_d x_{t-d} on white noise: the share of the squares from lag k on."""
    squares = np.square(weights)
    return np.append(squares[::-1].cumsum()[::-1], 0.0) / squares.sum()


def reach_of(ratio_K, eps):
    return int(np.argmax(ratio_K <= eps))


# Closed forms.


@given(st.integers(0, 10**6))
@settings(deadline=None, max_examples=15)
def test_any_linear_filter_has_its_closed_form(seed):
    """Random mixes of decays, oscillations and delays: every point within its own spread."""
    rng = np.random.default_rng(seed)
    length, num = 48, 1000
    lag = np.arange(length)
    weights = np.zeros(length)
    for _ in range(rng.integers(1, 5)):
        a, turn = rng.uniform(0.3, 0.98), rng.uniform(0, np.pi)
        weights += rng.normal() * a**lag * np.cos(turn * lag)
    weights[rng.integers(length)] += rng.normal()
    want = tail(weights)
    found = measure(known.linear(weights), known.iid(num, length, seed), batch=num, exact=False)
    effects = found.curve.matrix[0]
    whole, places = effects[:, 0], np.array(found.curve.x)
    spread = (effects - want[places] * whole[:, None]).std(0) / whole.mean() / num**0.5
    doubt = 6 * spread + 1e-12
    for k, mean, most in zip(places, found.curve.mean, doubt, strict=True):
        assert abs(mean - want[k]) <= most, k
    for eps, reach in found.ladder.items():
        if reach is not None and reach in found.curve.x:
            first, last = (places[reach_of(want[places] + side * doubt, eps)] for side in (-1, 1))
            assert first <= reach <= last


@pytest.mark.parametrize("design", ["paired", "fast"])
def test_g5_attention_that_copies(design):
    """Scores -200 ((t - 40) - s)^2 put all weight on lag 40, in float64 to the last bit."""

    def predict(x, lengths):
        place = torch.arange(x.shape[1])
        scores = -200.0 * ((place[:, None] - 40) - place[None, :]).double() ** 2
        scores = scores.masked_fill(place[None, :] > place[:, None], -torch.inf)
        return x @ scores.softmax(-1).T

    found = measure(predict, known.iid(64, 256), design=design)
    assert (found.value, found.r50, found.low, found.high) == (41,) * 4
    assert (found.structural, found.detectable) == (41, 41)
    assert not found.warnings


def test_g6_two_modes_analytically():
    lag = np.arange(5000)
    ratio = tail(0.9 * 0.5**lag + 0.1 * 0.99**lag)
    assert (reach_of(ratio, 0.05), reach_of(ratio, 0.5)) == (82, 1)


def test_g10_two_of_three_copies_suffice():
    """One kept copy of three is outvoted, two are not: r(21) = 1 and r(22) = 0, exactly."""

    def predict(x, n):
        return sum(torch.roll(x, d, dims=1) for d in (20, 21, 22)).sign()

    tokens = torch.tensor([[1.0], [-1.0]]).double().expand(2, 64).contiguous()
    for rows in (tokens, known.signs(64, 1).expand(64, 64).contiguous()):
        found = measure(predict, rows, grid=tuple(range(64)))
        ratio = dict(zip(found.curve.x, found.curve.mean, strict=True))
        assert all(ratio[k] == 1 for k in range(22))
        assert all(ratio[k] == 0 for k in range(22, 64))
        assert (found.value, found.r50, found.structural) == (22, 22, 22)
    one = torch.ones(64).double()
    one[41] = -1
    assert predict(one[None], None)[0, -1] == 1  # one copy alone is not missed


# Properties.


@given(st.integers(0, 10**6), st.sampled_from(["paired", "fast"]))
@settings(deadline=None, max_examples=20)
def test_curves_begin_at_one_and_reaches_are_nested(seed, design):
    rng = np.random.default_rng(seed)
    predict = known.linear(rng.normal(size=rng.integers(1, 20)))
    found = measure(predict, known.iid(32, 32, seed), design=design)
    assert (found.curve.x[0], found.curve.mean[0]) == (0, 1)
    fit = falling(np.array(found.curve.mean))
    assert (np.diff(fit) <= 1e-12).all()
    card = found.card
    used = [math.inf if r is None else r for r in (card.used50, card.used95, card.used99)]
    assert used == sorted(used)
    assert used[1] <= card.structural or used[1] == math.inf


@given(st.floats(1e-6, 1e6), st.integers(0, 100))
@settings(deadline=None, max_examples=15)
def test_the_scale_of_real_outputs_does_not_matter(scale, seed):
    tokens = known.iid(40, 24, seed)
    one = measure(known.boxcar(6), tokens)
    two = measure(lambda x, n: scale * known.boxcar(6)(x, n), tokens)
    np.testing.assert_allclose(one.curve.mean, two.curve.mean, rtol=1e-9, atol=1e-12)
    assert one.ladder == two.ladder
    assert (one.low, one.high, one.detectable, one.structural) == (
        two.low,
        two.high,
        two.detectable,
        two.structural,
    )


def test_the_order_of_the_rows_does_not_matter():
    """Other rows give to other rows then: what is exact stays, the rest is within doubt."""
    order = torch.randperm(200, generator=torch.Generator().manual_seed(3))
    tokens = known.iid(200, 40)
    for predict in (known.delay(9), known.dilated()):
        one, two = measure(predict, tokens), measure(predict, tokens[order])
        assert one.structural == two.structural
        assert abs(one.value - two.value) <= 1
        assert max(one.low, two.low) <= min(one.high, two.high)
    assert measure(known.delay(9), tokens[order]).value == 10


@pytest.mark.parametrize("design", ["paired", "fast"])
def test_a_renamed_vocabulary_with_its_embeddings(design):
    """Token v becomes order[v], and its embedding moves with it: the same model, bit for bit."""
    tokens = known.symbols(40, 16, 9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    model = build("gru", vocabulary=9, outputs=9, width=12, causal=True).eval()
    plain = measure(model, tokens, design=design)
    table = next(m for m in model.modules() if isinstance(m, nn.Embedding))
    with torch.no_grad():
        table.weight[order] = table.weight.clone()
    renamed = measure(model, order[tokens], design=design)
    assert renamed.curve == plain.curve
    assert renamed.ladder == plain.ladder


@pytest.mark.parametrize("layers", [1, 2, 7])
@pytest.mark.parametrize("inner", ["dilated", "parity", "decay"])
def test_layers_of_delay_add_their_number(inner, layers):
    predict = {"dilated": known.dilated(), "parity": known.parity(5), "decay": known.decay(0.5)}
    tokens = known.signs(256, 60)

    def later(x, n):
        for _ in range(layers):
            x = known.delay(1)(x, n)
        return predict[inner](x, n)

    one, two = measure(predict[inner], tokens), measure(later, tokens)
    exact = inner != "decay"
    assert abs(two.value - one.value - layers) <= (0 if exact else 1)
    if exact:
        assert two.structural == one.structural + layers
    # The last tokens count for nothing now, all others as before.
    assert {two.curve.mean[two.curve.x.index(k)] for k in range(min(layers, 5))} == {1.0}


@pytest.mark.parametrize("batch", [1, 3, 39, 40, 1000])
@pytest.mark.parametrize("side", ["past", "future"])
def test_batches_do_not_matter(batch, side):
    tokens = known.symbols(40, 15, 6)

    def predict(t, n):
        both = torch.stack([t.roll(2, 1), t.roll(-3, 1)]).double()
        return torch.stack([both[0], both[1], both.prod(0) / 9], -1)

    one, two = (
        swap_reach(
            predict,
            tokens,
            targets="middle",
            options=SwapOptions(batch=size, side=side, resamples=50),
        )
        for size in (7, batch)
    )
    np.testing.assert_allclose(one.curve.matrix, two.curve.matrix, rtol=1e-10, atol=1e-15)
    assert (one.ladder, one.warnings) == (two.ladder, two.warnings)


def test_a_donor_that_is_the_row_changes_nothing_in_any_way():
    tokens = known.iid(1, 30).expand(40, 30).contiguous()
    for side in ("past", "future"):
        found = swap_reach(
            known.decay(0.9), tokens, targets="middle", options=SwapOptions(side=side)
        )
        assert found.curve.matrix.max() == 0
        assert (found.value, found.censored) == (None, False)


# The card.


def test_the_card_of_two_modes():
    predict = known.linear(0.9 * 0.5 ** np.arange(200) + 0.1 * 0.99 ** np.arange(200))
    found = measure(predict, known.iid(400, 60))
    card = found.card
    assert (card.used50, card.used95, card.used99) == (found.r50, found.value, found.ladder[0.01])
    assert card.structural == found.structural == 60
    assert card.detectable is None
    assert card.useful is None
    assert "detectable" in card.censored
    assert "useful" not in card.censored  # not asked for, which is not "too far"
    assert set(dataclasses.asdict(card)) == {
        "structural",
        "detectable",
        "used50",
        "used95",
        "used99",
        "useful",
        "censored",
    }


def test_the_card_of_a_copy():
    tokens = known.symbols(2000, 41, 8)
    labels = torch.roll(tokens, 6, dims=1)
    found = swap_reach(known.copy_language_model(6, 8), tokens, labels=labels)
    card = found.card
    assert dataclasses.astuple(card) == (7, 7, 7, 7, 7, 7, ())


def test_the_card_of_what_lies_beyond_the_window():
    tokens = known.symbols(64, 12, 8)
    labels = torch.roll(tokens, 11, dims=1)
    found = swap_reach(known.copy_language_model(11, 8), tokens, labels=labels)
    card = found.card
    beyond = ("detectable", "used50", "used95", "used99", "useful")
    assert card.censored == beyond
    assert {getattr(card, name) for name in beyond} == {None}
    assert card.structural == 12


def test_the_card_of_no_influence_censors_nothing():
    found = measure(lambda x, n: torch.ones_like(x), known.iid(64, 20))
    assert found.card.censored == ()
    assert (found.card.used50, found.card.used95, found.card.used99) == (None,) * 3


@pytest.mark.parametrize("levels", [(), (0.2,), (0.5, 0.05, 0.01, 0.001)])
def test_the_card_has_its_levels_whatever_is_asked(levels):
    found = measure(known.boxcar(10), known.iid(200, 40), levels=levels, eps=0.3)
    assert {0.5, 0.3, 0.05, 0.01, *levels} == set(found.ladder)
    assert found.value == found.ladder[0.3]
    assert found.card.used95 == found.ladder[0.05]


@pytest.mark.parametrize("side", ["past", "future"])
def test_rows_beyond_the_trained_length_are_said(side):
    options = SwapOptions(side=side, trained_length=20, resamples=20)
    for length, beyond in ((20, False), (41, True)):
        found = swap_reach(known.delay(0), known.iid(40, length), targets="middle", options=options)
        # In the past alone the target at 20 of 41 sees 21 tokens, in the future the row has 41.
        assert any("trained length" in said for said in found.warnings) == beyond
