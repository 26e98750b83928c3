"""The linear recurrent unit: against its convolution, by hand, without memory, and its start."""

import cmath
import math

import pytest
import torch

from howfar.core.errors import UsageError
from howfar.models import build


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def reals(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def made(width=6, **extras):
    model = build("lru", vocabulary=5, outputs=2, width=width, embedding=width, **extras).double()
    return model.body.blocks[0].mixer


def run(found, x_BLD):
    return found(x_BLD, torch.tensor([x_BLD.shape[1]] * x_BLD.shape[0]))


def after(found, y_LD):
    """GELU and the gated map."""
    bent_LD = 0.5 * y_LD * (1 + torch.erf(y_LD / 2**0.5))
    value_LD, gate_LD = (bent_LD @ found.mix.weight.T + found.mix.bias).chunk(2, dim=-1)
    return value_LD / (1 + torch.exp(-gate_LD))


@torch.no_grad()
def test_layer_equals_its_convolution():
    """y_t = sum_s Re(C l^s g B) x_{t-s}: matrices of numbers, from the published equations."""
    width, length = 3, 40
    found = made(width)
    found.mix.bias.add_(reals(2 * width))
    x_LD = reals(length, width)
    taps = [[[0.0] * width for _ in range(width)] for _ in range(length)]
    for n in range(width):
        modulus = math.exp(-math.exp(found.log_decay_N[n]))
        value = cmath.rect(modulus, math.exp(found.log_phase_N[n]))
        scale = math.exp(found.log_scale_N[n])
        for i in range(width):
            into = scale * complex(*found.into_N2D[n, :, i].tolist())
            for o in range(width):
                real, minus_imaginary = found.out_DN2[o, n].tolist()
                out = complex(real, -minus_imaginary)
                for lag in range(length):
                    taps[lag][o][i] += (out * value**lag * into).real
    taps = torch.tensor(taps, dtype=torch.float64)
    y_LD = torch.stack(
        [sum(taps[lag] @ x_LD[t - lag] for lag in range(t + 1)) for t in range(length)]
    )
    want_LD = after(found, y_LD + found.skip_D * x_LD)
    torch.testing.assert_close(run(found, x_LD[None])[0], want_LD, rtol=0, atol=1e-9)


@torch.no_grad()
def test_one_state_by_hand():
    """l = i / 2, g = 1, B = 2, C = 1 + i, D = 3, x = 1, 0, 0: h = 2, i, -1/2; y = 5, -1, -1/2."""
    found = made(1)
    found.log_decay_N.fill_(math.log(math.log(2)))
    found.log_phase_N.fill_(math.log(math.pi / 2))
    found.log_scale_N.zero_()
    found.into_N2D.copy_(torch.tensor([[[2.0], [0.0]]]))
    found.out_DN2.copy_(torch.tensor([[[1.0, -1.0]]]))  # C is kept with its imaginary part turned
    found.skip_D.fill_(3.0)
    x_BLD = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).reshape(1, 3, 1)
    _, (h_BN,) = found.chunk(x_BLD, None)
    assert complex(h_BN) == pytest.approx(-0.5, abs=1e-12)
    want_LD = after(found, torch.tensor([[5.0], [-1.0], [-0.5]], dtype=torch.float64))
    torch.testing.assert_close(run(found, x_BLD)[0], want_LD, rtol=0, atol=1e-12)


@torch.no_grad()
def test_without_eigenvalues_it_has_no_memory():
    found = made()
    found.log_decay_N.fill_(10.0)  # exp(-exp(10)) is 0
    assert float(found.eigenvalues().abs().max()) == 0
    x_BLD = reals(2, 9, 6)
    one_by_one = torch.cat([run(found, x_B1D) for x_B1D in x_BLD.split(1, dim=1)], dim=1)
    torch.testing.assert_close(run(found, x_BLD), one_by_one, rtol=0, atol=1e-12)
    found.log_decay_N.fill_(-3.0)
    assert float((run(found, x_BLD) - one_by_one).abs().max()) > 1e-3


def test_eigenvalues_never_leave_the_disc():
    found = made()
    with torch.no_grad():
        found.log_decay_N.copy_(torch.linspace(-30, 30, 6))
    value_N = found.eigenvalues()
    assert float(value_N.detach().abs().max()) <= 1
    value_N.abs().sum().backward()
    assert found.log_decay_N.grad.isfinite().all()


@pytest.mark.parametrize(("low", "high"), [(0.9, 0.999), (0.0, 0.5)])
@torch.no_grad()
def test_start_is_a_ring(low, high):
    found = made(2000, depth=1, r_min=low, r_max=high)
    value_N = found.eigenvalues()
    modulus_N = value_N.abs()
    assert float(modulus_N.min()) >= low - 1e-5
    assert float(modulus_N.max()) <= high + 1e-5
    # uniform in area: the squares are uniform
    share_N = (modulus_N.square() - low**2) / (high**2 - low**2)
    for quarter in (0.25, 0.5, 0.75):
        assert float((share_N < quarter).double().mean()) == pytest.approx(quarter, abs=0.04)
    phase_N = found.log_phase_N.exp()
    assert float(phase_N.min()) > 0
    assert float(phase_N.max()) <= 2 * math.pi + 1e-5
    assert float(phase_N.mean()) == pytest.approx(math.pi, abs=0.15)
    scale_N = (1 - modulus_N.square()).sqrt()
    torch.testing.assert_close(found.log_scale_N.exp(), scale_N, rtol=1e-3, atol=0)
    assert float(found.into_N2D.std()) == pytest.approx(4000**-0.5, rel=0.02)
    assert float(found.out_DN2.std()) == pytest.approx(2000**-0.5, rel=0.02)


@torch.no_grad()
def test_the_scale_keeps_the_size_of_white_noise():
    """E |h|^2 = g^2 E |B x|^2 / (1 - |l|^2): one for inputs of variance one, once settled."""
    found = made(64, r_max=0.95)
    x_BLD = reals(64, 300, 64)
    _, (h_BN,) = found.chunk(x_BLD, None)
    assert float(h_BN.abs().square().mean()) == pytest.approx(1.0, abs=0.1)


def test_state_and_price():
    found = made(6)
    assert found.state_bytes(100) == 8 * 6
    assert found.flops(10) == 10 * (2 * (72 + 72 + 72) + 4 * 2 * 6)


@pytest.mark.parametrize(
    "extras", [{"depth": 0}, {"r_min": 0.5, "r_max": 0.5}, {"r_max": 1.0}, {"r_min": -0.1}]
)
def test_wrong_settings(extras):
    with pytest.raises(UsageError):
        made(**extras)
