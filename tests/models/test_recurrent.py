"""Elman, LSTM and GRU: one step by hand, starts, biases and orthogonal recurrent weights."""

import itertools
import math

import pytest
import torch

from howfar.core.errors import UsageError
from howfar.models import build

FAMILIES = ["elman", "lstm", "gru"]
GATES = {"elman": 1, "lstm": 4, "gru": 3}


def made(name, **extras):
    return build(name, vocabulary=7, outputs=3, width=6, embedding=6, **extras).double()


def mixer(model, block=0):
    return model.body.blocks[block].mixer


def one_unit(name, inputs, recurrents):
    """A mixer of width 1 with given weights and zero bias, one a gate."""
    found = mixer(build(name, vocabulary=2, outputs=1, width=1, embedding=1).double())
    found.rnn.weight_ih_l0.data.copy_(torch.tensor(inputs).reshape(-1, 1))
    found.rnn.weight_hh_l0.data.copy_(torch.tensor(recurrents).reshape(-1, 1))
    found.rnn.bias_ih_l0.data.zero_()
    found.rnn.bias_hh_l0.data.zero_()
    return found


def answers(found, *xs):
    x_BLD = torch.tensor(xs, dtype=torch.float64).reshape(1, -1, 1)
    return found(x_BLD, torch.tensor([len(xs)])).flatten().tolist()


def sigmoid(a):
    return 1 / (1 + math.exp(-a))


def test_elman_by_hand():
    found = one_unit("elman", [2.0], [-1.0])
    h1 = math.tanh(2 * 0.5)
    assert answers(found, 0.5, 0.25) == pytest.approx([h1, math.tanh(0.5 - h1)], abs=1e-12)
    assert h1 == pytest.approx(0.761594, abs=1e-6)


def test_lstm_by_hand():
    # gates in torch's order: input, forget, candidate, output
    found = one_unit("lstm", [1.0, 2.0, 3.0, 4.0], [0.5, 0.25, -1.0, 2.0])
    x, h, c = 0.3, 0.0, 0.0
    want = []
    for _ in range(3):
        i, f, o = sigmoid(x + 0.5 * h), sigmoid(2 * x + 0.25 * h), sigmoid(4 * x + 2 * h)
        c = f * c + i * math.tanh(3 * x - h)
        h = o * math.tanh(c)
        want.append(h)
    assert answers(found, x, x, x) == pytest.approx(want, abs=1e-12)


def test_gru_by_hand():
    # gates in torch's order: reset, update, new
    found = one_unit("gru", [1.0, 2.0, 3.0], [0.5, 0.25, -1.0])
    x, h, want = 0.3, 0.0, []
    for _ in range(3):
        r, z = sigmoid(x + 0.5 * h), sigmoid(2 * x + 0.25 * h)
        h = (1 - z) * math.tanh(3 * x - r * h) + z * h
        want.append(h)
    assert answers(found, x, x, x) == pytest.approx(want, abs=1e-12)


def test_forget_bias_is_one_in_total_and_all_others_zero():
    rnn = mixer(made("lstm")).rnn
    total = (rnn.bias_ih_l0 + rnn.bias_hh_l0).reshape(4, 6)
    assert total.tolist() == [[0.0] * 6, [1.0] * 6, [0.0] * 6, [0.0] * 6]


@pytest.mark.parametrize("name", FAMILIES)
def test_recurrent_weights_are_orthogonal_gate_by_gate(name):
    gates = mixer(made(name)).rnn.weight_hh_l0.detach().split(6)
    assert len(gates) == GATES[name]
    for gate in gates:
        torch.testing.assert_close(gate @ gate.T, torch.eye(6).double(), rtol=0, atol=1e-6)
    for one, two in itertools.pairwise(gates):
        assert not torch.equal(one, two)


@pytest.mark.parametrize("name", FAMILIES)
def test_starts(name):
    tokens = torch.tensor([[1, 2, 3]])
    outputs = {}
    for h0 in ("zeros", "random", "learned"):
        model = made(name, h0=h0)
        names = [key for key, _ in model.named_parameters() if key.endswith("h0_PD")]
        assert len(names) == (1 if h0 == "learned" else 0)
        kept = [key for key in model.state_dict() if key.endswith("h0_PD")]
        assert len(kept) == (0 if h0 == "zeros" else 1)
        if h0 == "learned":
            mixer(model).h0_PD.data.fill_(0.7)
        outputs[h0] = model(tokens)
        first, _ = model.step(tokens[:, 0])
        torch.testing.assert_close(first, outputs[h0][:, 0], rtol=0, atol=1e-12)
    assert not torch.allclose(outputs["zeros"], outputs["random"])
    assert not torch.allclose(outputs["zeros"], outputs["learned"])


@pytest.mark.parametrize("name", FAMILIES)
def test_random_start_is_drawn_once_and_fixed(name):
    model = made(name, h0="random")
    start = mixer(model).h0_PD
    assert start.shape == ((2, 6) if name == "lstm" else (1, 6))
    assert start.abs().max() <= 1
    assert start.unique().numel() == start.numel()
    before = start.clone()
    model(torch.tensor([[1, 2, 3]])).sum().backward()
    assert not start.requires_grad
    assert torch.equal(start, before)


@pytest.mark.parametrize("name", FAMILIES)
def test_refuses_an_unknown_start(name):
    with pytest.raises(UsageError, match="h0 cannot be 'ones'") as caught:
        made(name, h0="ones")
    assert caught.value.code == "E-OPTION"


@pytest.mark.parametrize("name", FAMILIES)
def test_whole_form_averages_real_positions(name):
    model = made(name, causal=False)
    tokens = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]])
    y_BLD = model.hidden(tokens)
    pooled = torch.stack([y_BLD[0].mean(0), y_BLD[1, :2].mean(0)])
    got = model(tokens, torch.tensor([4, 2]))
    torch.testing.assert_close(got, model.head(pooled), rtol=0, atol=1e-12)
    assert model.state_bytes(9) == 4 * 6 * ((2 if name == "lstm" else 1) + 1)
