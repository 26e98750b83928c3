"""Layer norm inside the recurrence, and one dropout mask a sequence."""

import pytest
import torch
from torch import nn

from howfar.core.errors import UsageError
from howfar.models import build

FAMILIES = ["elman", "lstm", "gru"]


def mixer(name, *, width=6, seed=2, **extras):
    model = build(
        name,
        vocabulary=7,
        outputs=3,
        width=width,
        embedding=width,
        generator=torch.Generator().manual_seed(seed),
        **extras,
    )
    found = model.double().body.blocks[0].mixer
    for p in found.parameters():  # gains and biases away from where they start
        p.detach().add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(4)) * 0.2)
    return found


def inputs(rows=3, length=9, width=6):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(rows, length, width, generator=generator, dtype=torch.float64)


def ln(a, gain, bias):
    """Ba, Kiros & Hinton, equation 3, with their code's 1e-5 under the root."""
    mean = a.sum() / a.numel()
    variance = ((a - mean) ** 2).sum() / a.numel()
    return gain * (a - mean) / torch.sqrt(variance + 1e-5) + bias


def row_by_the_paper(name, found, x_LD):
    """One row, one step after another, written from the supplement of the paper."""
    w, u = found.rnn.weight_ih_l0, found.rnn.weight_hh_l0
    b, b2 = found.rnn.bias_ih_l0, found.rnn.bias_hh_l0
    cells, size = found.cells, found.width
    h, c, answers = torch.zeros(size).double(), torch.zeros(size).double(), []
    for x in x_LD:
        if name == "elman":
            h = torch.tanh(ln(w @ x + u @ h, cells.into_X, b + b2))
        elif name == "lstm":
            gates = ln(u @ h, cells.inner_X, b2) + ln(w @ x, cells.into_X, b)
            i, f, g, o = gates.split(size)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(ln(c, cells.cell_D, cells.cell_bias_D))
        else:
            two = 2 * size
            gates = ln(u[:two] @ h, cells.inner_X[:two], b2[:two]) + ln(
                w[:two] @ x, cells.into_X[:two], b[:two]
            )
            r, z = torch.sigmoid(gates).split(size)
            inner = ln(u[two:] @ h, cells.inner_X[two:], b2[two:])
            new = torch.tanh(ln(w[two:] @ x, cells.into_X[two:], b[two:]) + r * inner)
            h = (1 - z) * new + z * h
        answers.append(h)
    return torch.stack(answers)


@pytest.mark.parametrize("name", FAMILIES)
def test_norm_is_that_of_the_paper(name):
    found = mixer(name, norm=True)
    x_BLD = inputs().requires_grad_()
    weight_BLD = inputs().flip(1)
    want_BLD = torch.stack([row_by_the_paper(name, found, x_LD) for x_LD in x_BLD])
    got_BLD = found(x_BLD, torch.full((3,), 9))
    torch.testing.assert_close(got_BLD, want_BLD, rtol=0, atol=1e-12)
    given = [x_BLD, *found.parameters()]
    got, want = (
        torch.autograd.grad((weight_BLD * y_BLD).sum(), given) for y_BLD in (got_BLD, want_BLD)
    )
    for one, two in zip(got, want, strict=True):
        assert float((one - two).abs().max()) <= 1e-12 * float(two.abs().max())


def test_norm_by_hand():
    # two units: the norm of (a, b) is (1, -1) where a > b, but for the 1e-5 under the root
    model = build("elman", vocabulary=2, outputs=1, width=2, embedding=2, norm=True).double()
    found = model.body.blocks[0].mixer
    found.rnn.weight_ih_l0.data.copy_(torch.eye(2))
    found.rnn.weight_hh_l0.data.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]) * 10)
    x_BLD = torch.tensor([[[3.0, 1.0], [0.0, 0.0]]]).double()
    got = found(x_BLD, torch.tensor([2]))
    one = torch.tanh(torch.tensor(1 / (1 + 1e-5) ** 0.5, dtype=torch.float64))
    torch.testing.assert_close(got[0, 0], torch.stack([one, -one]), rtol=0, atol=1e-12)
    # then U h = 10 (-one, one): the sides are exchanged
    torch.testing.assert_close(got[0, 1].sign().tolist(), [-1.0, 1.0])


@pytest.mark.parametrize("name", FAMILIES)
def test_gains_start_at_one_and_biases_at_zero(name):
    model = build(name, vocabulary=7, outputs=3, width=6, norm=True)
    cells = dict(model.body.blocks[0].mixer.cells.named_parameters())
    known = {"elman": {"into_X"}, "gru": {"into_X", "inner_X"}}
    assert set(cells) == known.get(name, {"into_X", "inner_X", "cell_D", "cell_bias_D"})
    for key, parameter in cells.items():
        assert parameter.unique().tolist() == [0.0 if "bias" in key else 1.0]
    assert not list(build(name, vocabulary=7, outputs=3).body.blocks[0].mixer.cells.parameters())


def test_a_norm_needs_two_units():
    with pytest.raises(UsageError, match="width 1 is too narrow"):
        build("gru", vocabulary=2, outputs=1, width=1, norm=True)
    assert build("gru", vocabulary=2, outputs=1, width=2, norm=True)


class Watched:
    """The matrix products of the step loop, and what they were given."""

    def __init__(self, monkeypatch, found):
        self.inner, self.into = [], []
        plain = nn.functional.linear

        def linear(x, weight, bias=None):
            if weight is found.rnn.weight_hh_l0:
                self.inner.append(x.detach())
            elif weight is found.rnn.weight_ih_l0:
                self.into.append(x.detach())
            return plain(x, weight, bias)

        monkeypatch.setattr("torch.nn.functional.linear", linear)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_masks_are_the_same_at_all_steps_and_differ_between_rows(name, norm, monkeypatch):
    found = mixer(name, width=32, recurrent_dropout=0.5, norm=norm)
    x_BLD = inputs(rows=4, length=7, width=32)
    seen = Watched(monkeypatch, found)
    y_BLD, state = found.chunk(x_BLD, None)
    *_, into_BD, inner_BD = state
    for mask_BD in (into_BD, inner_BD):
        assert set(mask_BD.unique().tolist()) == {0.0, 2.0}
        assert len({tuple(row) for row in mask_BD.tolist()}) == 4
    assert not torch.equal(into_BD, inner_BD)
    torch.testing.assert_close(seen.into[0], x_BLD * into_BD[:, None], rtol=0, atol=0)
    assert len(seen.inner) == 7
    for h_BD, before_BD in zip(seen.inner[1:], y_BLD.unbind(1), strict=False):
        torch.testing.assert_close(h_BD, before_BD * inner_BD, rtol=0, atol=0)
    # and no other mask in later chunks and steps of the sequence
    _, (*_, into_again, inner_again) = found.chunk(x_BLD, state)
    _, (*_, into_stepped, _) = found.step(x_BLD[:, 0], state)
    assert torch.equal(into_again, into_BD)
    assert torch.equal(into_stepped, into_BD)
    assert torch.equal(inner_again, inner_BD)


@pytest.mark.parametrize(
    ("name", "extras"), [*((name, {}) for name in FAMILIES), ("elman", {"activation": "relu"})]
)
def test_a_mask_without_zeros_changes_nothing(name, extras):
    found = mixer(name, recurrent_dropout=0.5, h0="learned", **extras)
    x_BLD = inputs()
    held = (torch.full((3, 6), 0.25).double(),) * found.parts
    ones = (torch.ones(3, 6).double(),) * 2
    got, (*after, _, _) = found.chunk(x_BLD, (*held, *ones))
    want, state = found.eval().chunk(x_BLD, held)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    torch.testing.assert_close(tuple(after), state, rtol=0, atol=1e-12)
    # evaluation goes on from a state of training, without its masks
    torch.testing.assert_close(found.chunk(x_BLD, (*held, *ones))[0], want, rtol=0, atol=0)
    assert len(found.chunk(x_BLD, (*held, *ones))[1]) == found.parts


def test_masks_keep_the_expectation():
    found = mixer("elman", width=8, recurrent_dropout=0.3)
    x_BLD = torch.ones(20_000, 1, 8).double()
    with torch.random.fork_rng():
        _, (_, into_BD, inner_BD) = found.chunk(x_BLD, None)
    for mask_BD in (into_BD, inner_BD):
        torch.testing.assert_close(mask_BD.mean(0), torch.ones(8).double(), rtol=0, atol=0.03)
        assert mask_BD.max() == pytest.approx(1 / 0.7)


@pytest.mark.parametrize("name", FAMILIES)
def test_masks_come_from_the_ordinary_random_state_in_training_alone(name):
    found, plain = mixer(name, recurrent_dropout=0.5), mixer(name)
    x_BLD, lengths = inputs(), torch.full((3,), 9)
    with torch.random.fork_rng():
        state = torch.get_rng_state()
        first = found(x_BLD, lengths)
        assert not torch.equal(torch.get_rng_state(), state)
        assert not torch.equal(found(x_BLD, lengths), first)
        torch.set_rng_state(state)
        assert torch.equal(found(x_BLD, lengths), first)
        torch.set_rng_state(state)
        found.eval()
        assert torch.equal(found(x_BLD, lengths), plain(x_BLD, lengths))
        assert torch.equal(torch.get_rng_state(), state)
    # whoever turns off dropout modules turns this off too
    found.train()
    found.dropout.eval()
    assert torch.equal(found(x_BLD, lengths), plain(x_BLD, lengths))


@pytest.mark.parametrize("name", ["elman", "gru"])
def test_evaluation_and_the_way_back_take_the_fast_form(name, monkeypatch):
    calls = []
    kernel = f"howfar.models.kernels.{name}_scan"
    from howfar.models import kernels

    plain = getattr(kernels, f"{name}_scan")
    monkeypatch.setattr(kernel, lambda *a, **k: calls.append(1) or plain(*a, **k))
    x_BLD, lengths = inputs(), torch.tensor([9, 4, 0])
    mixer(name, recurrent_dropout=0.5).eval()(x_BLD, lengths)
    assert len(calls) == 1
    mixer(name, recurrent_dropout=0.5)(x_BLD, lengths)
    mixer(name, norm=True)(x_BLD, lengths)
    assert len(calls) == 1
    found = mixer(name, recurrent_dropout=0.5, bidirectional=True, causal=False).eval()
    found(x_BLD, lengths)
    assert len(calls) == 3
