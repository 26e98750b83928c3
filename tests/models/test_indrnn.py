"""IndRNN: steps by hand, an independent loop, the bound of the recurrent weights."""

import pytest
import torch

from howfar.core.errors import UsageError
from howfar.models import build
from howfar.models.indrnn import Bounded


def mixer(width=6, **extras):
    model = build(
        "indrnn",
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


def test_by_hand():
    found = mixer(width=1)
    found.linear.weight.data.fill_(2.0)
    found.linear.bias.data.fill_(-1.0)
    found.u_D.data.fill_(0.5)
    x_BLD = torch.tensor([1.0, 2.0, -1.0, 0.75]).double().reshape(1, 4, 1)
    # 2 less 1; 4 less 1, and half of 1; below zero; 1.5 less 1
    assert found(x_BLD, torch.tensor([4])).flatten().tolist() == [1.0, 3.5, 0.0, 0.5]


@pytest.mark.parametrize("h0", ["zeros", "learned"])
def test_is_the_equation_of_the_paper(h0):
    found = mixer(h0=h0)
    if h0 == "learned":
        found.h0_D.data.copy_(drawn(6).abs())
    x_BLD, weight_BLD = drawn(3, 11, 6).requires_grad_(), drawn(3, 11, 6).flip(1)
    h_BD = torch.zeros(3, 6).double() if h0 == "zeros" else found.h0_D.expand(3, 6)
    states = []
    for x_BD in x_BLD.unbind(1):
        h_BD = (x_BD @ found.linear.weight.T + found.linear.bias + found.u_D * h_BD).relu()
        states.append(h_BD)
    want_BLD = torch.stack(states, 1)
    got_BLD = found(x_BLD, torch.full((3,), 11))
    torch.testing.assert_close(got_BLD, want_BLD, rtol=0, atol=1e-12)
    given = [x_BLD, *found.parameters()]
    for one, two in zip(
        torch.autograd.grad((weight_BLD * got_BLD).sum(), given),
        torch.autograd.grad((weight_BLD * want_BLD).sum(), given),
        strict=True,
    ):
        assert two.any()
        assert float((one - two).abs().max()) <= 1e-12 * float(two.abs().max())


@pytest.mark.parametrize(("horizon", "bound"), [(None, 1.0), (1, 2.0), (100, 2**0.01)])
def test_weights_start_all_over_the_range(horizon, bound):
    u_D = mixer(width=400, horizon=horizon).u_D.detach()
    assert float(u_D.min()) >= 0.0
    assert float(u_D.max()) <= bound + 1e-6
    assert float(u_D.max()) > 0.97 * bound
    assert float(u_D.mean()) == pytest.approx(bound / 2, rel=0.1)


def test_a_weight_beyond_the_bound_counts_as_the_bound():
    found = mixer(width=1, horizon=1)
    found.linear.weight.data.fill_(1.0)
    found.u_D.data.fill_(3.0)
    x_BLD = torch.tensor([1.0, 0.0, 0.0]).double().reshape(1, 3, 1)
    assert found(x_BLD, torch.tensor([3])).flatten().tolist() == [1.0, 2.0, 4.0]
    state = found.step(x_BLD[:, 0], None)[1]
    assert float(found.step(x_BLD[:, 1], state)[0].detach()) == 2.0


def test_gradients_lead_back_inside_alone():
    u_D = torch.tensor([0.5, 1.0, 2.0, 2.0, -2.0, -2.0], requires_grad=True)
    slopes = torch.tensor([-1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    (Bounded.apply(u_D, 1.0) * slopes).sum().backward()
    # descent goes against the gradient: +1 brings 2 down, -1 would drive it further out
    assert u_D.grad.tolist() == [-1.0, -1.0, 1.0, 0.0, 0.0, -1.0]


def test_units_do_not_see_each_other():
    found = mixer()
    found.linear.weight.data.copy_(torch.eye(6))
    x_BLD = drawn(1, 8, 6).abs()
    other = x_BLD.clone()
    other[..., 2] += 1
    moved = (found(other, torch.tensor([8])) - found(x_BLD, torch.tensor([8])))[0].abs().amax(0)
    assert (moved > 0).tolist() == [False, False, True, False, False, False]


def test_without_a_horizon_no_length_overflows():
    model = build("indrnn", vocabulary=7, outputs=3, width=8)
    for block in model.body.blocks:
        block.mixer.u_D.data.fill_(5.0)
    tokens = torch.randint(7, (1, 20_000), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert model(tokens).isfinite().all()


def test_counts_by_hand():
    found = mixer(width=5)
    assert found.flops(7) == 2 * 7 * (5 * 5 + 5)
    assert found.state_bytes(7) == 4 * 5
    assert found.reach(7) is None


@pytest.mark.parametrize(
    "extras", [{"depth": 0}, {"horizon": 0}, {"horizon": 1.5}, {"h0": "random"}]
)
def test_refuses_settings_out_of_range(extras):
    with pytest.raises(UsageError) as caught:
        mixer(**extras)
    assert caught.value.code == "E-OPTION"
