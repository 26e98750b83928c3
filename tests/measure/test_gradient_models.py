"""Gradient reach of models as they come: trained ones, those of this package, and strangers."""

import numpy as np
import pytest
import torch
from tests.measure import known
from torch import nn

from howfar.core.seeds import Seeds
from howfar.measure.gradient import GradientOptions, gradient_reach
from howfar.measure.jacobian import LyapunovOptions, lyapunov, streaming_step
from howfar.measure.swap import SwapOptions, swap_reach
from howfar.models import build

SYMBOLS, LENGTH, LAG = 8, 40, 6


class Gru(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, 16)
        self.rnn = nn.GRU(16, 64, batch_first=True)
        self.head = nn.Linear(64, SYMBOLS)

    def forward(self, tokens, lengths):
        return self.head(self.rnn(self.embedding(tokens))[0])


class Tcn(nn.Module):
    """Causal convolutions k=3 with dilation 1, 2, 4: structural reach 15."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, 32)
        self.layers = nn.ModuleList(nn.Conv1d(32, 32, 3, dilation=d) for d in (1, 2, 4))
        self.head = nn.Linear(32, SYMBOLS)

    def forward(self, tokens, lengths):
        h = self.embedding(tokens).transpose(1, 2)
        for layer in self.layers:
            h = torch.relu(layer(nn.functional.pad(h, (2 * layer.dilation[0], 0)))) + h
        return self.head(h.transpose(1, 2))


def copier(model, steps, rate, seed=0):
    """Trained to name the symbol LAG back, at every position where there is one."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            fan = parameter.shape[-1] if parameter.ndim < 3 else parameter[0].numel()
            parameter.normal_(0, 1 / fan**0.5, generator=generator)
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(steps):
        tokens = torch.randint(SYMBOLS, (32, LENGTH), generator=generator)
        logits = model(tokens, None)[:, LAG:]
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, :-LAG].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        right = model(tokens, None)[:, LAG:].argmax(-1) == tokens[:, :-LAG]
    assert right.float().mean() > 0.999
    return model.eval()


@pytest.mark.slow
def test_gradients_of_a_trained_gru_mislead_and_those_of_a_convolution_do_not():
    tokens = known.symbols(96, LENGTH, SYMBOLS, seed=5)
    options = GradientOptions(probes=4, resamples=200)
    gru = copier(Gru(), 350, 1e-2)
    found = gradient_reach(gru, tokens, options=options)
    assert swap_reach(gru, tokens, options=SwapOptions(resamples=50)).value == LAG + 1
    assert found.low > LAG + 1
    fisher = gradient_reach(gru, tokens, options=GradientOptions(probes=4, output="fisher"))
    assert fisher.low > LAG + 1
    tcn = copier(Tcn(), 200, 3e-3)
    found = gradient_reach(tcn, tokens, options=options)
    assert swap_reach(tcn, tokens, options=SwapOptions(resamples=50)).value == LAG + 1
    assert (found.value, found.low, found.ladder[0.5]) == (LAG + 1, LAG + 1, LAG + 1)
    assert set(found.curve.mean[15:]) == {0.0}
    assert found.half_life is None  # a peak at one lag is no decay


@pytest.mark.parametrize("name", ["elman", "gru", "lstm", "tcn", "textcnn", "transformer"])
def test_families_in_pieces_equal_the_whole(name):
    sizes = {"width": 8, "kernels": (3, 4)} if name == "textcnn" else {"width": 8, "depth": 2}
    model = build(name, vocabulary=7, outputs=7, **sizes, generator=Seeds(0).torch("init")).double()
    tokens = known.symbols(40, 24, 7)
    options = [GradientOptions(chunk=chunk, resamples=20) for chunk in (None, 5)]
    plain, pieces = (gradient_reach(model, tokens, options=one) for one in options)
    np.testing.assert_allclose(pieces.curve.matrix, plain.curve.matrix, rtol=1e-8, atol=1e-24)
    reach = model.reach(24)
    if reach is not None:
        assert set(plain.tail.mean[reach:]) <= {0.0}
        assert plain.tail.mean[reach - 1] > 0
    assert (plain.value, plain.passes, pieces.passes) == (pieces.value, 3, 4)


@pytest.mark.parametrize(("name", "states"), [("elman", 1), ("gru", 1), ("lstm", 2)])
def test_families_have_a_spectrum(name, states):
    model = build(
        name, vocabulary=7, outputs=7, width=8, depth=2, generator=Seeds(0).torch("init")
    ).double()
    tokens = known.symbols(4, 60, 7)
    step = streaming_step(model, tokens)
    found = lyapunov(step, tokens, options=LyapunovOptions(resamples=20))
    assert found.state_size == 8 * 2 * states
    assert found.exponents[0] < 0
    top = lyapunov(step, tokens, options=LyapunovOptions(resamples=20, exponents=1))
    assert top.exponents[0] == pytest.approx(found.exponents[0], abs=0.05)


@pytest.mark.parametrize("name", ["gru", "tcn", "transformer"])
def test_whole_sequence_families(name):
    model = build(
        name, vocabulary=7, outputs=3, width=8, depth=1, causal=False,
        generator=Seeds(0).torch("init"),
    )  # fmt: skip
    lengths = torch.randint(5, 25, (40,), generator=Seeds(0).torch("lengths"))
    found = gradient_reach(model, known.symbols(40, 24, 7), lengths=lengths)
    assert found.output == "centred"
    assert found.value > 5
    assert not any("padding" in said for said in found.warnings)


class Wrapped(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens, lengths):
        mask = torch.arange(tokens.shape[1])[None] < lengths[:, None]
        return self.model(input_ids=tokens, attention_mask=mask.long()).logits


def stranger(kind):
    transformers = pytest.importorskip("transformers")
    small = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    if kind == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=64
        )
        model = transformers.GPT2LMHeadModel(config)
    elif kind == "llama":
        model = transformers.LlamaForCausalLM(
            transformers.LlamaConfig(**small, intermediate_size=32, num_key_value_heads=1)
        )
    else:
        model = transformers.BertForMaskedLM(
            transformers.BertConfig(**small, intermediate_size=32, max_position_embeddings=64)
        )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return Wrapped(model.double())


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert"])
def test_models_of_hugging_face(kind):
    model, tokens = stranger(kind), known.symbols(32, 12, 50)
    lengths = torch.full((32,), 12)
    lengths[:16] = 9
    targets = torch.full((32,), 6)
    options = GradientOptions(probes=50, resamples=20, sigma="identity")
    found = gradient_reach(model, tokens, lengths=lengths, targets=targets, options=options)
    assert found.passes == 101
    assert (found.other_side > 0.01) == (kind == "bert")
    assert not any("padding" in said for said in found.warnings)
    single = gradient_reach(model.float(), known.symbols(32, 12, 50), lengths=lengths)
    assert single.value is not None or single.censored


def test_a_stranger_s_gradient_equals_differences_of_its_embedding():
    """Central differences of the table's row, for a token that occurs once; Llama is not tied."""
    model, tokens = stranger("llama"), known.symbols(32, 12, 50)
    options = GradientOptions(probes=50, resamples=20, sigma="identity")
    found = gradient_reach(model, tokens, options=options)
    table = model.model.get_input_embeddings().weight
    row, lag, step = 20, 3, 1e-3
    mine, total = int(tokens[row, 11 - lag]), 0.0
    assert (tokens[row] == mine).sum() == 1
    with torch.no_grad():
        for e in range(table.shape[1]):
            sides = []
            for sign in (1, -1):
                table[mine, e] += sign * step
                logits = model(tokens[row : row + 1], torch.tensor([12]))[0, -1]
                table[mine, e] -= sign * step
                sides.append(logits - logits.mean())
            total += float((sides[0] - sides[1]).div(2 * step).square().sum())
    # its normalisation rounds to single precision inside
    assert found.curve.matrix[0, row, lag] == pytest.approx(total, rel=2e-3)
