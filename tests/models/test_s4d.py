"""S4D: against its equations and the differential equation behind them, by hand, and its start."""

import cmath
import math

import pytest
import torch

from howfar.core.errors import UsageError
from howfar.models import build, kernels


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def reals(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def made(width=6, **extras):
    model = build("s4d", vocabulary=5, outputs=2, width=width, embedding=width, **extras).double()
    return model.body.blocks[0].mixer


def one_state(*, step, turn, out, skip):
    """One channel with one pair of states, A = -1/2 + i turn."""
    found = made(1, states=2)
    with torch.no_grad():
        found.log_step_D.fill_(math.log(step))
        found.turn_DN.fill_(turn)
        found.out_DN2.copy_(torch.tensor([[[out.real, out.imag]]], dtype=torch.float64))
        found.skip_D.fill_(skip)
    return found


def mixed(found, x_BLD, *, skip=True):
    """The convolution alone: before D x, GELU and the gated map."""
    y_BLD, _ = kernels.diagonal_scan(x_BLD, *found.law())
    return y_BLD + found.skip_D * x_BLD if skip else y_BLD


def equations(found, x_LD, start="lin"):
    """The layer from the paper's equations, one channel, lag and state after another."""
    width, pairs = found.turn_DN.shape
    states = 2 * pairs
    y_LD = torch.zeros_like(x_LD)
    for d in range(width):
        step = math.exp(found.log_step_D[d])
        taps = [0.0] * len(x_LD)
        for n in range(pairs):
            lin, inv = math.pi * n, states / math.pi * (states / (2 * n + 1) - 1)
            turn = (lin if start == "lin" else inv) + float(found.turn_DN[d, n])
            a = complex(-0.5 * math.exp(found.log_decay_DN[d, n]), turn)
            kept = cmath.exp(step * a)
            out = complex(*found.out_DN2[d, n].tolist())
            for lag in range(len(x_LD)):
                taps[lag] += (2 * out * (kept - 1) / a * kept**lag).real
        for t in range(len(x_LD)):
            y_LD[t, d] = sum(taps[lag] * float(x_LD[t - lag, d]) for lag in range(t + 1))
    y_LD = y_LD + found.skip_D * x_LD
    bent_LD = 0.5 * y_LD * (1 + torch.erf(y_LD / 2**0.5))
    value_LD, gate_LD = (bent_LD @ found.mix.weight.T + found.mix.bias).chunk(2, dim=-1)
    return value_LD / (1 + torch.exp(-gate_LD))


@pytest.mark.parametrize("start", ["lin", "inv"])
@torch.no_grad()
def test_layer_equals_its_equations(start):
    found = made(3, states=6, start=start)
    for index, parameter in enumerate((found.log_decay_DN, found.turn_DN, found.mix.bias)):
        parameter.add_(0.3 * reals(*parameter.shape, seed=index))
    x_BLD = reals(1, 90, 3)
    got_BLD = found(x_BLD, torch.tensor([90]))
    torch.testing.assert_close(got_BLD[0], equations(found, x_BLD[0], start), rtol=0, atol=1e-9)


def test_one_state_by_hand():
    """A = -1/2 + i pi, d = 1, C = 1: e^A = -0.606531, B' = -1.606531 / A, Re 1 / A = -0.049409."""
    found = one_state(step=1.0, turn=math.pi, out=1 + 0j, skip=2.0)
    x_BLD = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).reshape(1, 3, 1)
    # the first output: 2 * 1.606531 * 0.049409 + 2
    want = [0.1587549 + 2.0, 0.1587549 * -0.6065307, 0.1587549 * 0.3678794]
    assert mixed(found, x_BLD).flatten().tolist() == pytest.approx(want, abs=1e-6)


@torch.no_grad()
def test_impulse_response_is_the_kernel():
    found = made(4, states=8)
    x_BLD = torch.zeros(1, 200, 4, dtype=torch.float64)
    x_BLD[:, 0] = 1
    rate_DN, weight_DN = found.law()
    lag_L11 = torch.arange(200, dtype=torch.float64)[:, None, None]
    want_LD = (weight_DN * torch.exp(rate_DN * lag_L11)).sum(-1).real
    got_BLD = mixed(found, x_BLD, skip=False)
    torch.testing.assert_close(got_BLD[0], want_LD, rtol=0, atol=1e-12)


@torch.no_grad()
def test_a_held_input_settles_where_the_differential_equation_does():
    """h' = A h + x rests at -x / A: the zero-order hold changes nothing of that, for any step."""
    for step in (0.05, 0.7):
        found = one_state(step=step, turn=2.0, out=0.3 - 1.1j, skip=0.0)
        x_BLD = torch.ones(1, 4000, 1, dtype=torch.float64)
        want = (2 * (0.3 - 1.1j) * (-1 / (-0.5 + 2j))).real
        assert float(mixed(found, x_BLD)[0, -1, 0]) == pytest.approx(want, abs=1e-9)


@torch.no_grad()
def test_small_steps_keep_their_digits():
    """exp(d A) - 1 in float32, at the smallest step: a plain difference would lose four digits."""
    exact = one_state(step=1e-3, turn=0.0, out=1 + 0j, skip=0.0)
    _, want = exact.law()
    _, got = exact.float().law()
    assert abs(complex(got) / complex(want) - 1) < 1e-6


@torch.no_grad()
def test_start():
    found = made(400)
    assert found.turn_DN.shape == (400, 32)
    rate_DN, _ = found.law()
    step_D = found.log_step_D.exp()
    a_DN = rate_DN / step_D[:, None]
    assert a_DN[7, :3].tolist() == pytest.approx(
        [-0.5, -0.5 + math.pi * 1j, -0.5 + 2j * math.pi], abs=1e-5
    )
    assert float(step_D.min()) >= 0.001 * (1 - 1e-6)
    assert float(step_D.max()) <= 0.1 * (1 + 1e-6)
    assert float(found.log_step_D.mean()) == pytest.approx(math.log(0.01), abs=0.2)
    out_DN = torch.view_as_complex(found.out_DN2)
    assert float(out_DN.abs().square().mean()) == pytest.approx(1.0, abs=0.03)
    assert abs(complex(out_DN.square().mean())) < 0.03  # no part larger than the other
    inverse, _ = made(2, start="inv").law()
    a_N = inverse[0] / made(2, start="inv").log_step_D[0].exp()
    assert a_N[0].tolist() == pytest.approx(-0.5 + 64 / math.pi * 63j, rel=1e-5)
    assert a_N[31].tolist() == pytest.approx(-0.5 + 64 / math.pi * (64 / 63 - 1) * 1j, rel=1e-4)


def test_state_and_price():
    found = made(6, states=8)
    assert found.state_bytes(100) == 8 * 6 * 4
    assert found.flops(10) == 10 * (12 * 6 * 4 + 2 * 6 * 12)


@pytest.mark.parametrize("extras", [{"states": 7}, {"states": 0}, {"start": "legs"}, {"depth": 0}])
def test_wrong_settings(extras):
    with pytest.raises(UsageError):
        made(**extras)
