"""The fast design along a stream: the numbers of plain calls, at the price of a part of them."""

import numpy as np
import pytest
import torch
from tests.measure import known
from torch import nn

from howfar.core.errors import DataError, UsageError
from howfar.measure import SwapOptions, probe, swap_reach
from howfar.measure.probe import walk
from howfar.measure.swap.fast import Fast
from howfar.models import build

FAMILIES = ["textcnn", "tcn", "elman", "lstm", "gru", "transformer"]


def made(name, **extras):
    model = build(
        name,
        vocabulary=7,
        outputs=5,
        width=12,
        embedding=8,
        generator=torch.Generator().manual_seed(2),
        **extras,
    )
    with torch.no_grad():
        model.head.weight.mul_(20)
    return model.double().eval()


class TorchGru(nn.Module):
    """Two layers of torch, its state (layers, B, D); `spent` counts tokens asked."""

    def __init__(self, seed=0):
        super().__init__()
        self.embedding = nn.Embedding(7, 8)
        self.rnn = nn.GRU(8, 8, 2, batch_first=True)
        self.head = nn.Linear(8, 5)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5, generator=generator)
        self.spent = 0
        self.double()

    def forward(self, tokens, lengths):
        self.spent += tokens.numel()
        return self.head(self.rnn(self.embedding(tokens))[0])

    def chunk(self, tokens, state):
        self.spent += tokens.numel()
        y, state = self.rnn(self.embedding(tokens), state)
        return self.head(y), state


class Boxed(TorchGru):
    """Its state is a list: nobody can know where the rows stand in it."""

    def chunk(self, tokens, state):
        y, after = super().chunk(tokens, None if state is None else state[0])
        return y, [after]


class Hidden(TorchGru):
    """Its state names a row, and what belongs to the name is kept elsewhere."""

    def chunk(self, tokens, state):
        kept = None if state is None else self.kept[int(state[1])]
        y, after = super().chunk(tokens, kept)
        self.kept = [*getattr(self, "kept", []), after]
        return y, (torch.zeros(len(tokens), 1), torch.tensor(len(self.kept) - 1))


def measure(predict, tokens, **options):
    labels = options.pop("labels", None)
    lengths = options.pop("lengths", None)
    options = SwapOptions(design="fast", resamples=50, **options)
    return swap_reach(predict, tokens, labels=labels, lengths=lengths, options=options)


def equal(one, two):
    for name in ("curve", "benefit"):
        got, want = (getattr(found, name).matrix for found in (one, two))
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)
    assert one.value == two.value
    assert one.noise_floor == pytest.approx(two.noise_floor, rel=1e-6)


@pytest.mark.parametrize(
    "options", [{}, {"cuts": 3, "donors": 2, "batch": 7}, {"cuts": 5, "divergence": "l2"}]
)
@pytest.mark.parametrize("name", FAMILIES)
def test_streaming_gives_the_numbers_of_plain_calls(name, options):
    model = made(name)
    tokens, labels = known.symbols(32, 61, 7), known.symbols(32, 61, 5, seed=1)
    lengths = torch.randint(45, 62, (32,), generator=torch.Generator().manual_seed(0))
    given = options | {"labels": labels, "lengths": lengths}
    stream = measure(model, tokens, **given)
    plain = measure(lambda x, n: model(x, n), tokens, **given)
    equal(stream, plain)
    assert stream.passes < plain.passes


@pytest.mark.parametrize("numbers", [40, 200])
def test_small_chunks_and_blocks_change_nothing(numbers, monkeypatch):
    model = made("transformer")
    tokens, labels = known.symbols(30, 31, 7), known.symbols(30, 31, 5, seed=1)
    want = measure(model, tokens, labels=labels)
    monkeypatch.setattr(walk, "NUMBERS", numbers)
    monkeypatch.setattr(walk, "BLOCK", 7)
    monkeypatch.setattr(walk, "TOKENS", 300)
    monkeypatch.setattr(walk, "STATE", 2**16)
    equal(measure(model, tokens, labels=labels), want)
    equal(measure(lambda x, n: model(x, n), tokens, labels=labels), want)


@pytest.mark.parametrize("streaming", [True, False])
def test_beyond_the_receptive_field_the_effect_is_exactly_zero(streaming):
    model = made("tcn", depth=2).float()
    predict = model if streaming else lambda x, n: model(x, n)
    found = measure(predict, known.symbols(40, 61, 7))
    reach = model.reach(61)
    assert found.curve.kept[-1] > reach
    assert (found.curve.matrix[..., reach:] == 0).all()
    assert (found.curve.matrix[..., reach - 1] > 0).any()


@pytest.mark.parametrize("kind", [TorchGru, Boxed, Hidden])
def test_states_of_any_make(kind):
    model, twin = kind(), TorchGru()
    tokens, labels = known.symbols(32, 48, 7), known.symbols(32, 48, 5, seed=1)
    stream = measure(model, tokens, labels=labels, cuts=2)
    spent = model.spent
    equal(stream, measure(lambda x, n: twin(x, n), tokens, labels=labels, cuts=2))
    assert stream.passes == pytest.approx(spent / tokens.numel(), abs=0.03)


def test_where_rows_stand_in_a_state():
    seqs = probe.sequences(known.symbols(8, 30, 7), None, "last")
    assert probe.look(TorchGru(), seqs).axes == 1
    assert probe.look(made("lstm", depth=2), seqs).axes == ((0, 0), (0, 0))
    assert not probe.look(Boxed(), seqs).exchangeable
    assert not probe.look(Hidden(), seqs).exchangeable
    cache = probe.look(made("transformer", depth=1), seqs)
    assert (cache.fixed, cache.growing) == (0, 2 * 12 * 8)
    state = probe.look(made("gru"), seqs)
    assert (state.fixed, state.growing) == (12 * 8, 0)
    assert probe.look(made("gru", causal=False), seqs) is None
    assert probe.look(lambda x, n: x, seqs) is None


def test_a_stream_that_answers_otherwise_is_refused():
    class Forgetful(TorchGru):
        def chunk(self, tokens, state):
            return super().chunk(tokens, None)

    with pytest.raises(UsageError, match="otherwise in chunks than all at once"):
        measure(Forgetful(), known.symbols(32, 30, 7))


def test_a_whole_sequence_model_is_refused_as_before():
    with pytest.raises(UsageError, match="one a sequence"):
        measure(made("gru", causal=False), known.symbols(32, 30, 7))


@pytest.mark.parametrize("length", [2, 3, 4, 9])
@pytest.mark.parametrize("num", [2, 5])
def test_short_rows_and_few(num, length):
    model = made("lstm")
    tokens, labels = known.symbols(num, length, 7), known.symbols(num, length, 5, seed=1)
    plain = measure(lambda x, n: model(x, n), tokens, labels=labels)
    equal(measure(model, tokens, labels=labels), plain)


def test_cost_is_counted_and_small():
    model, tokens = TorchGru(), known.symbols(64, 256, 7)
    seqs = probe.sequences(tokens, None, "last")

    def passes(predict, **options):
        return Fast([predict], seqs, None, SwapOptions(design="fast", **options)).passes

    stream = passes(model)
    assert stream == model.spent / tokens.numel() <= 1.7
    assert passes(made("gru")) == stream  # what its head skips is asked too
    model.spent = 0
    assert passes(lambda x, n: model(x, n)) == model.spent / tokens.numel() <= 2.1
    # 8 donors a row, 16 rows at once: a row's past is read for itself and for those it gives to
    assert passes(model, donors=8, batch=16) < 1 + 8


def test_heads_answer_where_they_are_asked():
    model, tokens = made("gru"), known.symbols(64, 256, 7)
    asked = []
    model.head.register_forward_hook(lambda m, x, y: asked.append(y[..., 0].numel()))
    measure(model, tokens)
    window = 128
    assert sum(asked) <= 2 * 64 * (window + 1) + 2 * 64 * 16 + 100


def test_noise_in_a_stream_is_found():
    class Noisy(TorchGru):
        scale = 1e-5

        def chunk(self, tokens, state):
            y, state = super().chunk(tokens, state)
            noise = torch.randn(y.shape, generator=self.generator)
            return y + self.scale * noise, state

    model = Noisy()
    model.generator = torch.Generator().manual_seed(0)
    with pytest.raises(UsageError, match="otherwise in chunks"):
        measure(model, known.symbols(32, 60, 7))
    model.scale = 1e-9
    found = measure(model, known.symbols(32, 60, 7))
    assert any("equal calls" in said for said in found.warnings)


def test_nan_late_in_a_stream_is_an_error():
    class Late(TorchGru):
        def chunk(self, tokens, state):
            y, state = super().chunk(tokens, state)
            return (y / 0 if tokens.shape[1] == 9 else y), state

    with pytest.raises(DataError, match="output at row"):
        measure(Late(), known.symbols(32, 16, 7))
