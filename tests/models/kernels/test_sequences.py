"""Where the vectors of sequences lie: by hand, and nothing copied that need not be."""

import pytest
import torch
from tests.models.kernels.scans import FORMS, laid, reals, scan_of

from howfar.models.kernels.sequences import Order, earlier


def test_by_hand():
    x_LBX = torch.arange(12.0).reshape(3, 2, 2)
    assert Order.of(x_LBX) == Order(3, 2, 1)
    # the third step of the second row
    assert Order.of(x_LBX).flat(x_LBX)[2 * 2 + 1].tolist() == [10.0, 11.0]
    turned = laid(x_LBX, "rows")
    assert Order.of(turned) == Order(3, 1, 3)
    assert Order.of(turned).flat(turned)[2 * 1 + 1 * 3].tolist() == [10.0, 11.0]


@pytest.mark.parametrize("size", [(3, 2, 4), (1, 2, 4), (3, 1, 4), (1, 1, 1), (0, 2, 4), (3, 0, 4)])
@pytest.mark.parametrize("layout", ["steps", "rows", "strided"])
def test_there_and_back(layout, size):
    x_LBX = laid(reals(*size), layout)
    order = Order.of(x_LBX)
    flat_RX = order.flat(x_LBX)
    assert flat_RX.is_contiguous()
    assert layout == "strided" or flat_RX.data_ptr() == x_LBX.data_ptr()
    assert torch.equal(order.shaped(flat_RX, size[1]), x_LBX)


@pytest.mark.parametrize("layout", ["steps", "rows"])
def test_earlier(layout):
    h_LBD, h0_BD = laid(reals(4, 3, 2), layout), reals(3, 2, seed=1)
    order = Order.of(h_LBD)
    got_LBD = order.shaped(earlier(order, h_LBD, h0_BD), 3)
    assert torch.equal(got_LBD, torch.cat([h0_BD[None], h_LBD[:-1]]))


@pytest.mark.skipif("compiled" not in FORMS, reason="numba is not there")
def test_states_and_gradients_lie_as_what_was_given():
    p_LBD = laid(reals(5, 3, 4), "rows").requires_grad_()
    h_LBD = scan_of("indrnn_scan", "compiled")(p_LBD, reals(4), reals(3, 4))
    assert h_LBD.transpose(0, 1).is_contiguous()
    h_LBD.square().sum().backward()
    assert p_LBD.grad.transpose(0, 1).is_contiguous()
