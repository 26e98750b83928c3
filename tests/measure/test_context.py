"""Context-length curves of models whose use of context is known in closed form."""

import itertools
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from tests.measure import known
from torch import nn
from torch.nn import functional as F

import howfar
from howfar.core.errors import DataError, UsageError
from howfar.measure.context import ContextOptions, context_curve

V = 8


def measure(predict, tokens, *, lengths=None, labels=None, groups=None, **options):
    options = ContextOptions(**{"resamples": 200, **options})
    return context_curve(
        predict, tokens, lengths=lengths, labels=labels, groups=groups, options=options
    )


def periodic(num, length, period, seed=0):
    """x_{t+1} = x_{t+1-period}: what a copier with lag period - 1 predicts."""
    return known.symbols(num, period, V, seed).repeat(1, length // period + 1)[:, :length]


def copier(lag, confidence=0.9):
    """`known.copy_language_model`, flat where the token `lag` back is not there."""
    inner = known.copy_language_model(lag, V, confidence)

    def predict(tokens, lengths):
        logits = inner(tokens, lengths)
        logits[:, :lag] = math.log(1 / V)
        return logits

    return predict


@pytest.mark.parametrize("lag", [1, 6, 20, 37])
def test_the_copier_is_a_step_at_lag_plus_one(lag):
    found = measure(copier(lag), periodic(64, 128, lag + 1))
    step = math.log(V) + math.log(0.9 + 0.1 / V)
    assert (found.value, found.low, found.high) == (lag + 1,) * 3
    assert found.share_value == found.mean_value == found.best == lag + 1
    assert found.full_nats == pytest.approx(-math.log(0.9 + 0.1 / V), abs=1e-12)
    for c, extra in zip(found.curve.x, found.curve.mean, strict=True):
        if c > 0:
            assert extra == pytest.approx(step if c <= lag else 0, abs=1e-12)
    # without input: the average of 0.9 onehot + 0.1 / V over nearly uniform symbols
    assert found.zero_nats == pytest.approx(math.log(V), abs=0.03)
    assert found.warnings == ()
    assert not found.censored
    assert (found.window, found.num_targets) == (127 - 14, 64 * 15)  # 127 // 8 targets a row


def mixture_source(states=3, order=3):
    """x_{t+1} copies x_t, x_{t-1} or x_{t-2} with .1, .1, .7, else is uniform.

    Returns p(next | last c tokens) for c = 0 .. order, each a table (states,) * c + (states,), by
    enumeration of the stationary distribution.
    """
    shares = (0.1, 0.1, 0.7)
    step = np.zeros((states,) * (order + 1))
    for old in itertools.product(range(states), repeat=order):
        step[old] = 0.1 / states
        for share, token in zip(shares, reversed(old), strict=True):
            step[(*old, token)] += share
    here = np.full((states,) * order, states**-order)
    for _ in range(500):
        here = np.einsum("abc,abcd->bcd", here, step)
    joint = here[..., None] * step
    tables, entropies = [], []
    for c in range(order + 1):
        kept = joint.sum(axis=tuple(range(order - c)))
        tables.append(kept / kept.sum(-1, keepdims=True))
        entropies.append(float(-(kept * np.log(tables[-1])).sum()))
    return tables, entropies


def test_markov_source_of_order_3_needs_3_tokens():
    tables, entropies = mixture_source()
    rng = np.random.default_rng(0)
    rows = rng.integers(3, size=(400, 80))
    for t in range(3, 80):
        odds = tables[3][rows[:, t - 3], rows[:, t - 2], rows[:, t - 1]].cumsum(-1)
        rows[:, t] = (rng.random((400, 1)) > odds).sum(-1)

    def exact(tokens, lengths):
        logits = torch.empty(*tokens.shape, 3, dtype=torch.float64)
        for t in range(tokens.shape[1]):
            c = min(t + 1, 3)
            old = tuple(tokens[:, t - c + 1 + i].numpy() for i in range(c))
            logits[:, t] = torch.from_numpy(np.log(tables[c][old]))
        return logits

    found = measure(exact, torch.from_numpy(rows), targets=8, tolerance_nats=0.005)
    assert entropies[2] - entropies[3] > 0.015
    assert (found.value, found.mean_value) == (3, 3)
    assert found.low <= 3 <= found.high
    assert found.full_nats == pytest.approx(entropies[3], abs=0.03)
    curve = dict(zip(found.curve.x, found.curve.mean, strict=True))
    for c in range(3):
        assert curve[c] == pytest.approx(entropies[c] - entropies[3], abs=0.03)
    assert [curve[c] for c in found.curve.x if c >= 3] == [0] * len([c for c in curve if c >= 3])
    assert found.curve.low[2] < entropies[2] - entropies[3] < found.curve.high[2]


def test_memoryless_model_needs_one_token():
    found = measure(copier(0), periodic(40, 64, 1))
    assert (found.value, found.low, found.high, found.share_value) == (1, 1, 1, 1)
    assert found.full_nats == pytest.approx(-math.log(0.9125))


def constant(tokens, lengths):
    return torch.arange(V).float().log1p().expand(*tokens.shape, V)


def test_constant_model_has_no_benefit():
    found = measure(constant, known.symbols(40, 64, V))
    assert found.value is None
    assert found.low is found.high is found.share_value is None
    assert not found.censored
    assert any("no benefit from context" in said for said in found.warnings)
    assert max(map(abs, found.curve.mean)) < 1e-6


def test_random_confident_model_has_no_benefit():
    found = measure(copier(3), known.symbols(60, 64, V))  # what it copies says nothing
    assert found.value is None
    assert any("no benefit" in said for said in found.warnings)


def test_context_worth_less_than_the_tolerance_is_said():
    found = measure(copier(3, confidence=0.02), periodic(40, 64, 4), tolerance_nats=0.5)
    assert found.value == 0
    assert any("less than 0.5 nats" in said for said in found.warnings)


def test_far_context_that_hurts_is_said():
    def worse(tokens, lengths):
        logits = copier(5)(tokens, lengths)
        logits[:, 30:] = copier(5, confidence=0.5)(tokens, lengths)[:, 30:]
        return logits

    found = measure(worse, periodic(40, 96, 6))
    gap = math.log(0.9 + 0.1 / V) - math.log(0.5 + 0.5 / V)
    assert (found.value, found.low, found.high, found.best) == (6, 6, 6, 6)
    assert found.curve.mean[found.curve.x.index(6)] == pytest.approx(-gap)
    assert any(f"6 tokens cost {gap:.3f} nats less" in said for said in found.warnings)


def test_full_context_worse_than_none_is_still_told():
    def ruined(tokens, lengths):
        logits = copier(5)(tokens, lengths)
        logits[:, 30:, 0] += 9.0
        return logits

    found = measure(ruined, periodic(40, 96, 6) % (V - 1) + 1)
    # one token is as good as the full context, by definition; six are best
    assert (found.value, found.best) == (1, 6)
    assert any("hurts" in said for said in found.warnings)


def test_context_needed_to_the_last_token_is_censored():
    def until_the_end(tokens, lengths):
        flat = torch.zeros(*tokens.shape, V)
        return flat + 3 * (tokens.shape[1] >= 56) * F.one_hot(tokens, V)

    found = measure(until_the_end, periodic(40, 64, 1))
    assert found.window == 57
    assert found.value == 56
    found = measure(until_the_end, periodic(40, 64, 1), longest=56)
    assert found.censored
    assert found.value is found.low is found.high is None


def slow_extra(predict, tokens, targets, window, context):
    """Row by row, target by target: mean extra nats."""
    total = []
    for row in tokens:
        for t in range(len(row) - 1 - targets, len(row) - 1):
            nats = []
            for c in (context, window):
                piece = row[t - c + 1 : t + 1][None]
                logits = predict(piece, torch.tensor([c]))[0, -1]
                nats.append(-logits.double().log_softmax(-1)[row[t + 1]].item())
            total.append(nats[0] - nats[1])
    return np.mean(total)


class Gru(nn.Module):
    def __init__(self, seed=0, width=16):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.embedding = nn.Embedding(V, width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, V)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5, generator=generator)
        self.widest = 0

    def forward(self, tokens, lengths):
        self.widest = max(self.widest, tokens.numel())
        return self.head(self.gru(self.embedding(tokens))[0])


class Stream(Gru):
    def chunk(self, tokens, state):
        self.widest = max(self.widest, tokens.numel())
        y, state = self.gru(self.embedding(tokens), state)
        return self.head(y), state


def test_agrees_with_a_slow_twin():
    model, tokens = Gru(), known.symbols(8, 40, V)
    found = measure(model, tokens, grid=(1, 3, 10), exact=False)
    assert (found.window, found.num_targets) == (36, 8 * 4)
    with torch.no_grad():
        for c in (1, 3, 10):
            want = slow_extra(model, tokens, 4, 36, c)
            assert found.curve.mean[found.curve.x.index(c)] == pytest.approx(want, abs=1e-6)


def test_chunks_heads_and_budgets_change_nothing():
    tokens = known.symbols(30, 100, V)
    few = {"grid": (2, 30), "exact": False}
    whole = measure(Gru(), tokens, **few)
    stream = Stream()
    pieces = measure(stream, tokens, chunk=7, budget=70, **few)
    assert stream.widest <= 70
    np.testing.assert_allclose(pieces.curve.mean, whole.curve.mean, atol=1e-6)
    for model in (Gru(), Stream()):
        narrow = measure(model, tokens, head="head", chunk=16, **few)
        np.testing.assert_allclose(narrow.curve.mean, whole.curve.mean, atol=1e-6)
        assert model.head._forward_pre_hooks == {}
        assert model.training


@pytest.mark.parametrize("family", ["gru", "tcn", "transformer"])
def test_models_of_our_own_run_in_chunks(family):
    model = howfar.build(family, vocabulary=V, outputs=V, width=16, depth=2, causal=True)
    tokens = known.symbols(30, 64, V)
    whole, pieces = (measure(model, tokens, chunk=size, grid=(3, 20)) for size in (1024, 9))
    np.testing.assert_allclose(pieces.curve.mean, whole.curve.mean, atol=1e-6)


def test_prefix_stands_before_every_window():
    seen = set()

    def predict(tokens, lengths):
        seen.add(tuple(tokens[:, :2].unique(dim=0).flatten().tolist()))
        assert (lengths == tokens.shape[1]).all()
        return copier(5)(tokens, lengths)

    tokens = periodic(40, 64, 6) % 6
    found = measure(predict, tokens, prefix=(7, 6))
    assert seen == {(7, 6)}
    assert found.value == 6
    assert found.zero_nats == pytest.approx(math.log(V))
    assert "prefix" in found.curve.design


def test_short_windows_that_mislead_are_said():
    def needs_a_start(tokens, lengths):
        logits = copier(0)(tokens, lengths)
        if tokens.shape[1] < 10:
            logits = -logits  # below none: short windows mislead
        return logits

    found = measure(needs_a_start, periodic(40, 64, 1))
    assert found.value == 10
    assert any("with the last 9 tokens the loss is above" in said for said in found.warnings)


def test_whole_sequence_models_and_labels_at_the_end():
    """A classifier that tells whether a 1 is among its last 12 tokens."""

    def classify(tokens, lengths):
        found = (tokens[:, -12:] == 1).any(1).double()
        return torch.stack([-4 * found, 4 * found - 2], 1)

    tokens = known.symbols(400, 50, 20)
    labels = (tokens[:, -12:] == 1).any(1).long()
    found = measure(classify, tokens, labels=labels, tolerance_nats=1e-6)
    assert (found.value, found.num_targets, found.window) == (12, 400, 50)
    by_place = torch.full(tokens.shape, -1)
    by_place[:, -1] = labels
    again = measure(classify, tokens, labels=by_place, tolerance_nats=1e-6)
    assert again.curve.mean == found.curve.mean


def test_real_inputs_with_labels():
    def predict(x, lengths):
        past = torch.roll(x, 4, 1)
        past[:, :4] = 0
        return torch.stack([-3 * past, 3 * past], -1)

    x = known.signs(50, 64)
    labels = (torch.roll(x, 4, 1) > 0).long()
    assert measure(predict, x, labels=labels).value == 5
    with pytest.raises(UsageError, match="no next token"):
        measure(predict, x)


def test_rows_of_different_length():
    tokens = periodic(60, 128, 6)
    lengths = torch.arange(60) * 2 + 10
    tokens[torch.arange(128)[None] >= lengths[:, None]] = 0
    found = measure(copier(5), tokens, lengths=lengths)
    assert found.value == 6
    assert any("differ in length" in said for said in found.warnings)
    whole = measure(Gru(), tokens, lengths=lengths, targets=1)
    x, matrix = np.array(whole.curve.x), whole.curve.matrix[0]
    for row, length in enumerate(lengths.tolist()):
        assert (matrix[row, x >= length - 1] == 0).all()
        assert (matrix[row, (x > 0) & (x < length - 1)] != 0).any()
    lengths[:3] = 1
    found = measure(copier(5), tokens, lengths=lengths)
    assert found.num_sequences == 57
    assert any("3 rows have no target" in said for said in found.warnings)


def test_documents_are_resampled_whole():
    tokens = known.symbols(120, 64, V)
    alone = measure(Gru(), tokens, resamples=1000)
    twice = measure(Gru(), tokens.repeat(2, 1), groups=torch.arange(120).repeat(2), resamples=1000)
    copied = measure(Gru(), tokens.repeat(2, 1), resamples=1000)
    width = [np.subtract(f.curve.high, f.curve.low)[1] for f in (alone, twice, copied)]
    assert twice.curve.mean == pytest.approx(alone.curve.mean)
    assert width[1] == pytest.approx(width[0], rel=0.15)
    assert width[2] < 0.8 * width[0]


def test_few_sequences_get_no_interval():
    found = measure(copier(5), periodic(8, 64, 6))
    assert (found.value, found.low, found.high) == (6, None, None)
    assert any("no interval: 8 sequences" in said for said in found.warnings)


def test_more_doubt_means_a_longer_context():
    """Non-inferiority: noise may lengthen the answer, never shorten it."""

    def decaying(tokens, lengths):
        length = tokens.shape[1]
        return F.one_hot(tokens, V) * (2 - 2 * 0.7**length)

    # sequences differ in how often the next symbol is the one before
    tokens, coin = known.symbols(300, 48, V), known.symbols(300, 48, 100, seed=1)
    often = known.symbols(300, 1, 100, seed=2)
    tokens[:, -1] = torch.where(coin < often, tokens.roll(1, 1), tokens)[:, -1]
    few, many = (measure(decaying, tokens[:n], targets=1) for n in (40, 300))
    for found in (few, many):
        assert found.value > found.mean_value
        assert found.low <= found.mean_value <= found.value <= (found.high or found.window)


def test_several_models_are_one_family():
    tokens = periodic(40, 96, 6)
    found = measure([copier(5), copier(11)], tokens)
    assert found.curve.matrix.shape[:2] == (2, 40)
    assert found.value == 12


def test_trained_length_is_said():
    tokens = periodic(40, 64, 6)
    assert any("57 tokens" in s for s in measure(copier(5), tokens, trained_length=32).warnings)
    assert measure(copier(5), tokens, trained_length=57).warnings == ()


def test_noise_is_said():
    generator = torch.Generator().manual_seed(0)

    def noisy(tokens, lengths):
        logits = copier(5)(tokens, lengths)
        return logits + 0.3 * torch.randn(logits.shape, generator=generator)

    found = measure(noisy, periodic(40, 64, 6))
    assert any("equal calls" in said for said in found.warnings)


def test_strange_models_and_arguments():
    tokens = known.symbols(40, 32, V)
    with pytest.raises(DataError, match="not a number"):
        measure(lambda t, n: copier(1)(t, n) * float("nan"), tokens)
    ruled_out = torch.tensor([0.0] + [-torch.inf] * (V - 1))
    with pytest.raises(DataError, match="no probability"):
        measure(lambda t, n: ruled_out.expand(*t.shape, V), tokens)
    with pytest.raises(UsageError, match="classes"):
        measure(lambda t, n: copier(1)(t, n)[..., :4], tokens)
    with pytest.raises(UsageError, match="classes"):
        measure(lambda t, n: t.float(), tokens)
    with pytest.raises(UsageError, match="two tokens or more"):
        measure(copier(1), tokens[:, :2])
    with pytest.raises(UsageError, match="label"):
        measure(copier(1), tokens[:, :1])
    with pytest.raises(UsageError, match="lengths"):
        measure(copier(1), tokens, lengths=torch.zeros(40, dtype=torch.long))
    with pytest.raises(UsageError, match="labels"):
        measure(copier(1), tokens, labels=torch.zeros(3, dtype=torch.long))
    with pytest.raises(UsageError, match="groups"):
        measure(copier(1), tokens, groups=torch.zeros(3))
    with pytest.raises(UsageError, match=r"called 'haed'. Did you mean 'head'"):
        measure(Gru(), tokens, head="haed")
    for bad in ({"eps": 0}, {"ci": 1}, {"targets": 0}, {"grid": ()}, {"tolerance_nats": 0.0}):
        with pytest.raises(UsageError, match="out of range"):
            ContextOptions(**bad)


def test_grid_longer_than_the_data_and_one_row():
    tokens = periodic(40, 64, 6)
    assert measure(copier(5), tokens, grid=(2, 16, 500)).value == 6
    found = measure(copier(5), tokens, grid=(2, 16, 500), exact=False)
    assert found.value == 16
    assert measure(copier(5), tokens[:1]).value == 6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_other_float_types(dtype):
    found = measure(lambda t, n: copier(5)(t, n).to(dtype), periodic(40, 64, 6))
    assert found.value == 6


LONG = """
import json, resource, torch
from howfar.measure.context import ContextOptions, context_curve
torch.set_num_threads(1)

class Stream(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(20000, 16)
        self.gru = torch.nn.GRU(16, 16, batch_first=True)
        self.head = torch.nn.Linear(16, 20000)
    def forward(self, tokens, lengths):
        assert tokens.shape[1] <= 1024
        return self.chunk(tokens, None)[0]
    def chunk(self, tokens, state):
        y, state = self.gru(self.embedding(tokens), state)
        return self.head(y), state

tokens = torch.randint(20000, (2, 16385), generator=torch.Generator().manual_seed(0))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
options = ContextOptions(targets=1, grid=(4, 1024), exact=False, resamples=10)
found = context_curve(Stream(), tokens, options=options)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([found.window, found.curve.x, before / 1024, peak / 1024]))
"""


@pytest.mark.slow
def test_long_windows_run_in_chunks_under_two_gigabytes():
    """All logits of one window would be 16,384 x 20,000 floats: 1.3 GB, and as much as doubles."""
    done = subprocess.run([sys.executable, "-c", LONG], capture_output=True, text=True, check=True)
    window, x, before, peak = json.loads(done.stdout)
    assert window == 16384
    assert x == [0, 4, 1024, 16384]
    assert peak < 2000
    assert peak - before < 1000
