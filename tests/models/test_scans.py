"""Hand-written recurrences: values by hand, torch's as slow twins, gradients by differences."""

import math

import pytest
import torch
from torch import nn

from howfar.models.blocks import Recurrence
from howfar.models.blocks.gru_scan import GruScan
from howfar.models.blocks.tanh_scan import TanhScan


def draw(*shape):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()


def test_tanh_by_hand():
    p_LBD = torch.tensor([0.5, 0.0, -1.0]).view(3, 1, 1)
    h_LBD = TanhScan.apply(p_LBD, torch.tensor([[2.0]]), torch.tensor([[0.25]]))
    first = math.tanh(1.0)
    second = math.tanh(2 * first)
    want = [first, second, math.tanh(-1 + 2 * second)]
    assert h_LBD.flatten().tolist() == pytest.approx(want)


def test_gru_by_hand():
    p_LBX = torch.tensor([[math.log(3), 0.0, 0.5], [0.0, -math.log(3), 0.0]]).view(2, 1, 3)
    weight_XD = torch.tensor([[0.0], [0.0], [2.0]])
    h_LBD = GruScan.apply(p_LBX, weight_XD, torch.tensor([1.0]), torch.tensor([[-1.0]]))
    first = 0.5 * math.tanh(0.5 + 0.75 * (2 * -1 + 1)) + 0.5 * -1
    second = 0.75 * math.tanh(0.5 * (2 * first + 1)) + 0.25 * first
    assert h_LBD.flatten().tolist() == pytest.approx([first, second])


@pytest.mark.parametrize("length", [1, 2, 5])
def test_gradients_are_those_of_differences(length):
    assert torch.autograd.gradcheck(TanhScan.apply, (draw(length, 2, 3), draw(3, 3), draw(2, 3)))
    given = (draw(length, 2, 9), draw(9, 3), draw(3), draw(2, 3))
    assert torch.autograd.gradcheck(GruScan.apply, given)


@pytest.mark.parametrize("h0", ["zeros", "random", "learned"])
@pytest.mark.parametrize("length", [1, 7])
@pytest.mark.parametrize("twin", [nn.RNN, nn.GRU])
def test_equals_its_slow_twin(twin, h0, length):
    layer = Recurrence(twin(4, 4, batch_first=True), h0).double()
    if layer.h0_PD is not None:
        layer.h0_PD.detach().copy_(draw(1, 4).detach())
    x_BLD, weight_BLD = draw(3, length, 4), draw(3, length, 4).detach()
    given = [x_BLD, *layer.parameters()]
    fast_BLD = layer(x_BLD, torch.full((3,), length))
    slow_BLD = layer.rnn(x_BLD, layer._start(3))[0]
    torch.testing.assert_close(fast_BLD, slow_BLD, rtol=0, atol=1e-14)
    fast, slow = (
        torch.autograd.grad((weight_BLD * y_BLD).sum(), given) for y_BLD in (fast_BLD, slow_BLD)
    )
    for got, want in zip(fast, slow, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-13)
