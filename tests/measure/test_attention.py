"""Attention whose weights are known: uniform, delayed, windowed, on sinks, looking ahead."""

import math

import numpy as np
import pytest
import torch
from tests.measure import known

from howfar.core.errors import DataError, UsageError
from howfar.measure.attention import AttentionOptions, attention_reach
from howfar.measure.attention.layers import reach_of

T = 128


def measure(*layers, tokens=None, lengths=None, **options):
    """Layers: functions length -> (T, T) rows, one list entry a layer, heads in tuples."""

    def weights(tokens, lengths):
        batch, length = tokens.shape[:2]
        heads = [layer if isinstance(layer, tuple) else (layer,) for layer in layers]
        return [
            torch.stack([head(length) for head in some]).expand(batch, -1, -1, -1) for some in heads
        ]

    tokens = known.symbols(40, T, 8) if tokens is None else tokens
    options = AttentionOptions(**{"resamples": 100, **options})
    return attention_reach(None, tokens, lengths=lengths, weights=weights, options=options)


def uniform(length):
    return torch.tril(torch.ones(length, length)).double().div(torch.arange(1, length + 1)[:, None])


def everywhere(length):
    return torch.full((length, length), 1 / length).double()


def delayed(steps):
    """One-hot at t - steps, at 0 before."""

    def rows(length):
        place = (torch.arange(length) - steps).clamp(min=0)
        return torch.eye(length).double()[place]

    return rows


def window(width):
    def rows(length):
        place = torch.arange(length)
        seen = (place[:, None] >= place) & (place[:, None] - place < width)
        return seen.double() / seen.sum(1, keepdim=True)

    return rows


def sinking(share, other):
    def rows(length):
        rows = (1 - share) * other(length)
        rows[:, 0] += share
        return rows

    return rows


def test_uniform_causal_attention_is_exact():
    found = measure(uniform, queries=T, first=0)
    (layer,) = found.layers
    t = np.arange(T)
    assert found.causal
    assert layer.mean_distance[0] == pytest.approx((t / 2).mean(), abs=1e-12)
    assert layer.uniform_ratio[0] == pytest.approx(1, abs=1e-12)
    assert layer.entropy_nats[0] == pytest.approx(np.log(t + 1).mean(), abs=1e-12)
    assert layer.entropy_share[0] == pytest.approx(1, abs=1e-12)
    assert layer.effective[0] == pytest.approx((t + 1).mean(), abs=1e-9)
    assert layer.self_share[0] == pytest.approx((1 / (t + 1)).mean(), abs=1e-12)
    assert layer.sink_share[0] == pytest.approx((1 / (t + 1)).mean(), abs=1e-12)
    assert layer.ahead_share[0] == 0
    # share at lag d: the mean over t >= d of 1 / (t + 1)
    want = [(1 / (t[d:] + 1)).sum() / T for d in range(T)]
    np.testing.assert_allclose(layer.past[0], want, atol=1e-12)
    assert layer.weighted_by == ""
    assert found.weighted is None


@pytest.mark.parametrize("first", [0, 64, 127])
def test_uniform_ratio_is_one_for_any_queries(first):
    found = measure(uniform, queries=7, first=first)
    assert found.uniform_ratio == pytest.approx(1, abs=1e-12)
    only = measure(uniform, queries=1, first=T - 1)
    assert only.mean_distance == pytest.approx((T - 1) / 2, abs=1e-12)
    assert only.entropy_nats == pytest.approx(math.log(T), abs=1e-12)
    assert only.with_sinks == math.ceil(0.95 * T)  # (T - k) / T <= 0.05


def test_delay_of_forty():
    found = measure(delayed(40))
    assert (found.value, found.low, found.high, found.with_sinks) == (41, 41, 41, 41)
    assert found.mean_distance == pytest.approx(40)
    assert found.entropy_nats == 0
    assert found.effective == 1
    assert found.sink_share == found.self_share == 0
    assert found.curve.mean[40] == 1
    assert sum(found.curve.mean) == 1
    assert found.warnings == ()


@pytest.mark.parametrize(("width", "want"), [(1, 1), (8, 8), (20, 19), (40, 38), (60, 57)])
def test_sliding_window(width, want):
    """(width - k) / width <= 0.05."""
    found = measure(window(width))
    assert (found.value, found.low, found.high) == (want, want, want)
    assert found.mean_distance == pytest.approx((width - 1) / 2)
    assert found.entropy_nats == pytest.approx(math.log(width))
    np.testing.assert_allclose(found.layers[0].past[0][:width], 1 / width)
    assert found.layers[0].past[0][width:].max(initial=0) == 0


def test_reach_counts_no_rounding():
    for width in range(20, 400, 20):
        mass = np.full(width, 1 / width)
        assert reach_of(mass, 0.05) == width - width // 20
    assert reach_of(np.zeros(5), 0.05) is None


def test_sinks_are_left_out_of_the_reach():
    found = measure(sinking(0.7, window(10)))
    assert found.sink_share == pytest.approx(0.7)
    assert found.value == 10
    assert found.with_sinks > 90
    assert found.mean_distance > 0.7 * 64
    assert found.self_share == pytest.approx(0.03)
    kept = measure(sinking(0.7, window(10)), sinks=())
    assert kept.value == kept.with_sinks == found.with_sinks
    assert kept.sink_share == 0


def test_special_tokens_are_sinks():
    tokens = torch.full((40, T), 1)
    tokens[:, 30] = 9

    def to_thirty(length):
        return (0.5 * torch.eye(length)[torch.full((length,), 30)] + 0.5 * window(4)(length)) * (
            torch.arange(length)[:, None] >= 30
        )

    found = measure(to_thirty, tokens=tokens, special_ids=(9,))
    assert found.value == 4
    assert found.sink_share == pytest.approx(0.5)
    assert measure(to_thirty, tokens=tokens).value > 60


def test_all_on_sinks_has_no_reach():
    found = measure(sinking(1.0, uniform))
    assert found.value is found.low is found.without_self is None
    assert any("no attention to the past" in said for said in found.warnings)


def test_without_the_position_itself():
    def rows(length):
        return 0.98 * torch.eye(length).double() + 0.02 * delayed(30)(length)

    found = measure(rows)
    assert (found.value, found.without_self) == (1, 31)
    assert found.self_share == pytest.approx(0.98)


def test_two_sides_are_told_apart():
    def rows(length):
        place = torch.arange(length)
        eye = torch.eye(length).double()
        return 0.25 * eye[(place - 12).clamp(min=0)] + 0.75 * eye[(place + 5).clamp(max=length - 1)]

    found = measure(rows, queries=T, first=20)
    assert not found.causal
    assert (found.value, found.ahead) == (13, 5)
    near_end = 1 / (T - 20)  # the last position looks at itself instead
    assert found.ahead_share == pytest.approx(0.75 * (1 - near_end))
    spread = measure(everywhere, queries=T)
    assert spread.uniform_ratio == pytest.approx(1, abs=1e-12)
    assert spread.mean_distance == pytest.approx((T**2 - 1) / (3 * T))
    assert spread.layers[0].entropy_share[0] == pytest.approx(1)


def test_heads_and_layers_one_by_one():
    found = measure((delayed(3), delayed(30)), window(5))
    assert [layer.heads for layer in found.layers] == [2, 1]
    assert found.layers[0].reach.tolist() == [4, 31]
    assert found.layers[1].reach.tolist() == [5]
    assert found.layers[0].mean_distance == pytest.approx([3, 30])
    assert found.curve.mean[3] == pytest.approx(0.25 + 0.1)
    assert found.curve.mean[30] == pytest.approx(0.25)
    assert found.value == 31


def test_rollout_of_two_one_hot_layers_by_hand():
    """(D + I)/2 (E + I)/2: a quarter each on 0, 3, 7 and 10 back."""
    found = measure(delayed(3), delayed(7))
    mass = found.rollout.past[0]
    assert {d: mass[d] for d in np.flatnonzero(mass)} == {0: 0.25, 3: 0.25, 7: 0.25, 10: 0.25}
    assert found.rollout.reach.tolist() == [11]
    assert found.rollout.mean_distance == pytest.approx(5)
    assert found.rollout.heads == 1


def test_rollout_multiplies_later_layers_from_the_left():
    """2 reads 1, then 1 reads 0: what 0 holds comes to 1 too late to go on to 2."""
    early = torch.eye(3).double()[[0, 1, 1]]
    late = torch.eye(3).double()[[0, 0, 2]]
    tokens = known.symbols(4, 3, 8)
    found = measure(lambda length: early, lambda length: late, tokens=tokens, first=2)
    assert found.rollout.past[0].tolist() == [0.5, 0.5, 0]
    found = measure(lambda length: late, lambda length: early, tokens=tokens, first=2)
    assert found.rollout.past[0].tolist() == [0.5, 0.25, 0.25]


def test_rollout_takes_heads_together():
    """Heads on 2 and 4: (I + (D2 + D4) / 2) / 2, twice."""
    found = measure((delayed(2), delayed(4)), (delayed(2), delayed(4)))
    mass = found.rollout.past[0]
    one = np.zeros(16)
    one[[0, 2, 4]] = 0.5, 0.25, 0.25
    np.testing.assert_allclose(mass[:16], np.convolve(one, one)[:16], atol=1e-12)
    assert measure(delayed(3), rollout=100).rollout is None
    assert any("no rollout" in said for said in measure(delayed(3), rollout=100).warnings)
    assert measure(delayed(3), rollout=0).warnings == ()


def test_agrees_with_a_slow_twin():
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(6, 2, 3, 24, 24, generator=generator).double() * 2
    full = logits.masked_fill(torch.ones(24, 24).triu(1).bool(), -torch.inf).softmax(-1)
    found = attention_reach(
        None,
        torch.arange(6)[:, None].expand(6, 24),
        weights=lambda tokens, lengths: list(full[tokens[:, 0]].unbind(1)),
        options=AttentionOptions(queries=24, first=0, batch=4),
    )
    for layer in range(2):
        for head in range(3):
            distance, entropy, effective = [], [], []
            mass = np.zeros(24)
            for n in range(6):
                for t in range(24):
                    row = full[n, layer, head, t].numpy()
                    distance.append(sum(row[s] * (t - s) for s in range(t + 1)))
                    entropy.append(-sum(p * math.log(p) for p in row if p > 0))
                    effective.append(math.exp(entropy[-1]))
                    for s in range(t + 1):
                        mass[t - s] += row[s] / 24 / 6
            here = found.layers[layer]
            assert here.mean_distance[head] == pytest.approx(np.mean(distance))
            assert here.entropy_nats[head] == pytest.approx(np.mean(entropy))
            assert here.effective[head] == pytest.approx(np.mean(effective))
            np.testing.assert_allclose(here.past[head], mass, atol=1e-12)


def test_rows_of_different_length_are_cut_to_theirs():
    lengths = torch.arange(40).flip(0) + 60
    seen = []

    def weights(tokens, lengths):
        assert (lengths == tokens.shape[1]).all()
        seen.extend(lengths.tolist())
        return [uniform(tokens.shape[1]).expand(len(tokens), 1, -1, -1)]

    tokens = known.symbols(40, T, 8)
    found = attention_reach(None, tokens, lengths=lengths, weights=weights)
    assert sorted(seen[1:]) == sorted(lengths.tolist())
    assert found.uniform_ratio == pytest.approx(1, abs=1e-12)
    # the row of a sequence stays where it was: the last is the shortest
    assert (found.curve.matrix[0, 0] > 0).sum() > (found.curve.matrix[0, 39] > 0).sum()
    lengths[3] = 1
    assert attention_reach(None, tokens, lengths=lengths, weights=weights).num_sequences == 39


def test_interval_comes_from_sequences():
    """Sequences look 5 or 50 back; with 3 of 60 far, the far ones are 5 % of the mass."""
    rows = torch.stack([delayed(5)(T), delayed(50)(T)])
    tokens = known.symbols(60, T, 8)
    tokens[:, 0] = 0
    tokens[:4, 0] = 1

    def weights(tokens, lengths):
        return [rows[tokens[:, 0]][:, None]]

    found = attention_reach(None, tokens, weights=weights)
    assert (found.low, found.value, found.high) == (6, 51, 51)
    few = attention_reach(None, tokens[:20], weights=weights)
    assert (few.low, few.value, few.high) == (None, 51, None)
    assert any("no interval: 20" in said for said in few.warnings)


def test_long_rows_are_binned():
    found = measure(delayed(300), tokens=known.symbols(3, 1024, 8), rollout=0)
    x = found.curve.x
    assert x[:66] == (*range(65), 96)
    place = max(i for i, lag in enumerate(x) if lag <= 300)
    width = x[place + 1] - x[place]
    assert found.curve.mean[place] == pytest.approx(1 / width)
    assert found.value == 301


def test_wide_reach_says_that_rows_are_short():
    found = measure(uniform)
    assert any("all queries see" in said for said in found.warnings)


def test_strange_weights_and_arguments():
    tokens = known.symbols(40, T, 8)
    with pytest.raises(UsageError, match="add up"):
        measure(lambda length: 2 * uniform(length))
    with pytest.raises(UsageError, match="0 or more"):
        measure(lambda length: uniform(length) - 0.5 * torch.eye(length))
    with pytest.raises(DataError, match="not numbers"):
        measure(lambda length: uniform(length) * float("nan"))
    with pytest.raises(UsageError, match=r"must be \(B, H, T, T\)"):
        attention_reach(None, tokens, weights=lambda t, n: [torch.ones(40, 5)])
    with pytest.raises(UsageError, match=r"must be \(B, H, T, T\), got NoneType"):
        attention_reach(None, tokens, weights=lambda t, n: [None])
    with pytest.raises(UsageError, match="Neither"):
        attention_reach(None, tokens)
    with pytest.raises(UsageError, match="No attention"):
        attention_reach(None, tokens, weights=lambda t, n: [])
    with pytest.raises(UsageError, match="L >= 2"):
        measure(uniform, tokens=tokens[:, :1])
    with pytest.raises(UsageError, match="lengths"):
        measure(uniform, lengths=torch.full((40,), T + 1))
    with pytest.raises(UsageError, match="first=500"):
        measure(uniform, first=500)
    for bad in ({"eps": 1}, {"queries": 0}, {"sinks": (-1,)}, {"rollout": -1}):
        with pytest.raises(UsageError, match="out of range"):
            AttentionOptions(**bad)


def test_short_rows():
    found = measure(uniform, tokens=known.symbols(40, 2, 8), first=0)
    assert found.uniform_ratio == pytest.approx(1)
    assert found.window == 2
