"""Elman, LSTM and GRU: torch's own as references, one step by hand, starts and biases."""

import copy
import functools
import itertools
import math
import pickle

import pytest
import torch
from torch import nn

from howfar.core.errors import UsageError
from howfar.models import build, kernels

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


REFERENCES = {
    "elman": (nn.RNN, {}),
    "elman-relu": (functools.partial(nn.RNN, nonlinearity="relu"), {"activation": "relu"}),
    "lstm": (nn.LSTM, {}),
    "gru": (nn.GRU, {}),
}


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("reference", REFERENCES)
def test_is_the_layer_of_torch(reference, dtype, close):
    name, (kind, extras) = reference.partition("-")[0], REFERENCES[reference]
    found = mixer(made(name, h0="learned", **extras)).to(dtype)
    generator = torch.Generator().manual_seed(1)
    for p in found.parameters():
        p.detach().add_(torch.randn(p.shape, generator=generator, dtype=dtype), alpha=0.1)
    twin = kind(6, 6, batch_first=True, dtype=dtype)
    twin.load_state_dict(found.rnn.state_dict())
    x_BLD = torch.randn(3, 17, 6, generator=generator, dtype=dtype).requires_grad_()
    weight_BLD = torch.randn(3, 17, 6, generator=generator, dtype=dtype)
    parts = tuple(part.expand(1, 3, 6).contiguous() for part in found.h0_PD)
    want_BLD, after = twin(x_BLD, parts if name == "lstm" else parts[0])
    got_BLD, state = found.chunk(x_BLD, None)
    lone_BLD = found(x_BLD, torch.full((3,), 17))
    torch.testing.assert_close(got_BLD, want_BLD, rtol=0, atol=close)
    torch.testing.assert_close(lone_BLD, got_BLD, rtol=0, atol=0)
    for one, two in zip(state, after if name == "lstm" else (after,), strict=True):
        torch.testing.assert_close(one, two[0], rtol=0, atol=close)
    ours = [x_BLD, found.h0_PD, *found.rnn.parameters()]
    theirs = [x_BLD, found.h0_PD, *twin.parameters()]
    for got, want in zip(
        torch.autograd.grad((weight_BLD * got_BLD).sum(), ours),
        torch.autograd.grad((weight_BLD * want_BLD).sum(), theirs),
        strict=True,
    ):
        assert float((got - want).abs().max()) <= close * float(want.abs().max())


def test_the_irnn_starts_as_the_identity():
    model = made("elman", activation="relu", start="identity", depth=2)
    for block in range(2):
        rnn = mixer(model, block).rnn
        assert torch.equal(rnn.weight_hh_l0, torch.eye(6).double())
        assert not rnn.bias_ih_l0.any()
        assert not rnn.bias_hh_l0.any()
    wide = mixer(build("elman", vocabulary=2, outputs=1, width=200, start="identity"))
    assert float(wide.rnn.weight_ih_l0.detach().std()) == pytest.approx(0.001, rel=0.05)


def test_the_irnn_by_hand():
    model = build(
        "elman", vocabulary=2, outputs=1, width=1, embedding=1, activation="relu", start="identity"
    )
    found = mixer(model).double()
    found.rnn.weight_ih_l0.data.fill_(2.0)
    assert answers(found, 0.5, 0.25, -1.0, 3.0) == pytest.approx([1.0, 1.5, 0.0, 6.0], abs=1e-12)


@pytest.mark.parametrize("bias", [0.0, -2.5, 3])
def test_forget_bias_is_what_is_asked(bias):
    rnn = mixer(made("lstm", forget_bias=bias)).rnn
    total = (rnn.bias_ih_l0 + rnn.bias_hh_l0).reshape(4, 6)
    assert total.tolist() == [[0.0] * 6, [float(bias)] * 6, [0.0] * 6, [0.0] * 6]


def test_chrono_biases():
    longest = 100
    model = build(
        "lstm", vocabulary=2, outputs=1, width=2000, start="chrono", chrono_length=longest
    )
    rnn = mixer(model).rnn
    into, forget, new, out = (rnn.bias_ih_l0 + rnn.bias_hh_l0).detach().split(2000)
    assert torch.equal(into, -forget)
    assert not new.any()
    assert not out.any()
    assert float(forget.min()) >= 0.0
    assert float(forget.max()) <= math.log(longest - 1) + 1e-6
    assert float(forget.max()) > math.log(longest - 2)
    assert float(forget.median()) == pytest.approx(math.log(longest / 2), abs=0.05)
    # the mean of log u, u uniform in [1, m]: m log m / (m - 1) - 1
    m = longest - 1
    assert float(forget.mean()) == pytest.approx(m * math.log(m) / (m - 1) - 1, abs=0.05)


REFUSED = [
    ("elman", {"activation": "sigmoid"}, "activation cannot be 'sigmoid'"),
    ("elman", {"start": "chrono"}, "start cannot be 'chrono'"),
    ("lstm", {"start": "identity"}, "start cannot be 'identity'"),
    ("lstm", {"chrono_length": 2}, "chrono_length=2"),
    ("lstm", {"chrono_length": 9.5}, "chrono_length must be"),
    ("lstm", {"forget_bias": math.inf}, "forget_bias must be"),
    ("lstm", {"forget_bias": "one"}, "forget_bias must be"),
    ("gru", {"norm": 1}, "norm must be true or false"),
    ("gru", {"bidirectional": "yes"}, "bidirectional must be true or false"),
    ("gru", {"recurrent_dropout": 1.0}, "recurrent_dropout must be"),
    ("gru", {"recurrent_dropout": -0.1}, "recurrent_dropout must be"),
    ("gru", {"recurrent_dropout": True}, "recurrent_dropout must be"),
]


@pytest.mark.parametrize(("name", "extras", "match"), REFUSED)
def test_refuses_settings_out_of_range(name, extras, match):
    with pytest.raises(UsageError, match=match) as caught:
        made(name, **extras)
    assert caught.value.code == "E-OPTION"
    assert caught.value.hint


def test_names_of_parameters_are_those_of_torch():
    names = set(mixer(made("gru", h0="learned")).state_dict())
    gates = {f"rnn.{part}_l0" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    assert names == {*gates, "h0_PD"}


@pytest.mark.parametrize("form", ["torch", "auto"])
@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_watching_a_layer_changes_nothing(name, form):
    found = mixer(made(name, h0="random"))
    x_BLD = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(1)).double()
    lengths, seen = torch.tensor([9, 9]), []
    with kernels.using(form):
        want = found(x_BLD, lengths)
        with torch.enable_grad():
            torch.testing.assert_close(found(x_BLD, lengths), want, rtol=0, atol=1e-12)
        handle = found.rnn.register_forward_hook(lambda module, given, y: seen.append(y[0]))
        torch.testing.assert_close(found(x_BLD, lengths), want, rtol=0, atol=1e-12)
        handle.remove()
    assert len(seen) == 1
    torch.testing.assert_close(seen[0], want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", FAMILIES)
def test_can_be_pickled_and_copied(name):
    model = made(name, h0="learned", norm=True, recurrent_dropout=0.1).eval()
    tokens = torch.tensor([[1, 2, 3]])
    copied = pickle.loads(pickle.dumps(model))  # noqa: S301
    for other in (copied, copy.deepcopy(model)):
        assert torch.equal(other(tokens), model(tokens))


@pytest.mark.parametrize("family", ["gru", "elman"])
def test_in_bfloat16_the_recurrence_stays_the_compiled_one(family, monkeypatch):
    model = build(family, vocabulary=20, outputs=3, width=24, embedding=16, causal=False)
    tokens = torch.randint(20, (3, 40), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        want = model(tokens)

    def unwanted(*_):
        raise AssertionError("torch's own layer steps in bfloat16, six times slower")

    if kernels.installed():
        monkeypatch.setattr(torch.nn.GRU, "forward", unwanted)
        monkeypatch.setattr(torch.nn.RNN, "forward", unwanted)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        got = model(tokens)
    torch.testing.assert_close(got.float(), want, rtol=0.05, atol=0.02)
