"""Gradients piece by piece equal those of plain backward passes, in bounded memory."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from tests.measure import known
from torch import nn

from howfar.core.errors import UsageError
from howfar.measure.gradient import GradientOptions, gradient_reach
from howfar.measure.gradient.chunked import floats, rebuilt


class Recurrent(nn.Module):
    """An embedding or real inputs, a recurrent network of torch, a head; can stop and go on."""

    def __init__(self, kind=nn.LSTM, width=8, layers=2, outputs=5, symbols=7, dtype=torch.float64):
        super().__init__()
        self.embedding = nn.Embedding(symbols, width, dtype=dtype) if symbols else None
        size = width if symbols else 1
        self.rnn = kind(size, width, num_layers=layers, batch_first=True, dtype=dtype)
        self.head = nn.Linear(width, outputs, dtype=dtype)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(0, 1.2 / width**0.5, generator=generator)

    def chunk(self, tokens, state):
        """Outputs (B, C, V); the state also counts the tokens, as caches do."""
        x = self.embedding(tokens) if self.embedding else tokens[..., None]
        before, count = (None, torch.zeros((), dtype=torch.int64)) if state is None else state
        y, after = self.rnn(x, before)
        return self.head(y), (after, count + tokens.shape[1])

    def forward(self, tokens, lengths):
        return self.chunk(tokens, None)[0]


class Growing(nn.Module):
    """The sum of all inputs so far, from a state that keeps every one of them."""

    def chunk(self, tokens, state):
        kept = tokens if state is None else torch.cat([state, tokens], 1)
        return kept.cumsum(1)[:, -tokens.shape[1] :, None] / 10, kept

    def forward(self, tokens, lengths):
        return self.chunk(tokens, None)[0]


def both(model, tokens, chunk, **options):
    options = {"resamples": 20, **options}
    return [
        gradient_reach(model, tokens, options=GradientOptions(chunk=size, **options))
        for size in (None, chunk)
    ]


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("chunk", [1, 7, 8, 40, 99])
def test_pieces_equal_the_whole(kind, chunk):
    tokens = known.symbols(40, 40, 7)
    plain, pieces = both(Recurrent(kind), tokens, chunk, batch=16)
    matrix = plain.curve.matrix
    np.testing.assert_allclose(pieces.curve.matrix, matrix, rtol=1e-10, atol=1e-16 * matrix.max())
    assert (pieces.value, pieces.low, pieces.half_life) == (
        plain.value,
        plain.low,
        pytest.approx(plain.half_life),
    )
    assert (plain.passes, pieces.passes) == (3, 4)


@pytest.mark.parametrize("output", ["centred", "fisher", "plain"])
@pytest.mark.parametrize("probes", [2, 5])
def test_pieces_equal_the_whole_for_every_cotangent_and_target(output, probes):
    tokens = known.symbols(40, 30, 7)
    lengths = torch.randint(1, 31, (40,), generator=torch.Generator().manual_seed(1))
    found = [
        gradient_reach(
            Recurrent(),
            tokens,
            lengths=lengths,
            options=GradientOptions(
                chunk=size, output=output, probes=probes, resamples=20, sigma="identity", batch=7
            ),
        )
        for size in (None, 6)
    ]
    plain, pieces = (one.curve.matrix for one in found)
    np.testing.assert_allclose(pieces, plain, rtol=1e-10)
    assert np.isnan(plain).any()


def test_pieces_of_real_inputs():
    plain, pieces = both(Recurrent(symbols=0, outputs=1), known.iid(40, 33), 10)
    np.testing.assert_allclose(pieces.curve.matrix, plain.curve.matrix, rtol=1e-10)
    assert pieces.output == "plain"


def test_a_growing_state_is_exact_but_not_chosen_by_itself(monkeypatch):
    x = known.iid(40, 32)
    plain, pieces = both(Growing(), x, 10)
    np.testing.assert_allclose(pieces.curve.matrix, plain.curve.matrix, rtol=1e-10)
    monkeypatch.setattr("howfar.measure.gradient.chunked.LONG", 20)
    options = GradientOptions(resamples=20)
    assert gradient_reach(Growing(), known.iid(40, 200), options=options).passes == 3
    recurrent = gradient_reach(Recurrent(), known.symbols(40, 200, 7), options=options)
    assert recurrent.passes == 4
    assert gradient_reach(Recurrent(), known.symbols(40, 20, 7), options=options).passes == 3


def test_models_that_cannot_go_on_are_taken_whole_or_refused():
    class Pooled(Recurrent):
        def forward(self, tokens, lengths):
            return super().forward(tokens, lengths).mean(1)

    tokens = known.symbols(40, 12, 7)
    assert gradient_reach(Pooled(), tokens, options=GradientOptions(resamples=20)).passes == 3
    with pytest.raises(UsageError, match="cannot go on"):
        gradient_reach(Pooled(), tokens, options=GradientOptions(chunk=4))


def test_states_are_taken_apart_and_put_together():
    a, b, c = torch.ones(1), torch.tensor([3]), torch.zeros(2)
    state = ((a, b), (c,))
    assert [leaf is part for leaf, part in zip(floats(state), (a, c), strict=True)] == [True, True]
    again = rebuilt(state, [a + 1, c + 1])
    assert again[0][1] is b
    assert (again[0][0].item(), again[1][0].tolist()) == (2, [1, 1])
    assert rebuilt(None, []) is None
    assert floats(None) == []


MEMORY = """
import resource, sys, time
import torch
from tests.measure.test_gradient_chunked import Recurrent
from howfar.measure.gradient import GradientOptions, gradient_reach
torch.set_num_threads(1)
model = Recurrent(torch.nn.LSTM, width=256, layers=2, outputs=64, symbols=64, dtype=torch.float32)
tokens = torch.randint(64, (4, 16384), generator=torch.Generator().manual_seed(0))
model.chunk(tokens[:, :64], None)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.process_time()
found = gradient_reach(model, tokens, options=GradientOptions(resamples=20))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) // 1024, round(time.process_time() - started, 1), found.passes)
"""


@pytest.mark.slow
def test_16k_tokens_fit_in_memory():
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True, timeout=120
    )
    mebibytes, _, passes = done.stdout.split()
    assert float(passes) == 4  # in pieces
    assert int(mebibytes) < 600
