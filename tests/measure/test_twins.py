"""Swap and interaction reach against slow twins written from the definitions: loops, no tricks."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from tests.measure import known
from tests.measure.test_stats import crossing_twin, drawn_rows, limits_twin

from howfar.core.seeds import Seeds
from howfar.measure import InteractionOptions, SwapOptions, interaction_reach, probe, swap_reach
from howfar.measure.stats import Bootstrap, Studentised

SYMBOLS = 6


def weights(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def linear(x, lengths):
    """A random causal filter of the whole row: (B, L) -> (B, L)."""
    g = weights(x.shape[1]) * 0.7 ** torch.arange(x.shape[1])
    place = torch.arange(x.shape[1])
    lag = place[:, None] - place[None, :]
    return x.double() @ torch.where(lag >= 0, g[lag.clamp(min=0)], 0).T


def rnn(tokens, lengths):
    """h = tanh(W h + e): (B, L) -> (B, L, V)."""
    e, w, out = weights(SYMBOLS, 5), weights(5, 5, seed=1) / 2, weights(5, SYMBOLS, seed=2)
    h, rows = torch.zeros(len(tokens), 5).double(), []
    for t in range(tokens.shape[1]):
        h = torch.tanh(h @ w + e[tokens[:, t]])
        rows.append(h @ out)
    return torch.stack(rows, 1)


def attention(tokens, lengths):
    """One causal softmax head with positions: (B, L) -> (B, L, V)."""
    x = weights(SYMBOLS, 5)[tokens] + weights(64, 5, seed=3)[: tokens.shape[1]] / 2
    q, k = x @ weights(5, 5, seed=4), x @ weights(5, 5, seed=5)
    scores = q @ k.transpose(1, 2) / 5**0.5
    future = torch.ones(scores.shape[1:]).triu(1).bool()
    return scores.masked_fill(future, -torch.inf).softmax(-1) @ x @ weights(5, SYMBOLS, seed=6)


MODELS = {"linear": linear, "rnn": rnn, "attention": attention}


def case(name, num, length, equal, dtype):
    """A model answering in `dtype`, its rows and their lengths."""
    rng = torch.Generator().manual_seed(7)
    if name == "linear":
        tokens = torch.randn(num, length, generator=rng).double()
    else:
        tokens = torch.randint(SYMBOLS, (num, length), generator=rng)
    lengths = torch.full((num,), length)
    if not equal:
        lengths = torch.randint((length + 1) // 2, length + 1, (num,), generator=rng)
    return (lambda x, n: MODELS[name](x, n).to(dtype)), tokens, lengths


def softmax(logits):
    top = max(logits)
    each = [math.exp(v - top) for v in logits]
    return [v / math.fsum(each) for v in each]


def divergence(name, one, two):
    if name == "linear":
        return (one - two) ** 2
    pairs = list(zip(softmax(one), softmax(two), strict=True))
    parts = (a * math.log(2 * a / (a + b)) + b * math.log(2 * b / (a + b)) for a, b in pairs)
    return math.fsum(parts) / 2 / math.log(2)


def donor_row(tokens, lengths, j):
    """Row j from its start, over and over, to the width of the table."""
    row = tokens[j, : lengths[j]].tolist()
    return [row[s % len(row)] for s in range(tokens.shape[1])]


def answers(predict, rows, like, lengths):
    return predict(torch.tensor(rows, dtype=like.dtype), lengths).double().tolist()


def paired_twin(name, predict, tokens, lengths, donor, kept):
    """D(f(x_i), f(x_i^(k))) at the last real token: {k: [N]}."""
    clean = answers(predict, tokens.tolist(), tokens, lengths)
    found = {}
    for k in kept:
        rows = []
        for i in range(len(tokens)):
            t, other = int(lengths[i]) - 1, donor_row(tokens, lengths, donor[i])
            rows.append([other[s] if s <= t - k else v for s, v in enumerate(tokens[i].tolist())])
        moved = answers(predict, rows, tokens, lengths)
        ends = [int(n) - 1 for n in lengths]
        found[k] = [divergence(name, clean[i][t], moved[i][t]) for i, t in enumerate(ends)]
    return found


def fast_twin(name, predict, tokens, lengths, donor, cut, kept):
    """The same from one pass: position t keeps k = t - cut + 1."""
    clean = answers(predict, tokens.tolist(), tokens, lengths)
    rows = []
    for i in range(len(tokens)):
        other = donor_row(tokens, lengths, donor[i])
        rows.append([other[s] if s < cut else v for s, v in enumerate(tokens[i].tolist())])
    moved = answers(predict, rows, tokens, lengths)
    return {
        k: [divergence(name, a[cut - 1 + k], b[cut - 1 + k]) for a, b in zip(clean, moved)]  # noqa: B905
        for k in kept
    }


def doubt_twin(effects, kept, last, donor, seed, resamples, eps=0.05):
    """Bands of r by k, and the interval of R_eps: k is surely short, surely enough, or neither."""
    num = len(donor)
    means = Studentised(num, resamples, Seeds(seed).numpy("swap bootstrap"), donor[None])
    drawn, whole = drawn_rows(means), math.fsum(effects[0]) / num

    def of(k, level):
        off = [(effects[k][i] - level * effects[0][i]) / whole for i in range(num)]
        return limits_twin([[off]], [donor], drawn)

    ratios = {k: math.fsum(effects[k]) / num / whole for k in kept}
    bands = {}
    for k in kept:
        low, high = of(k, ratios[k])
        low = ratios[k] * math.exp(low / ratios[k]) if ratios[k] > 0 else 0
        bands[k] = (low, ratios[k] + high)
    sides = {k: of(k, eps) for k in kept if k <= last}
    low = next((k for k in sorted(sides) if sides[k][0] <= 0), last + 1)
    high = max((k for k in sides if sides[k][1] > 0), default=-1) + 1
    return bands, low, high


CASES = [
    (name, num, length, equal, dtype)
    for name in MODELS
    for num, length in ((2, 3), (30, 17), (64, 2), (30, 1), (64, 17))
    for equal in (True, False)
    for dtype in (torch.float64, torch.float32)
    if equal or length > 2
]


@pytest.mark.parametrize(("name", "num", "length", "equal", "dtype"), CASES)
@pytest.mark.parametrize("design", ["paired", "fast"])
def test_swap_reach_is_its_twin(design, name, num, length, equal, dtype):
    predict, tokens, lengths = case(name, num, length, equal, dtype)
    shortest = int(lengths.min())
    if design == "fast" and shortest < 2:
        pytest.skip("one token cannot be cut")
    options = SwapOptions(design=design, resamples=60, batch=64, grid=tuple(range(length)))
    found = swap_reach(predict, tokens, lengths=lengths, options=options)
    donor = probe.donors(num, 1, Seeds(0).numpy("swap donors"))[0]
    if design == "paired":
        top = int(lengths.max())
        last, kept = top - 1, list(range(top + 1))
        effects = paired_twin(name, predict, tokens, lengths, donor, kept)
    else:
        cut = round(shortest / 2)
        last = shortest - cut
        kept = list(range(last + 1))
        effects = fast_twin(name, predict, tokens, lengths, donor, cut, kept)
    table = np.array([effects[k] for k in kept]).T
    np.testing.assert_allclose(found.curve.matrix[0], table, rtol=1e-10, atol=1e-14)
    assert found.window == last
    whole = math.fsum(effects[0])
    ratios = [math.fsum(effects[k]) / whole for k in kept]
    np.testing.assert_allclose(found.curve.mean, ratios, rtol=1e-10, atol=1e-12)
    for eps, reach in found.ladder.items():
        want = crossing_twin(kept, ratios, eps)
        assert reach == (None if want is None or want > last else want)
    assert found.value == found.ladder[0.05]
    assert found.censored == (found.value is None)
    bounds, low, high = doubt_twin(effects, kept, last, donor, 0, 60)
    lows, highs = zip(*(bounds[k] for k in kept), strict=True)
    np.testing.assert_allclose(found.curve.low, lows, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.curve.high, highs, rtol=1e-8, atol=1e-10)
    if num < 30:
        assert (found.low, found.high, found.detectable, found.useful) == (None,) * 4
        return
    value = last + 1 if found.value is None else found.value
    low, high = min(low, value), max(high, value)
    assert found.low == (None if low > last else low)
    assert found.high == (None if high > last else high)
    seen = [k for k in kept if bounds[k][0] > found.noise_floor]
    detectable = max(seen, default=-1) + 1
    assert found.detectable == (None if detectable > last else detectable)
    assert found.detectable_censored == (detectable > last)


def test_wide_intervals_are_their_twin():
    """A slow decay, where the ends of the interval are order statistics far apart."""
    tokens, kept = known.iid(30, 40), list(range(41))
    lengths, predict = torch.full((30,), 40), known.decay(0.93)
    for seed in range(6):
        options = SwapOptions(resamples=30, grid=tuple(range(40)), seed=seed)
        found = swap_reach(predict, tokens, options=options)
        donor = probe.donors(30, 1, Seeds(seed).numpy("swap donors"))[0]
        effects = paired_twin("linear", predict, tokens, lengths, donor, kept)
        _, low, high = doubt_twin(effects, kept, 39, donor, seed, 30)
        point = 40 if found.value is None else found.value
        assert found.low == min(low, point)
        assert found.high == (None if max(high, point) > 39 else max(high, point))


@pytest.mark.parametrize("design", ["paired", "fast"])
@pytest.mark.parametrize("name", ["rnn", "attention"])
def test_benefit_and_useful_are_their_twin(design, name):
    num, length = 40, 17
    predict, tokens, lengths = case(name, num, length, True, torch.float64)
    labels = torch.randint(SYMBOLS, (num, length), generator=torch.Generator().manual_seed(9))
    options = SwapOptions(design=design, resamples=60, grid=tuple(range(length)))
    found = swap_reach(predict, tokens, labels=labels, options=options)
    donor = probe.donors(num, 1, Seeds(0).numpy("swap donors"))[0]
    cut = 8
    last = 16 if design == "paired" else 9
    extra = {}
    clean = answers(predict, tokens.tolist(), tokens, lengths)
    for k in range(last + 1):
        losses = []
        for i in range(num):
            t = 16 if design == "paired" else cut - 1 + k
            row = tokens[i].tolist()
            first = t - k + 1
            row = tokens[donor[i]].tolist()[:first] + row[first:]
            (other,) = answers(predict, [row], tokens, lengths[:1])
            y = int(labels[i, t])
            losses.append(math.log(softmax(clean[i][t])[y]) - math.log(softmax(other[t])[y]))
        extra[k] = losses
    places = [found.benefit.kept.index(k) for k in extra]
    means = [math.fsum(extra[k]) / num for k in extra]
    np.testing.assert_allclose([found.benefit.mean[p] for p in places], means, atol=1e-10)
    means_of = Studentised(num, 60, Seeds(0).numpy("swap bootstrap"), donor[None])
    drawn = drawn_rows(means_of)
    highs = [limits_twin([[extra[k]]], [donor], drawn)[1] for k in extra]
    np.testing.assert_allclose([found.benefit.high[p] for p in places], highs, atol=1e-9)
    useful = max([k for k, high in enumerate(highs) if high >= 0.01], default=-1) + 1
    assert found.useful == (None if useful > last else useful)
    assert found.useful_censored == (useful > last)


def test_several_models_and_donors_are_averaged_before_the_ratio():
    tokens = known.iid(31, 12)
    models = [known.delay(2), known.boxcar(6)]
    found = swap_reach(models, tokens, options=SwapOptions(donors=3, grid=tuple(range(12))))
    ways = probe.donors(31, 3, Seeds(0).numpy("swap donors"))
    lengths = torch.full((31,), 12)
    sums = dict.fromkeys(range(13), 0.0)
    for s, model in enumerate(models):
        every = [paired_twin("linear", model, tokens, lengths, way, range(13)) for way in ways]
        for k in range(13):
            row = np.mean([each[k] for each in every], axis=0)
            np.testing.assert_allclose(found.curve.matrix[s, :, k], row, atol=1e-12)
            sums[k] += row.sum()
    np.testing.assert_allclose(found.curve.mean, [sums[k] / sums[0] for k in range(13)], atol=1e-12)
    assert found.per_model == (3, 6)


def test_several_cuts_are_averaged():
    tokens = known.iid(30, 40)
    found = swap_reach(linear, tokens, options=SwapOptions(design="fast", cuts=3))
    donor = probe.donors(30, 1, Seeds(0).numpy("swap donors"))[0]
    lengths = torch.full((30,), 40)
    cuts, last = (10, 20, 30), 10
    twins = [fast_twin("linear", linear, tokens, lengths, donor, c, range(last + 1)) for c in cuts]
    table = np.mean([[t[k] for k in range(last + 1)] for t in twins], axis=0).T
    np.testing.assert_allclose(found.curve.matrix[0], table, rtol=1e-10)
    assert found.window == last


@given(st.floats(0.3, 0.97), st.integers(0, 40), st.sampled_from([48, 100]))
@settings(deadline=None, max_examples=25)
def test_bisection_finds_what_every_k_would_give(a, lag, length):
    """On a falling curve the sparse grid with bisection is the full grid."""
    tokens = known.iid(30, length)
    predict = known.linear([0.0] * lag + [a**d for d in range(length - lag)])
    full = swap_reach(predict, tokens, options=SwapOptions(grid=tuple(range(length)), resamples=50))
    if (np.diff(full.curve.mean) > 0).any():
        return
    sparse = swap_reach(predict, tokens, options=SwapOptions(resamples=50))
    assert sparse.ladder == full.ladder
    assert sparse.passes < full.passes
    assert (sparse.detectable, sparse.structural) == (full.detectable, full.structural)
    assert abs((sparse.low or 999) - (full.low or 999)) <= 1


def test_a_sparse_grid_of_ones_own_still_finds_the_edge():
    found = swap_reach(known.delay(10), known.iid(64, 64), options=SwapOptions(grid=(0, 5)))
    assert (found.value, found.detectable, found.structural) == (11, 11, 11)


def exact_bits(one, two):
    """Jensen-Shannon with 60 digits."""
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(60):
        p, q = ([mpmath.e ** mpmath.mpf(v) for v in logits] for logits in (one, two))
        p, q = [v / sum(p) for v in p], [v / sum(q) for v in q]
        m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
        each = [a * mpmath.log(a / c) + b * mpmath.log(b / c) for a, b, c in zip(p, q, m)]  # noqa: B905
        return float(sum(each) / 2 / mpmath.log(2))


@pytest.mark.parametrize("step", [1.0, 1e-2, 1e-4, 1e-6, 1e-7])
def test_small_divergences_are_exact(step):
    one, two = weights(1, 9), weights(1, 9) + step * weights(1, 9, seed=1)
    want = exact_bits(one[0].tolist(), two[0].tolist())
    found = probe.diverge("js", one, two)[0]
    # Logits are held to 1e-16, so their difference is known to 1e-16 / step.
    assert found == pytest.approx(want, rel=max(1e-12, 4e-15 / step))


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=8), st.integers(0, 10**6))
@settings(deadline=None)
def test_divergences_have_their_properties(one, seed):
    two = np.random.default_rng(seed).normal(0, 5, len(one)).tolist()
    p, q = (torch.tensor([logits], dtype=torch.float64) for logits in (one, two))
    js = probe.diverge("js", p, q)[0]
    with np.errstate(invalid="ignore"):  # its square root of a rounding error below 0
        twin = np.nan_to_num(jensenshannon(softmax(one), softmax(two), base=2)) ** 2
    assert js == pytest.approx(twin, abs=1e-10)
    assert js == pytest.approx(probe.diverge("js", q, p)[0], abs=1e-14)
    assert 0 <= js <= 1
    assert probe.diverge("js", p, p)[0] == probe.diverge("kl", p, p)[0] == 0
    assert probe.diverge("js", p + 7.5, q - 3)[0] == pytest.approx(js, abs=1e-12)
    pairs = zip(softmax(one), softmax(two), strict=True)
    kl = math.fsum(a * math.log(a / b) for a, b in pairs if a > 0)
    assert probe.diverge("kl", p, q)[0] == pytest.approx(kl, abs=1e-9)
    assert probe.diverge("l2", p, q)[0] == pytest.approx(math.dist(one, two) ** 2, rel=1e-12)


def test_certain_opposites_are_one_bit_apart():
    far = torch.tensor([[800.0, 0.0]]).double()
    assert probe.diverge("js", far, far.flip(1))[0] == pytest.approx(1, abs=1e-15)
    masked = torch.tensor([[0.0, -torch.inf]]).double()
    assert probe.diverge("js", masked, masked.flip(1))[0] == pytest.approx(1, abs=1e-15)


def pairs_twin(predict, tokens, lengths, lag, span, pairs, centred):
    """Squared second difference and single effects of every row that is long enough."""
    num = len(tokens)
    rng = Seeds(0).numpy(f"interaction {lag}")
    joint, single = [[] for _ in range(num)], [[] for _ in range(num)]
    for _ in range(pairs):
        donor = probe.donors(num, 1, rng)[0]
        places = rng.random(num)
        for i in range(num):
            room = int(lengths[i]) - lag - span + 1
            if room < 1:
                continue
            first = math.floor(places[i] * room)
            other = donor_row(tokens, lengths, donor[i])
            sets = [], [first], [first + lag], [first, first + lag]
            rows = []
            for starts in sets:
                row = tokens[i].tolist()
                for start in starts:
                    row[start : start + span] = other[start : start + span]
                rows.append(row)
            f = np.array(answers(predict, rows, tokens, lengths[i].repeat(4)))
            f = f - f.mean(1, keepdims=True) if centred else f
            joint[i].append(((f[3] - f[1] - f[2] + f[0]) ** 2).sum())
            single[i].append((((f[1] - f[0]) ** 2).sum() + ((f[2] - f[0]) ** 2).sum()) / 2)
    return joint, single


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize(("span", "pairs", "num"), [(1, 1, 64), (2, 3, 40), (1, 2, 2)])
def test_interaction_is_its_twin(equal, span, pairs, num):
    _, tokens, lengths = case("rnn", num, 17, equal, torch.float64)

    def predict(x, n):
        return rnn(x, n)[torch.arange(len(x)), n - 1]

    lags = (2, 3, 4)
    options = InteractionOptions(span=span, pairs=pairs, lags=lags, resamples=80)
    found = interaction_reach(predict, tokens, lengths=lengths, options=options)
    twins = {lag: pairs_twin(predict, tokens, lengths, lag, span, pairs, True) for lag in lags}
    singles = [v for _, single in twins.values() for row in single for v in row]
    point = [
        np.mean([v for row in joint for v in row]) / np.mean(singles) for joint, _ in twins.values()
    ]
    np.testing.assert_allclose(found.curve.mean, point, rtol=1e-10)
    bootstrap = Bootstrap((1, num), 80, Seeds(0).numpy("interaction bootstrap"))
    ratios = []
    for times in bootstrap.sequences_RN:
        rows = np.repeat(np.arange(num), times)
        base = np.mean([v for _, single in twins.values() for i in rows for v in single[i]])
        ratios.append(
            [np.mean([v for i in rows for v in joint[i]]) / base for joint, _ in twins.values()]
        )
    low, high = np.quantile(ratios, [0.025, 0.975], axis=0)
    np.testing.assert_allclose(found.curve.low, low, rtol=1e-9)
    np.testing.assert_allclose(found.curve.high, high, rtol=1e-9)
    holds = [lag for lag, b in zip(lags, low, strict=True) if b > 0.05 * max(point)]
    assert found.value == max(holds, default=None)
    if num < 30:
        assert (found.low, found.high) == (None, None)
        return
    furthest = [max(d for d, v in zip(lags, r, strict=True) if v > 0.05 * max(r)) for r in ratios]
    ends = np.quantile(furthest, [0.025, 0.975])
    assert (found.low, found.high) == (math.floor(ends[0]), math.ceil(ends[1]))
