"""minGRU and minLSTM: the paper's equations in a loop, a number by hand, extreme gates."""

import math

import pytest
import torch

from howfar.core.errors import UsageError
from howfar.models import build, kernels
from howfar.models.blocks import positive_part

FAMILIES = ["mingru", "minlstm"]


def mixer(name, width=6, **extras):
    model = build(
        name,
        vocabulary=7,
        outputs=3,
        width=width,
        embedding=width,
        generator=torch.Generator().manual_seed(5),
        **extras,
    )
    return model.double().body.blocks[0].mixer


def drawn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def sigmoid(a):
    return 1 / (1 + math.exp(-a))


def g(x):
    return x + 0.5 if x >= 0 else sigmoid(x)


def loop(name, found, x_BLD):
    """The paper's equations, one row, step and unit after another."""
    size = found.linear.in_features
    maps_BLX = found.linear(x_BLD)
    begin = 0.0 if found.h0_D is None else [g(float(h)) for h in found.h0_D]
    answers = torch.empty_like(x_BLD)
    for row, unit in [(row, unit) for row in range(len(x_BLD)) for unit in range(size)]:
        h = begin if found.h0_D is None else begin[unit]
        for step, parts in enumerate(maps_BLX[row, :, unit::size].tolist()):
            if name == "mingru":
                z = sigmoid(parts[0])
                h = (1 - z) * h + z * g(parts[1])
            else:
                f, i = sigmoid(parts[0]), sigmoid(parts[1])
                h = f / (f + i) * h + i / (f + i) * g(parts[2])
            answers[row, step, unit] = h
    return answers


@torch.no_grad()
@pytest.mark.parametrize("h0", ["zeros", "learned"])
@pytest.mark.parametrize("name", FAMILIES)
def test_is_the_equation_of_the_paper(name, h0):
    found = mixer(name, h0=h0)
    found.linear.bias.copy_(drawn(*found.linear.bias.shape))
    if h0 == "learned":
        found.h0_D.copy_(drawn(6))
    x_BLD = drawn(3, 11, 6)
    got = found(x_BLD, torch.full((3,), 11))
    torch.testing.assert_close(got, loop(name, found, x_BLD), rtol=0, atol=1e-12)


def test_mingru_by_hand():
    found = mixer("mingru", width=1)
    found.linear.weight.data.copy_(torch.tensor([[0.0], [1.0]]))
    found.linear.bias.data.copy_(torch.tensor([math.log(3), 0.0]))  # z = 3/4
    x_BLD = torch.tensor([1.5, -math.log(3), 0.0]).double().reshape(1, 3, 1)
    # 3/4 of 2; a quarter of 3/2 and 3/4 of 1/4; a quarter of 9/16 and 3/4 of 1/2
    got = found(x_BLD, torch.tensor([3])).flatten().tolist()
    assert got == pytest.approx([1.5, 0.5625, 0.515625], abs=1e-7)


def test_minlstm_by_hand():
    found = mixer("minlstm", width=1)
    found.linear.weight.data.copy_(torch.tensor([[0.0], [0.0], [1.0]]))
    # f = 3/4 and i = 1/4: they sum to one already; then f = 1/2: f' = 2/3
    found.linear.bias.data.copy_(torch.tensor([math.log(3), -math.log(3), 0.0]))
    x_BLD = torch.tensor([1.5, 0.5]).double().reshape(1, 2, 1)
    got = found(x_BLD, torch.tensor([2])).flatten().tolist()
    assert got == pytest.approx([0.5, 0.625], abs=1e-7)
    found.linear.bias.data[0] = 0.0
    got = found(x_BLD, torch.tensor([2])).flatten().tolist()
    assert got == pytest.approx([2 / 3, 4 / 9 + 1 / 3], abs=1e-7)


def test_the_positive_part():
    x = torch.tensor([-1000.0, -math.log(3), 0.0, 2.0], dtype=torch.float64, requires_grad=True)
    y = positive_part(x)
    assert y.tolist() == pytest.approx([0.0, 0.25, 0.5, 2.5], abs=1e-12)
    y.sum().backward()
    assert x.grad.tolist() == pytest.approx([0.0, 0.1875, 1.0, 1.0], abs=1e-12)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_learned_start_begins_at_a_half_and_learns(name):
    found = mixer(name, h0="learned")
    assert not found.h0_D.any()
    x_BLD = drawn(2, 3, 6)
    found.linear.weight.data.zero_()
    found.linear.bias.data[:6] = -50.0 if name == "mingru" else 50.0  # keep
    found.linear.bias.data[6:] = -50.0  # let nothing in
    y_BLD = found(x_BLD, torch.full((2,), 3))
    torch.testing.assert_close(y_BLD, torch.full((2, 3, 6), 0.5).double(), rtol=0, atol=1e-10)
    y_BLD[:, -1].sum().backward()
    torch.testing.assert_close(found.h0_D.grad, torch.full((6,), 2.0).double(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", [1e3, 1e30])
@pytest.mark.parametrize("name", FAMILIES)
def test_extreme_gates_stay_finite(name, size):
    found = mixer(name).float()
    found.linear.bias.data.copy_(drawn(*found.linear.bias.shape).sign() * size)
    found.linear.weight.data.mul_(size)
    x_BLD = drawn(2, 50, 6).float().requires_grad_()
    y_BLD = found(x_BLD, torch.full((2,), 50))
    assert y_BLD.isfinite().all()
    y_BLD.sum().backward()
    assert all(p.grad.isfinite().all() for p in found.parameters())


@pytest.mark.parametrize("name", FAMILIES)
def test_gates_sum_to_one_and_states_stay_between(name):
    found = mixer(name)
    a_BLD, b_BLD = found.gates(
        torch.cat(
            [drawn(2, 5, found.linear.out_features - 6) * 9, torch.full((2, 5, 6), 0.5).double()],
            -1,
        )
    )
    # a candidate of g(0.5) = 1 leaves the other gate itself
    torch.testing.assert_close(a_BLD + b_BLD, torch.ones(2, 5, 6).double(), rtol=0, atol=1e-12)
    assert bool(((a_BLD > 0) & (a_BLD < 1)).all())


@pytest.mark.parametrize("name", FAMILIES)
def test_goes_through_the_shared_scan(name, monkeypatch):
    calls = []
    plain = kernels.linear_recurrence
    monkeypatch.setattr(kernels, "linear_recurrence", lambda *a: calls.append(1) or plain(*a))
    mixer(name)(drawn(1, 4, 6), torch.tensor([4]))
    assert calls == [1]


@pytest.mark.parametrize(("name", "maps"), [("mingru", 2), ("minlstm", 3)])
def test_counts_by_hand(name, maps):
    found = mixer(name, width=5)
    assert found.flops(7) == 2 * 7 * (maps * 5 * 5 + 5)
    assert found.state_bytes(7) == 4 * 5
    assert found.reach(7) is None
    assert sum(p.numel() for p in found.parameters()) == maps * 5 * 6


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("extras", [{"depth": 0}, {"h0": "random"}])
def test_refuses_settings_out_of_range(name, extras):
    with pytest.raises(UsageError) as caught:
        mixer(name, **extras)
    assert caught.value.code == "E-OPTION"
