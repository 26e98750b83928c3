"""Retention on states whose content is known in closed form."""

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from sklearn.linear_model import Ridge as SlowRidge
from sklearn.preprocessing import StandardScaler
from tests.measure import known

from howfar.core.errors import DataError, UsageError
from howfar.core.seeds import Seeds
from howfar.measure.retention import RetentionOptions, retention
from howfar.measure.retention.probes import Ridge
from howfar.measure.retention.result import columns, losses


def measure(states, tokens, lengths=None, targets="auto", **options):
    options = RetentionOptions(**{"resamples": 300, **options})
    return retention(None, tokens, lengths=lengths, layers=states, targets=targets, options=options)


def past(x, cells):
    """The last `cells` inputs at every time, newest last: (B, L[, V]) -> (B, L, cells V)."""
    zeros = x.new_zeros(len(x), cells - 1, *x.shape[2:])
    cells_BLVC = torch.cat([zeros, x], dim=1).unfold(1, cells, 1)
    return cells_BLVC.movedim(-1, 2).flatten(2)


def one_hot(tokens, count=8):
    return torch.nn.functional.one_hot(tokens, count).double()


def cells(num, count=8):
    """A delay line of `num` one-hot tokens."""
    return lambda tokens, lengths: {"cells": past(one_hot(tokens, count), num)}


def test_a_scalar_linear_recurrence_holds_a_geometric_share():
    a = 0.9

    def states(x, lengths):
        h = lfilter([np.sqrt(1 - a * a)], [1, -a], x.numpy(), axis=1)
        return {"h": torch.from_numpy(h)[..., None]}

    found = measure(states, known.iid(1500, 110), positions=24, lags=tuple(range(41)))
    for d, want in [(0, 0.19), (1, 0.154), (5, 0.066), (10, 0.023)]:
        assert want == pytest.approx((1 - a * a) * a ** (2 * d), abs=5e-4)
        assert found.map[0, d] == pytest.approx(want, abs=0.006)
        assert found.map_low[0, d] <= want <= found.map_high[0, d]
    # 0.81^41 = 2e-4 of the whole lies beyond the last lag.
    assert found.capacity[0] == pytest.approx(1, abs=0.02)
    # 0.19 * 0.81^6 = .054 and 0.19 * 0.81^7 = .043: the last above 5 % is lag 6.
    assert found.low <= 6 <= found.high
    assert found.value in (5, 6)
    assert found.unit == "R2"


def test_a_delay_line_holds_all_of_its_cells_and_nothing_else():
    found = measure(
        lambda x, lengths: {"cells": past(x, 10)},
        known.iid(600, 64),
        positions=16,
        lags=tuple(range(16)),
    )
    assert found.map[0, :10] == pytest.approx(np.ones(10), abs=1e-5)
    assert np.abs(found.map[0, 10:]).max() < 0.005
    # The penalty of 1e-6 costs 1e-6 a cell; the six empty lags bring the noise of the sample.
    assert found.capacity[0] == pytest.approx(10, abs=0.01)
    assert (found.value, found.low, found.high, found.censored) == (9, 9, 9, False)
    assert found.curve.lag == tuple(range(16))
    assert found.curve.matrix.shape == (1, 210, 16)
    assert found.curve.matrix[0].mean(0) == pytest.approx(found.map[0])


def test_a_delay_line_of_tokens_holds_their_entropy():
    found = measure(
        cells(5), known.symbols(160, 64, 8), positions=16, lags=tuple(range(9)), logistic=(4, 5)
    )
    assert found.unit == "bits"
    assert found.entropy == pytest.approx(np.full(9, 3.0), abs=0.02)
    assert found.map[0, :5] == pytest.approx(found.entropy[:5], abs=0.002)
    assert np.abs(found.map[0, 5:]).max() < 0.01
    assert found.accuracy[0, :5] == pytest.approx(np.ones(5))
    assert np.abs(found.accuracy[0, 5:]).max() < 0.05
    assert found.logistic[0, 4] == pytest.approx(found.entropy[4], abs=0.01)
    assert abs(found.logistic[0, 5]) < 0.02
    assert np.isnan(found.logistic[0, :4]).all()
    assert (found.value, found.low, found.high) == (4, 4, 4)


def test_bits_of_a_noisy_copy_are_its_mutual_information():
    """The newest of 8 symbols, replaced by a random one in half of the cases: 0.80 bits."""
    generator = torch.Generator().manual_seed(5)

    def states(tokens, lengths):
        other = torch.randint(8, tokens.shape, generator=generator)
        keep = torch.rand(tokens.shape, generator=generator) < 0.5
        return {"copy": one_hot(torch.where(keep, tokens, other))}

    right, wrong = 0.5 + 0.5 / 8, 0.5 / 8
    want = 3 + right * np.log2(right) + 7 * wrong * np.log2(wrong)
    found = measure(states, known.symbols(800, 40, 8), positions=20, lags=(0, 1))
    assert want == pytest.approx(0.783, abs=0.001)
    assert found.map[0, 0] == pytest.approx(want, abs=0.04)
    assert found.map_low[0, 0] <= want <= found.map_high[0, 0]


def test_bits_of_a_noisy_copy_of_rare_and_common_symbols():
    """Symbols of frequency .6 .2 .1 .1; half of the copies are replaced by a draw of the same."""
    p = np.array([0.6, 0.2, 0.1, 0.1])
    rng = np.random.default_rng(2)
    tokens = torch.from_numpy(rng.choice(4, (2400, 40), p=p))

    def states(tokens, lengths):
        other = torch.from_numpy(rng.choice(4, tuple(tokens.shape), p=p))
        keep = torch.from_numpy(rng.random(tuple(tokens.shape)) < 0.5)
        return {"copy": one_hot(torch.where(keep, tokens, other), 4)}

    given = 0.5 * np.eye(4) + 0.5 * p
    want = float((p[:, None] * given * np.log2(given / p)).sum())
    found = measure(states, tokens, positions=20, lags=(0, 1))
    entropy = float(-(p * np.log2(p)).sum())
    assert found.entropy[0] == pytest.approx(entropy, abs=0.03)
    assert found.map[0, 0] == pytest.approx(want, abs=0.02)
    assert found.map_low[0, 0] <= want <= found.map_high[0, 0]


def test_a_symbol_between_two_others_is_read_too():
    """A unit at -3, 0 or 3, little noise: the middle symbol has a flat score, yet it is told."""
    generator = torch.Generator().manual_seed(0)
    tokens = known.symbols(200, 40, 3)

    def states(tokens, lengths):
        noise = torch.randn(tokens.shape, generator=generator) / 3
        return {"unit": (3 * (tokens - 1) + noise)[..., None]}

    found = measure(states, tokens, lags=(0, 1))
    assert found.map[0, 0] == pytest.approx(np.log2(3), abs=0.03)
    assert found.accuracy[0, 0] > 0.99


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("real", [True, False])
def test_a_random_state_holds_nothing(real, seed):
    generator = torch.Generator().manual_seed(seed)
    tokens = known.iid(150, 40, seed) if real else known.symbols(150, 40, 8, seed)
    found = measure(
        lambda x, lengths: {"noise": torch.randn(*x.shape, 24, generator=generator)},
        tokens,
        lags=tuple(range(12)),
        seed=seed,
    )
    assert np.abs(found.map).max() < 0.02
    assert (found.map_low <= 0).mean() > 0.9
    assert (found.map_high >= -1e-3).mean() > 0.9
    assert (found.value, found.low, found.high, found.censored) == (None, None, None, False)
    assert found.losses[0] == type(found.losses[0])(0, None, None, True)


def test_kept_here_lost_there():
    def states(tokens, lengths):
        full = past(one_hot(tokens), 4)
        return {"one": full, "two": full.clone(), "three": full[..., -8:], "four": full[..., -8:]}

    found = measure(states, known.symbols(150, 48, 8), lags=tuple(range(7)))
    assert found.reach == (3, 3, 0, 0)
    assert (found.value, found.layers) == (0, ("one", "two", "three", "four"))
    said = [(loss.lag, loss.kept, loss.lost, loss.sure) for loss in found.losses]
    assert said[0] == (0, "four", None, True)
    assert said[1:4] == [(d, "two", "three", True) for d in (1, 2, 3)]
    assert [(kept, lost) for _, kept, lost, _ in said[4:]] == [(None, None)] * 3
    lines = found.table().splitlines()
    assert lines[0].split() == ["layer", *(f"d={d}" for d in range(7)), "reach"]
    assert lines[1].split() == ["one", *["100%"] * 4, *["."] * 3, "3"]
    assert lines[-1].split() == ["lost", "at", "(kept)", *["three"] * 3, *["-"] * 3]


def test_losses_by_hand():
    held = np.array([[1, 1, 0, 1], [1, 0, 0, 0], [1, 0, 0, 1]], dtype=bool)
    maybe = np.array([[1, 1, 0, 1], [1, 0, 1, 0], [1, 1, 0, 1]], dtype=bool)
    found = losses(("a", "b", "c"), (0, 1, 2, 4), held, maybe)
    assert [(x.kept, x.lost, x.sure) for x in found] == [
        ("c", None, True),
        ("a", "b", False),
        (None, None, False),
        ("c", None, True),
    ]
    assert columns(3, 10) == [0, 1, 2]
    assert columns(65, 4) == [0, 3, 15, 64]


def test_it_equals_one_slow_ridge_a_lag():
    tokens = known.iid(90, 30)
    mix = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)).double()
    found = measure(
        lambda x, lengths: {"mixed": (past(x, 6) @ mix).tanh()},
        tokens,
        targets="last",
        lags=(0, 2, 5, 9),
        ridge=(0.01,),
    )
    state = (past(tokens, 6) @ mix).tanh()[:, -1].numpy()
    order = Seeds(0).numpy("retention split").permutation(90)
    test = np.isin(np.arange(90), order[: round(0.35 * 90)])
    scaler = StandardScaler().fit(state[~test])
    for k, d in enumerate((0, 2, 5, 9)):
        y = tokens[:, 29 - d].numpy()
        slow = SlowRidge(alpha=0.01 * int((~test).sum()))
        slow.fit(scaler.transform(state[~test]), y[~test])
        left = y[test] - slow.predict(scaler.transform(state[test]))
        want = 1 - (left**2).sum() / ((y[test] - y[~test].mean()) ** 2).sum()
        assert found.map[0, k] == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("shape", [(60, 8), (20, 30)])
def test_the_probe_equals_a_slow_one_at_every_penalty(shape):
    rng = np.random.default_rng(3)
    state, target, more = (
        rng.normal(size=shape),
        rng.integers(4, size=shape[0]),
        rng.normal(size=(5, shape[1])),
    )
    state[:, 1] = 3.0
    hot, scaler = np.eye(4)[target], StandardScaler().fit(state)
    for penalty in (1e-2, 0.3, 10.0):
        ridge = Ridge(state, (penalty,), 2e-16)
        fit = ridge.fit_classes(target, 4)
        assert fit.weight == pytest.approx(ridge.fit(hot).weight, abs=1e-12)
        slow = SlowRidge(alpha=penalty * len(state)).fit(scaler.transform(state), hot)
        said = slow.predict(scaler.transform(more))
        assert fit.scores(ridge.rotate(more)) == pytest.approx(said, abs=1e-9)
        assert ridge.moving == shape[1] - 1


def test_left_out_scores_equal_refitting_without_the_row():
    rng = np.random.default_rng(4)
    state = rng.normal(size=(25, 5))
    state = (state - state.mean(0)) / state.std(0)
    target = rng.normal(size=(25, 2))
    ridge = Ridge(state, (0.2,), 2e-16)
    fit = ridge.fit(target)
    lever = ridge.leverage(0.2)[:, None]
    said = fit.scores(ridge.rotated_ND)
    left_out = said - (target - said) * lever / (1 - lever)
    for row in (0, 7, 24):
        rest = np.arange(25) != row
        # An unpenalised constant, and the same sum of squares as with all rows.
        slow = SlowRidge(alpha=0.2 * 25).fit(state[rest], target[rest])
        assert left_out[row] == pytest.approx(slow.predict(state[[row]])[0], abs=1e-10)


def test_the_penalty_with_the_least_cross_validation_error_is_taken():
    rng = np.random.default_rng(6)
    state = rng.normal(size=(80, 40))
    target = state[:, :1] + 2 * rng.normal(size=(80, 1))
    grid = (1e-3, 0.1, 1.0, 10.0)
    state = (state - state.mean(0)) / state.std(0)
    scores = []
    for penalty in grid:
        gram = state.T @ state / 80 + penalty * np.eye(40)
        hat = state @ np.linalg.solve(gram, state.T) / 80 + 1 / 80
        left = target - hat @ target
        scores.append(float((left**2).mean()) / (1 - np.trace(hat) / 80) ** 2)
    assert Ridge(state, grid, 2e-16).fit(target).penalty == grid[int(np.argmin(scores))]


def test_one_factorisation_a_layer_serves_all_lags(monkeypatch):
    counted = []
    for name in ("eigh", "svd", "cholesky", "solve", "inv", "lstsq", "qr"):
        plain = getattr(np.linalg, name)
        monkeypatch.setattr(
            np.linalg, name, lambda *a, _p=plain, _n=name, **k: (counted.append(_n), _p(*a, **k))[1]
        )

    def states(tokens, lengths):
        full = past(one_hot(tokens), 3)
        return {"one": full, "two": full[..., -8:]}

    measure(states, known.symbols(100, 48, 8), lags=tuple(range(16)))
    assert counted == ["eigh", "eigh"]


def test_what_can_be_guessed_is_not_taken_for_memory():
    """A sticky chain: the newest symbol tells older ones; with `recent` this no longer counts."""
    generator = torch.Generator().manual_seed(0)
    fresh = torch.randint(8, (300, 60), generator=generator)
    move = torch.rand(300, 60, generator=generator) < 0.15
    move[:, 0] = True
    place = torch.where(move, torch.arange(60), 0).cummax(1).values
    tokens = fresh.gather(1, place)

    def states(tokens, lengths):
        return {"four": past(one_hot(tokens), 4), "newest": one_hot(tokens)}

    plain = measure(states, tokens, lags=tuple(range(8)))
    assert plain.reach[1] >= 3  # decodable all right
    assert np.isnan(plain.beyond).all()
    found = measure(states, tokens, lags=tuple(range(8)), recent=4, positions=24)
    assert found.reach == (3, 0)
    # A token is told by the next one: 0.15 of the time it is another one, any of 8.
    stay, go = 0.85 + 0.15 / 8, 0.15 / 8
    unknown = -stay * np.log2(stay) - 7 * go * np.log2(go)
    assert found.beyond[0, 1:4] == pytest.approx(np.full(3, unknown), abs=0.1)
    assert found.predictable[1:4] == pytest.approx(np.full(3, 3 - unknown), abs=0.1)
    assert np.abs(found.beyond[1, 1:]).max() < 0.02
    assert found.beyond[:, 0] == pytest.approx(found.map[:, 0])
    # One token is not enough: what the others of the state tell still looks like memory.
    assert measure(states, tokens, lags=tuple(range(8)), recent=1).reach == (7, 0)


def test_what_position_alone_tells_is_not_memory():
    """Tokens that depend on their position alone, and a state that counts."""
    tokens = (torch.arange(40) // 5).repeat(200, 1)

    def states(tokens, lengths):
        count = torch.eye(40).double().expand(len(tokens), 40, 40)
        return {"clock": count, "copy": one_hot(tokens)}

    found = measure(states, tokens, lags=(0, 1, 2), targets="spread")
    assert found.map[0] == pytest.approx(found.entropy, abs=0.01)
    assert found.control[0] == pytest.approx(found.entropy, abs=0.01)
    assert found.reach == (None, None)


def test_a_side_to_come():
    """A centred window of three holds one token to come and one past."""
    found = measure(
        lambda x, lengths: {"window": past(x, 3).roll(-1, dims=1)},
        known.iid(200, 40),
        lags=(-3, -2, -1, 0, 1, 2),
        targets="spread",
    )
    assert found.held.tolist() == [[False, False, True, True, True, False]]
    assert found.value == 1


def test_vectors_are_held_channel_by_channel():
    x = torch.randn(300, 30, 2, generator=torch.Generator().manual_seed(0)).double()
    found = measure(lambda x, lengths: {"first": x[..., :1]}, x, lags=(0, 1))
    assert found.map[0, 0] == pytest.approx(0.5, abs=0.05)
    assert found.capacity[0] == pytest.approx(1, abs=0.03)


def test_lengths_and_padding():
    tokens = known.symbols(200, 40, 8)
    lengths = torch.randint(20, 41, (200,), generator=torch.Generator().manual_seed(1))
    padding = torch.arange(40) >= lengths[:, None]
    options = {"lags": tuple(range(6)), "lengths": lengths}
    found = measure(cells(3), tokens, **options)
    again = measure(cells(3), tokens.masked_fill(padding, 3), **options)
    assert (found.map == again.map).all()
    assert found.reach == (2,)
    last = measure(cells(3), tokens, targets="last", **options)
    assert last.reach == (2,)
    few = measure(cells(3), tokens, lengths=lengths, targets="last", lags=(0, 1, 2, 25))
    assert few.num_sequences == int((lengths > 25).sum())
    assert any("too short for lags up to 25" in said for said in few.warnings)


def test_targets_by_position():
    tokens = known.symbols(120, 20, 8)
    at = torch.full((120, 2), 12)
    at[:, 1] = 17
    found = measure(cells(2), tokens, targets=at, lags=(0, 1, 2))
    assert found.reach == (1,)
    assert found.num_samples == 2 * (120 - 42)
    with pytest.raises(UsageError, match=r"targets must be \(N,\)"):
        measure(cells(2), tokens, targets=torch.zeros(3, 2, dtype=torch.int64))


def test_a_large_vocabulary_is_cut_to_its_commonest_symbols():
    """Half of all tokens are symbol 0, the rest any of 1 .. 999."""
    tokens = known.symbols(300, 30, 1998)
    tokens = torch.where(tokens < 1000, tokens, 0)
    found = measure(
        lambda tokens, lengths: {"is zero": (tokens == 0).double()[..., None]},
        tokens,
        lags=(0, 1),
        classes=2,
        positions=10,
    )
    assert found.entropy[0] == pytest.approx(1, abs=0.01)
    assert found.map[0, 0] == pytest.approx(1, abs=0.01)
    assert any("the 1 commonest are told apart" in said for said in found.warnings)


@pytest.mark.parametrize("seed", range(6))
def test_a_symbol_never_seen_costs_little(seed):
    """Symbols by Zipf's law and a state that names each: rare ones occur on one side alone."""
    rng = np.random.default_rng(seed)
    p = 1 / np.arange(1, 61) ** 1.5
    tokens = torch.from_numpy(rng.choice(60, (150, 24), p=p / p.sum()))
    vectors = torch.from_numpy(rng.normal(size=(60, 64)))
    found = measure(lambda x, lengths: {"name": vectors[x]}, tokens, lags=(0, 1))
    assert 0.85 < found.share[0, 0] <= 1
    assert found.map_low[0, 0] > 0.78 * found.entropy[0]
    assert abs(found.map[0, 1]) < 0.05
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_few_sequences_give_no_interval():
    found = measure(cells(2), known.symbols(40, 80, 8), positions=32, lags=tuple(range(4)))
    assert found.reach == (1,)
    assert (found.low, found.high) == (None, None)
    assert np.isnan(found.map_low).all()
    assert np.isnan(found.curve.low).all()
    assert any("14 held-out sequences, at least 30" in said for said in found.warnings)
    two = measure(cells(2), known.symbols(2, 80, 8), positions=32, lags=(0, 1, 2))
    assert two.num_held_out == 1


def test_few_samples_are_said():
    found = measure(cells(8), known.symbols(100, 20, 8), targets="last", lags=(0, 1))
    assert any(
        "65 training states for 64 units in cells: less than 1280" in s for s in found.warnings
    )


def test_more_units_than_states():
    found = measure(
        lambda x, lengths: {"wide": past(x, 4).repeat(1, 1, 60)},
        known.iid(100, 30),
        targets="last",
        lags=tuple(range(6)),
    )
    assert found.map[0, :4] == pytest.approx(np.ones(4), abs=1e-3)
    assert np.abs(found.map[0, 4:]).max() < 0.2


def test_states_that_do_not_vary():
    found = measure(
        lambda x, lengths: {"dead": torch.full((*x.shape, 3), 0.1)},
        known.symbols(100, 30, 8),
        lags=(0, 1),
    )
    assert (found.map == 0).all()
    assert found.value is None
    assert any("dead: the states do not vary" in said for said in found.warnings)


def test_rounding_is_not_memory():
    """A constant in float32 whose rounding depends on the token holds nothing."""
    found = measure(
        lambda x, lengths: {"h": (1e4 + 1e-3 * one_hot(x).float())},
        known.symbols(100, 30, 8),
        lags=(0, 1),
    )
    assert found.value is None


def test_tokens_that_do_not_vary():
    with pytest.raises(DataError, match="All tokens are the same"):
        measure(cells(2), torch.zeros(50, 20, dtype=torch.int64), lags=(0, 1))
    tokens = known.symbols(100, 20, 8)
    tokens[:, 15] = 0
    found = measure(cells(8), tokens, targets="last", lags=(3, 4, 5))
    assert (found.entropy[1], found.map[0, 1], bool(found.held[0, 1])) == (0, 0, False)
    assert any("do not vary" in said for said in found.warnings)
    real = measure(lambda x, l: {"x": past(x, 3)}, torch.ones(100, 20).double(), lags=(0, 1))
    assert real.value is None
    assert real.capacity == (0.0,)


def test_a_longest_lag_that_is_held_is_censored():
    found = measure(cells(9), known.symbols(200, 48, 8), positions=16, lags=tuple(range(5)))
    assert (found.value, found.censored) == (4, True)
    assert found.table().splitlines()[1].endswith(">=4")


def test_lags_beyond_the_data():
    tokens = known.symbols(100, 12, 8)
    found = measure(cells(2), tokens, lags=(0, 1, 2, 40))
    assert found.lags == (0, 1, 2)
    assert any("1 lags reach beyond sequences of 12" in said for said in found.warnings)
    with pytest.raises(UsageError, match="No lag of"):
        measure(cells(2), tokens, lags=(40, 50))
    assert measure(cells(2), tokens).lags == tuple(range(6))
    assert measure(cells(2), tokens, targets="last").lags == tuple(range(12))
    assert measure(cells(2), tokens[:, :1]).lags == (0,)


def test_the_online_code_is_shorter_where_states_know():
    found = measure(
        cells(2), known.symbols(200, 32, 8), lags=(0, 1, 4), codelength=(1, 4), positions=16
    )
    # A tenth of the tokens is sent at 3 bits, the rest for almost nothing: close to 10.
    assert found.compression[0, 1] == pytest.approx(10, rel=0.05)
    assert found.compression[0, 2] == pytest.approx(1, abs=0.01)
    assert np.isnan(found.compression[0, 0])


def test_wrong_states_and_options():
    tokens = known.symbols(50, 20, 8)
    with pytest.raises(DataError, match="not numbers"):
        measure(lambda x, l: {"nan": torch.full((*x.shape, 2), torch.nan)}, tokens)
    with pytest.raises(UsageError, match="do not fit 50 rows"):
        measure(lambda x, l: {"short": torch.zeros(len(x), 7, 2)}, tokens)
    with pytest.raises(UsageError, match="targets='first'"):
        measure(cells(2), tokens, targets="first")
    with pytest.raises(UsageError, match="asks for lags that are not measured"):
        measure(cells(2), tokens, lags=(0, 1), logistic=(2,))
    with pytest.raises(UsageError, match="or of real inputs"):
        measure(lambda x, l: {"x": past(x, 2)}, known.iid(50, 20), logistic=(0,))
    for name, value in [
        ("eps", 0),
        ("held_out", 1),
        ("lags", ()),
        ("ridge", (0.0,)),
        ("recent", -1),
    ]:
        with pytest.raises(UsageError, match=name):
            RetentionOptions(**{name: value})


def test_the_same_call_gives_the_same_numbers():
    first, again = (measure(cells(2), known.symbols(100, 20, 8), lags=(0, 1, 2)) for _ in range(2))
    assert (first.map == again.map).all()
    assert (first.map_low == again.map_low).all()
    assert first == again
