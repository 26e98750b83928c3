"""Gated convolutions: by hand, against torch's own, as the paper draws them."""

import pytest
import torch
from torch.nn import functional as F

from howfar.core.errors import UsageError
from howfar.models import build
from howfar.models.blocks import Sizes, initialise
from howfar.models.gatedconv import GatedConvolution


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def reals(*shape, seed=1):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def drawn(width, kernel, causal):
    mixer = GatedConvolution(Sizes(width, width, causal, 0.0), kernel).double()
    initialise(mixer, generator())
    mixer.convolution.bias.data.copy_(reals(2 * width, seed=2))
    return mixer


def test_by_hand():
    mixer = drawn(1, 2, True)
    mixer.convolution.weight.data.copy_(torch.tensor([[[10.0, 1]], [[0, 1]]]))
    mixer.convolution.bias.data.zero_()
    x_BLD = torch.tensor([0.0, 2, -1]).double().reshape(1, 3, 1)
    # v = x_t + 10 x_{t-1}, g = x_t
    gates = torch.tensor([0.0, 2, -1]).double().sigmoid()
    want = torch.tensor([0.0, 2, 19]).double() * gates
    got = mixer(x_BLD, torch.tensor([3])).flatten()
    torch.testing.assert_close(got, want, rtol=0, atol=1e-15)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("causal", [True, False])
def test_equals_torch(kernel, causal):
    mixer, x_BLD = drawn(6, kernel, causal), reals(2, 13, 6)
    sides = (kernel - 1, 0) if causal else (kernel // 2, kernel // 2)
    both = F.conv1d(F.pad(x_BLD.mT, sides), mixer.convolution.weight, mixer.convolution.bias)
    got = mixer(x_BLD, torch.tensor([13, 13]))
    torch.testing.assert_close(got, F.glu(both, dim=1).mT, rtol=0, atol=1e-12)


def test_padding_counts_as_zeros():
    mixer, x_BLD = drawn(4, 3, False), reals(2, 9, 4)
    got = mixer(x_BLD, torch.tensor([9, 5]))
    alone = mixer(x_BLD[1:, :5], torch.tensor([5]))
    torch.testing.assert_close(got[1:, :5], alone, rtol=0, atol=1e-12)


@torch.no_grad()
def test_weights_are_drawn_for_the_gate():
    """Variance 4 / fan-in: the gate halves the values, so their variance stays near that of x."""
    mixer = GatedConvolution(Sizes(256, 256, True, 0.0), 3)
    initialise(mixer, generator())
    weight = mixer.convolution.weight
    assert float(weight.std()) == pytest.approx((4 / (3 * 256)) ** 0.5, rel=0.01)
    assert not mixer.convolution.bias.any()
    small_BLD = 0.05 * torch.randn(4, 200, 256, generator=generator(1))
    y_BLD = mixer(small_BLD, torch.full((4,), 200))[:, 2:]
    # for small inputs, where the gate is a half (appendix A.1 of the paper)
    assert float(y_BLD.var() / small_BLD.var()) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(("kernel", "depth", "reach"), [(3, 8, 17), (4, 3, 10), (1, 5, 1)])
def test_reach_and_state_by_hand(kernel, depth, reach):
    model = build("gatedconv", vocabulary=5, outputs=2, kernel=kernel, depth=depth)
    assert model.reach(1000) == reach
    assert model.state_bytes(1000) == 4 * 64 * (reach - 1)


def test_refuses():
    with pytest.raises(UsageError, match="kernel 2 has no centre") as caught:
        build("gatedconv", vocabulary=5, outputs=2, causal=False, kernel=2)
    assert caught.value.code == "E-OPTION"
    with pytest.raises(UsageError, match="kernel must be"):
        build("gatedconv", vocabulary=5, outputs=2, kernel=0)
