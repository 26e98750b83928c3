"""Milder changes of far tokens: order alone, or nothing at all in their place."""

import numpy as np
import pytest
import torch
from tests.measure import known

from howfar.core.errors import DataError, UsageError
from howfar.core.seeds import Seeds
from howfar.measure import probe
from howfar.measure.swap import SwapOptions, swap_reach
from howfar.measure.swap.change import CHANGES, draws
from howfar.measure.swap.region import around, future, past

HOWS = ["swap", "shuffle", "reverse", "drop"]


def measure(predict, tokens, how, *, targets="last", only=None, **options):
    settings = SwapOptions(how=how, **{"resamples": 100, **options})
    return swap_reach(predict, tokens, targets=targets, only=only, options=settings)


def at(found, k):
    return found.curve.mean[found.curve.x.index(k)]


# Slow twins: one row at a time, as lists.


def far_twin(region, row, place, length, k):
    """Places in words: which of them are not among the k nearest of that side."""
    if region is past:
        return [s for s in range(len(row)) if s <= place - k]
    if region is future:
        return list(range(place + k, length))
    near = range(place - k + 1, place + k)
    return [s for s in range(length) if s not in near]


def change_twin(how, row, far, given, key, anchor, length, target):
    row, place = list(row), target
    if how == "swap":
        return [given[s] if s in far else v for s, v in enumerate(row)], length, place
    if how in ("shuffle", "reverse"):
        order = sorted(far, key=lambda s: key[s]) if how == "shuffle" else far[::-1]
        old = {into: row[out] for into, out in zip(far, order, strict=True)}
        return [old.get(s, v) for s, v in enumerate(row)], length, place
    if anchor in far:
        row[anchor] = given[anchor]
    gone = [s for s in far if s != anchor]
    kept = [v for s, v in enumerate(row) if s not in gone]
    return kept + [0] * len(gone), length - len(gone), place - sum(s < target for s in gone)


@pytest.mark.parametrize("narrowed", [False, True])
@pytest.mark.parametrize("region", [past, future, around])
@pytest.mark.parametrize("how", HOWS)
def test_changes_are_their_twins(how, region, narrowed):
    rng = np.random.default_rng(3)
    num, width = 12, 9
    tokens = torch.from_numpy(rng.integers(1, 50, (num, width)))
    lengths = torch.from_numpy(rng.integers(4, width + 1, num))
    tokens[torch.arange(width)[None] >= lengths[:, None]] = 77
    targets = torch.from_numpy(rng.integers(0, lengths.numpy()))
    seqs = probe.sequences(tokens, lengths, targets)
    centres = torch.from_numpy(rng.integers(0, lengths.numpy()))
    made = around(seqs, centres) if region is around else region(seqs)
    places = centres if region is around else targets
    mask = torch.from_numpy(rng.random((num, width)) < 0.6)
    mask &= torch.arange(width)[None] < lengths[:, None]
    if narrowed:
        made = made.only(mask)
    draw = draws(seqs, SwapOptions())[0]
    assert (draw.way != np.arange(num)).all()
    for k in range(width + 2):
        part = CHANGES[how](seqs, made.far(k), made, draw)
        wants = []
        for i in range(num):
            row, place = tokens[i].tolist(), int(places[i])
            far = far_twin(region, row, place, int(lengths[i]), k)
            far = [s for s in far if not narrowed or mask[i, s]]
            given, key = draw.given[i].tolist(), draw.keys[i].tolist()
            wants.append(
                change_twin(how, row, far, given, key, place, int(lengths[i]), int(targets[i]))
            )
        longest = max(want[1] for want in wants) if how == "drop" else width
        assert part.tokens.tolist() == [want[0][:longest] for want in wants]
        assert part.lengths.tolist() == [want[1] for want in wants]
        if region is not around:
            assert part.targets.tolist() == [want[2] for want in wants]


def test_far_tokens_stay_those_of_the_row_when_their_order_changes():
    tokens = known.iid(20, 12)[..., None].expand(20, 12, 2).contiguous()
    seqs = probe.sequences(tokens, None, "last")
    region, draw = past(seqs), draws(seqs, SwapOptions())[0]
    for how in ("shuffle", "reverse"):
        part = CHANGES[how](seqs, region.far(4), region, draw)
        assert torch.equal(part.tokens[:, 8:], tokens[:, 8:])
        assert torch.equal(part.tokens[:, :8].sort(1).values, tokens[:, :8].sort(1).values)
        assert not torch.equal(part.tokens, tokens)
    assert torch.equal(part.tokens[:, :8], tokens[:, :8].flip(1))


# Known answers.


def total(x, lengths):
    """A running sum: a bag, deaf to order."""
    return x.cumsum(1)


@pytest.mark.parametrize("how", ["shuffle", "reverse"])
def test_a_bag_is_deaf_to_order(how):
    """Integers, so that sums are exact: not one bit moves."""
    tokens = known.symbols(64, 40, 50)
    found = measure(lambda t, n: total(t.double(), n), tokens, how)
    assert found.curve.matrix.max() == 0
    assert (found.value, found.censored, found.r50) == (None, False, None)
    assert found.own.share.value == 0
    assert found.own.value is None
    assert any("the order of these tokens does not move" in said for said in found.warnings)


@pytest.mark.parametrize("how", HOWS)
def test_a_delay_has_the_same_reach_in_every_way(how):
    """A position moved, removed or replaced is another token: 41 kept tokens and not one less."""
    found = measure(known.delay(40), known.iid(256, 128), how)
    assert (found.value, found.r50, found.detectable, found.structural) == (41,) * 4
    assert found.own is None if how == "swap" else found.own.value == 41
    assert found.how == how


def test_shares_of_a_delay():
    """Two tokens of one row differ as much as those of two: r is 1, less the chance to stay put."""
    options = {"grid": (0, 10, 20, 21), "exact": False, "batch": 10_000}
    found = measure(known.delay(20), known.iid(10_000, 64), "shuffle", **options)
    for k in (0, 10, 20):
        places = 64 - k
        assert at(found, k) == pytest.approx((places - 1) / places, abs=0.06)
    assert at(found, 21) == 0
    assert found.own.share.low < 63 / 64 < found.own.share.high


def test_order_of_a_window_in_closed_form():
    """Mean of the last 30: with k < 30 kept, the window draws m = 30 - k of L - k far tokens anew.

    E (sum of m old - sum of m drawn)^2 = 2 m (1 - m / n) for n far tokens, against 2 * 30 of the
    swap of everything.
    """
    length = 100
    options = {"grid": (0, 4, 12, 24, *range(27, 31)), "exact": False, "batch": 10_000}
    found = measure(known.boxcar(30), known.iid(10_000, length), "shuffle", **options)
    for k in (0, 4, 12, 24):
        m, n = 30 - k, length - k
        assert at(found, k) == pytest.approx(m / 30 * (1 - m / n), rel=0.08)
    want = next(k for k in range(31) if (30 - k) / 30 * (1 - (30 - k) / (length - k)) <= 0.05)
    assert found.value == want == 29


def test_order_reaches_no_further_than_tokens():
    for predict in (known.boxcar(20), known.decay(0.9), known.dilated()):
        swap = measure(predict, known.iid(200, 64), "swap")
        shuffle = measure(predict, known.iid(200, 64), "shuffle")
        assert shuffle.value <= swap.value
        assert shuffle.structural <= swap.structural


def test_a_pair_of_neighbours_reversed():
    """y = x_{t-9} - x_{t-10}: reversed far tokens move both, whatever stays between."""
    found = measure(known.linear([0.0] * 9 + [1.0, -1.0]), known.iid(256, 64), "reverse")
    assert (found.value, found.structural) == (11, 11)


def test_drop_is_the_context_curve():
    """Dropping all but k tokens asks the model about the last k alone."""
    asked = []

    def predict(x, n):
        asked.append(x.shape)
        return known.decay(0.8)(x, n)

    tokens = known.iid(64, 32)
    found = measure(predict, tokens, "drop", grid=(0, 1, 5, 8, 31))
    assert {(64, 1), (64, 5), (64, 8), (64, 31), (64, 32)} <= set(asked)
    clean = known.decay(0.8)(tokens, None)[:, -1]
    for k in (1, 5, 8, 31):
        alone = known.decay(0.8)(tokens[:, -k:], None)[:, -1]
        here = found.curve.matrix[0, :, found.curve.x.index(k)]
        np.testing.assert_allclose(here, (clean - alone).square(), rtol=1e-9, atol=1e-15)
    # With nothing kept one place must be left: it holds the donor's token.
    way = probe.donors(64, 1, Seeds(0).numpy("swap donors"))[0]
    empty = (clean - tokens[torch.from_numpy(way), -1]).square()
    np.testing.assert_allclose(found.curve.matrix[0, :, 0], empty, rtol=1e-9)
    # Left out, a far token adds nothing where a swapped one adds its own variance: half the effect.
    big = measure(known.decay(0.8), known.iid(8000, 32), "drop", batch=8000, exact=False)
    assert at(big, 4) == pytest.approx(0.8**8 / 2, rel=0.06)
    assert any("rows were shortened" in said for said in found.warnings)


def test_drop_on_unequal_rows_follows_the_lengths():
    lengths = torch.randint(10, 31, (100,), generator=torch.Generator().manual_seed(4))

    def predict(x, n):
        real = torch.arange(x.shape[1])[None] < n[:, None]
        return known.delay(6)(x.where(real, 1e6), n)

    options = SwapOptions(how="drop", resamples=100)
    found = swap_reach(predict, known.iid(100, 30), lengths=lengths, options=options)
    assert (found.value, found.structural) == (7, 7)


def test_a_model_of_one_length_cannot_be_dropped_from():
    weight = torch.randn(20, 3, generator=torch.Generator().manual_seed(1)).double()

    def predict(x, n):
        return (x @ weight)[:, None]

    with pytest.raises(UsageError, match="rows of 1 tokens"):
        measure(predict, known.iid(40, 20), "drop")

    def refuses(x, n):
        if x.shape[1] < 20:
            raise DataError("E-OUTPUT", "too short for me")
        return known.delay(3)(x, n)[..., None]

    with pytest.raises(DataError, match="too short for me"):
        measure(refuses, known.iid(40, 20), "drop")


def test_a_milder_change_has_one_scale_with_the_swap():
    """r of the shuffle is its effect over the swap's with nothing kept, whatever the grid."""
    tokens = known.iid(64, 40)
    swap = measure(known.boxcar(8), tokens, "swap", grid=tuple(range(40)))
    shuffle = measure(known.boxcar(8), tokens, "shuffle", grid=tuple(range(40)))
    whole = swap.curve.matrix[0, :, 0].mean()
    means = shuffle.curve.matrix[0].mean(0) / whole
    np.testing.assert_allclose(shuffle.curve.mean, means, rtol=1e-12, atol=1e-15)
    assert shuffle.own.share.value == pytest.approx(means[0])
    assert shuffle.own.share.low <= means[0] <= shuffle.own.share.high
    own = next(k for k in range(41) if max(means[k:], default=0) <= 0.05 * means[0])
    assert abs(shuffle.own.value - own) <= 1


def test_each_of_several_models_is_on_the_scale_of_its_own_swap():
    """Order is all there is to a delay, and 1 % of a sum with a faint one: within eps of it."""
    faint = known.linear([1.0] + [0.0] * 5 + [0.1])
    found = swap_reach(
        [known.delay(9), faint],
        known.iid(200, 40),
        only=older(200, 40),
        options=SwapOptions(how="shuffle", resamples=50),
    )
    assert found.per_model == (10, 0)


def test_a_share_below_eps_is_a_reach_of_nothing_and_said():
    """y = x_t + 0.1 (x_{t-3} - x_{t-4}): order carries about 2 % of the effect."""
    predict = known.linear([1.0, 0, 0, 0.1, -0.1])
    found = measure(predict, known.iid(1000, 64), "shuffle", only=older(1000, 64))
    assert found.value == 0
    assert found.low == 0
    assert 0 < found.own.share.value < 0.05
    assert found.own.value == 5
    assert any("of what the swap of all does" in said for said in found.warnings)


def older(num, length):
    mask = torch.ones(num, length, dtype=torch.bool)
    mask[:, -1] = False
    return mask


def test_orders_are_drawn_by_the_seed_and_one_a_donor():
    tokens = known.iid(64, 40)
    one = measure(known.boxcar(8), tokens, "shuffle")
    assert one.curve == measure(known.boxcar(8), tokens, "shuffle").curve
    assert one.curve != measure(known.boxcar(8), tokens, "shuffle", seed=1).curve
    many = measure(known.boxcar(8), tokens, "shuffle", donors=4)
    assert abs(many.own.share.value - one.own.share.value) > 1e-6


def test_few_rows_give_shares_without_intervals():
    found = measure(known.delay(5), known.iid(12, 30), "shuffle")
    assert found.value == found.own.value == 6
    assert (found.low, found.own.low, found.own.share.low) == (None,) * 3
    assert any("no interval" in said for said in found.warnings)


def test_rounding_has_no_share():
    """An effect of rounding over an effect of rounding is no number to show."""
    found = measure(lambda x, n: 1 + 1e-17 * x.cumsum(1), known.iid(64, 30), "shuffle")
    assert (found.value, found.own) == (None, None)
    assert "replacing the whole input does not move" in found.warnings[0]


def test_one_token_has_no_order():
    found = measure(lambda x, n: x, known.iid(64, 1), "shuffle")
    assert (found.value, found.censored) == (None, False)
    found = measure(lambda x, n: x, known.iid(64, 1), "drop")
    assert (found.value, found.censored) == (None, True)


@pytest.mark.parametrize("how", ["shuffle", "reverse", "drop"])
def test_the_fast_design_swaps_alone(how):
    with pytest.raises(UsageError, match="fast design"):
        measure(known.delay(3), known.iid(40, 20), how, design="fast")
    with pytest.raises(UsageError, match="how="):
        SwapOptions(how="mask")
