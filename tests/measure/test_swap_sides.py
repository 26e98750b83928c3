"""Past and future of models that read both ways: mirror images, never a reach alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.measure import known

from howfar.core.errors import UsageError
from howfar.measure.swap import SwapOptions, swap_reach, swap_sides
from howfar.models import build


def two_sided(past, future):
    """y_t = sum of past[d] x_{t-d} and future[d] x_{t+d}; d = 0 belongs to the past."""

    def predict(x, lengths):
        back = known.linear(past)(x, lengths)
        ahead = known.linear([0.0, *future[1:]])(x.flip(1), lengths).flip(1)
        return back + ahead

    return predict


def mirrored(predict):
    """The same model on reversed time."""
    return lambda x, lengths: predict(x.flip(1), lengths).flip(1)


def at(num, place):
    return torch.full((num,), place)


def looks(found):
    return any("looks both ways" in said for said in found.warnings)


def test_a_window_of_three_back_and_five_ahead():
    predict = two_sided([1.0] * 4, [0.0] + [1.0] * 5)
    found = swap_sides(predict, known.iid(64, 41))
    for side, reach in ((found.past, 4), (found.future, 6)):
        assert (side.structural, side.detectable) == (reach, reach)
        assert side.value in (reach - 1, reach)
        assert not side.warnings
    assert (found.past.side, found.future.side) == ("past", "future")
    assert found.past.window == found.future.window == 20


@pytest.mark.parametrize(("back", "ahead"), [(7, 3), (0, 11), (12, 0)])
def test_delays_in_both_directions_are_exact(back, ahead):
    past, future = [0.0] * back + [1.0], [0.0] * ahead + [1.0]
    found = swap_sides(two_sided(past, future), known.iid(64, 41))
    assert found.past.value == back + 1
    assert found.future.value == ahead + 1 if ahead else found.future.value is None
    if back and ahead:
        assert (found.past.r50, found.future.r50) == (back + 1, ahead + 1)


@given(st.integers(0, 10**6), st.integers(0, 19), st.sampled_from(["swap", "reverse"]))
@settings(deadline=None, max_examples=20)
def test_the_future_is_the_past_of_reversed_time(seed, place, how):
    """To the last bit: the same rows, donors and places, read the other way round."""
    rng = np.random.default_rng(seed)
    predict = two_sided(rng.normal(size=6), rng.normal(size=9))
    tokens = known.iid(31, 20, seed)
    future = SwapOptions(side="future", how=how, resamples=50)
    past = SwapOptions(side="past", how=how, resamples=50)
    if place == 19:
        with pytest.raises(UsageError, match="no future"):
            swap_reach(predict, tokens, targets=at(31, place), options=future)
        return
    one = swap_reach(predict, tokens, targets=at(31, place), options=future)
    two = swap_reach(mirrored(predict), tokens.flip(1), targets=at(31, 19 - place), options=past)
    assert one.curve.x == two.curve.x
    np.testing.assert_allclose(one.curve.matrix, two.curve.matrix, rtol=1e-9, atol=1e-18)
    assert (one.value, one.low, one.high, one.ladder) == (two.value, two.low, two.high, two.ladder)
    assert (one.detectable, one.structural, one.window) == (
        two.detectable,
        two.structural,
        two.window,
    )


class Promising:
    """Declares the past it sees, one token; its future is 8 tokens ahead."""

    def reach(self, length):
        return 1

    def __call__(self, x, n):
        return x + mirrored(known.delay(8))(x, n)


def test_a_declared_reach_is_one_into_the_past():
    found = swap_sides(Promising(), known.iid(64, 41))
    assert (found.past.structural, found.future.structural) == (1, 9)
    assert not found.past.warnings
    assert not found.future.warnings


def test_padding_is_no_future():
    """Rows end at their length: what pads hold is neither swapped nor counted."""
    tokens = known.symbols(64, 30, 5)
    lengths = torch.randint(12, 31, (64,), generator=torch.Generator().manual_seed(2))
    pads = torch.arange(30)[None] >= lengths[:, None]
    tokens[pads] = 99
    seen = []

    def predict(x, n):
        seen.append(x.clone())
        clean = x.double().where(torch.arange(x.shape[1])[None] < n[:, None], 0.0)
        return mirrored(known.linear([0.0] * 4 + [1.0]))(clean, n)

    options = SwapOptions(side="future")
    found = swap_reach(predict, tokens, lengths=lengths, targets="middle", options=options)
    assert found.value == found.structural == 5
    full = [x for x in seen if len(x) == 64]
    assert full
    assert all((x[pads] == 99).all() and not (x[~pads] == 99).any() for x in full)
    assert found.window == int((lengths - lengths // 2).max()) - 1
    assert any("their own end" in said for said in found.warnings)


def test_middles_are_half_the_length():
    lengths = torch.tensor([9, 4, 1, 20])
    found = swap_reach(known.delay(0), known.iid(4, 20), lengths=lengths, targets="middle")
    assert (found.window, found.structural) == (10, 1)


def test_shares_of_the_sides_in_closed_form():
    """Squares: 1 at the target, 3 before it, 6 after it, of 10 together."""
    predict = two_sided([1.0, 3**0.5], [0.0, 0.0, 6**0.5])
    options = SwapOptions(batch=4000, exact=False, resamples=200)
    found = swap_sides(predict, known.iid(4000, 21), options=options)
    for share, want in ((found.past_share, 0.4), (found.future_share, 0.7)):
        assert share.value == pytest.approx(want, abs=0.03)
        assert share.low < want < share.high
    nothing = swap_sides(lambda x, n: torch.ones_like(x), known.iid(40, 21))
    assert (nothing.past_share, nothing.future_share) == (None, None)
    causal = swap_sides(known.delay(4), known.iid(40, 21))
    assert (causal.past_share.value, causal.future_share.value) == (1, 0)
    few = swap_sides(known.delay(4), known.iid(12, 21))
    assert (few.past_share.value, few.past_share.low) == (1, None)


# Never a reach without a side.


@pytest.mark.parametrize(
    ("design", "targets"), [("paired", "last"), ("paired", "middle"), ("fast", "last")]
)
def test_a_model_that_looks_both_ways_is_said_to(design, targets):
    both = two_sided([1.0, 0.5], [0.0, 0.1])
    options = SwapOptions(design=design, resamples=50)
    tokens = known.iid(64, 40)
    assert looks(swap_reach(both, tokens, targets=targets, options=options))
    causal = two_sided([1.0, 0.5], [0.0])
    assert not looks(swap_reach(causal, tokens, targets=targets, options=options))


@pytest.mark.parametrize("name", ["gru", "tcn"])
def test_causal_families_do_not_look_ahead(name):
    model = build(name, vocabulary=9, outputs=9, width=12, causal=True).eval()
    assert not looks(swap_reach(model, known.symbols(40, 15, 9)))


def test_transposed_outputs_of_a_causal_model_look_ahead():
    """Positions mixed up: the output at the middle follows tokens after it."""
    predict = mirrored(known.boxcar(3))
    found = swap_reach(predict, known.iid(64, 40), targets="middle")
    assert looks(found)
    assert found.value == 1


def test_noise_and_rounding_are_not_taken_for_a_look_ahead():
    rng = torch.Generator().manual_seed(1)

    def noisy(x, n):
        return known.delay(5)(x, n) + 0.05 * torch.randn(x.shape, generator=rng)

    for targets in ("last", "middle"):
        assert not looks(swap_reach(noisy, known.iid(64, 40), targets=targets))

    def convolved(x, n):
        weight = torch.zeros(x.shape[1], dtype=x.dtype)
        weight[:6] = 1
        size = 2 * x.shape[1]
        product = torch.fft.rfft(x, size) * torch.fft.rfft(weight, size)
        return torch.fft.irfft(product, size)[:, : x.shape[1]]

    assert not looks(swap_reach(convolved, known.iid(64, 40).float()))


def test_a_middle_without_an_answer_is_not_asked_for():
    def predict(x, n):
        y = known.delay(3)(x, n)
        y[:, :-1] = float("nan")
        return y

    found = swap_reach(predict, known.iid(64, 20))
    assert found.value == 4
    assert not found.warnings


def test_one_answer_a_sequence_has_nothing_ahead_of_its_last_token():
    found = swap_reach(lambda x, n: x.mean(1, keepdim=True)[:, None], known.iid(64, 20))
    assert not looks(found)
    at_middle = swap_reach(
        lambda x, n: x.mean(1, keepdim=True)[:, None], known.iid(64, 20), targets="middle"
    )
    assert looks(at_middle)


def test_sides_take_labels_and_options():
    tokens = known.symbols(400, 31, 8)
    labels = torch.roll(tokens, -3, dims=1)

    def predict(t, n):
        return known.copy_language_model(3, 8)(t.flip(1), n).flip(1)

    found = swap_sides(predict, tokens, labels=labels, options=SwapOptions(resamples=100))
    assert (found.future.value, found.future.useful) == (4, 4)
    assert found.past.value is None
    assert not found.past.censored


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"side": "future", "design": "fast"}, "fast design"),
        ({"side": "source"}, "does not fit tokens alone"),
        ({"side": "self"}, "does not fit tokens alone"),
        ({"side": "future"}, "no future"),
    ],
)
def test_sides_that_do_not_fit_are_refused(options, match):
    with pytest.raises(UsageError, match=match):
        swap_reach(known.delay(3), known.iid(40, 20), options=SwapOptions(**options))
    with pytest.raises(UsageError, match="side="):
        SwapOptions(side="left")
