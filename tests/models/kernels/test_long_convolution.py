"""The long convolution: by hand, against its slow twin, against torch, causal to the last bit."""

import math
import sys
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from howfar.models import kernels
from howfar.models.kernels.long_convolution import BLOCK, cut

LENGTHS = [1, 2, 7, 64, 65, 100, 129, 513, 1000]


def reals(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def gradients(convolve, *given, seed=9):
    """Output, then the gradients of all inputs under random weights."""
    given = [x.detach().clone().requires_grad_() for x in given]
    y = convolve(*given)
    (y * reals(*y.shape, seed=seed, dtype=y.dtype)).sum().backward()
    return [y.detach(), *(x.grad for x in given)]


def near(got, want, tolerance):
    for one, two in zip(got, want, strict=True):
        assert one.dtype == two.dtype
        scale = max(1.0, float(two.abs().max())) if two.numel() else 1.0
        torch.testing.assert_close(one, two, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("form", [kernels.long_convolution, kernels.long_convolution_slow])
def test_by_hand(form):
    x_BLD = torch.tensor([1.0, 2, 3]).reshape(1, 3, 1)
    filter_LD = torch.tensor([10.0, 1, 0.5]).reshape(3, 1)
    # 10; 20 + 1; 30 + 2 + 0.5
    assert form(x_BLD, filter_LD).flatten().tolist() == [10.0, 21.0, 32.5]
    assert form(x_BLD, filter_LD[:2]).flatten().tolist() == [10.0, 21.0, 32.0]


@pytest.mark.parametrize("length", LENGTHS)
def test_equals_the_slow_twin(length):
    x_BLD, filter_LD = reals(3, length, 5), reals(length, 5, seed=1)
    got = gradients(kernels.long_convolution, x_BLD, filter_LD)
    near(got, gradients(kernels.long_convolution_slow, x_BLD, filter_LD), 1e-12)


@given(
    rows=st.integers(0, 4),
    length=st.integers(1, 300),
    taps=st.integers(1, 400),
    width=st.integers(1, 4),
)
@settings(max_examples=30, deadline=None)
def test_any_shape(rows, length, taps, width):
    x_BLD, filter_LD = reals(rows, length, width), reals(taps, width, seed=1)
    got = gradients(kernels.long_convolution, x_BLD, filter_LD)
    near(got, gradients(kernels.long_convolution_slow, x_BLD, filter_LD), 1e-12)


@pytest.mark.parametrize(
    ("rows", "length", "taps"), [(2, 0, 5), (2, 90, 0), (0, 90, 90), (0, 0, 0)]
)
def test_nothing_gives_zeros(rows, length, taps):
    y_BLD, *by_input = gradients(
        kernels.long_convolution, reals(rows, length, 3), reals(taps, 3, seed=1)
    )
    assert y_BLD.shape == (rows, length, 3)
    assert all(not x.any() for x in (y_BLD, *by_input))


def test_equals_torch():
    x_BLD, filter_LD = reals(2, 200, 3), reals(150, 3, seed=1)
    weight_D1K = filter_LD.T.flip(1)[:, None]
    want = F.conv1d(F.pad(x_BLD.mT, (149, 0)), weight_D1K, groups=3).mT
    near([kernels.long_convolution(x_BLD, filter_LD)], [want], 1e-12)


def test_gradcheck():
    for length in (3, BLOCK + 1):
        x_BLD = reals(1, length, 1).requires_grad_()
        filter_LD = reals(length + 1, 1, seed=1).requires_grad_()
        assert torch.autograd.gradcheck(kernels.long_convolution, (x_BLD, filter_LD))


@pytest.mark.parametrize("length", [33, 64, 200, 1025])
def test_the_future_moves_no_bit_neither_of_outputs_nor_of_gradients(length):
    x_BLD, filter_LD = (
        reals(2, length, 3, dtype=torch.float32),
        reals(length, 3, seed=1, dtype=torch.float32),
    )
    before = kernels.long_convolution(x_BLD, filter_LD)
    for place in sorted({1, 2, length // 3, length // 2, length - 1}):
        changed = torch.cat(
            [x_BLD[:, :place], 1e6 * reals(2, length - place, 3, dtype=torch.float32)], 1
        )
        after = kernels.long_convolution(changed, filter_LD)
        assert torch.equal(after[:, :place], before[:, :place])
        assert not torch.equal(after[:, place:], before[:, place:])
        leaf = x_BLD.clone().requires_grad_()
        kernels.long_convolution(leaf, filter_LD)[:, place - 1].sum().backward()
        assert (leaf.grad[:, :place] != 0).all()
        assert (leaf.grad[:, place:] == 0).all()


def test_rows_and_channels_do_not_see_each_other():
    x_BLD, filter_LD = reals(5, 300, 7), reals(300, 7, seed=1)
    together = kernels.long_convolution(x_BLD, filter_LD)
    alone = kernels.long_convolution(x_BLD[3:4, :, 2:3], filter_LD[:, 2:3])
    near([together[3:4, :, 2:3]], [alone], 1e-12)


def test_many_channels_are_taken_in_parts(monkeypatch):
    x_BLD, filter_LD = reals(2, 90, 11), reals(90, 11, seed=1)
    want = gradients(kernels.long_convolution, x_BLD, filter_LD)
    monkeypatch.setattr(sys.modules[cut.__module__], "ELEMENTS", 1000)
    near(gradients(kernels.long_convolution, x_BLD, filter_LD), want, 1e-12)


@pytest.mark.parametrize("length", [64, 1000, 5000])
def test_float32_is_near_float64(length):
    x_BLD, filter_LD = reals(2, length, 3), reals(length, 3, seed=1)
    decays = torch.exp(-torch.arange(length)[:, None] / 200)
    want = gradients(kernels.long_convolution, x_BLD, filter_LD * decays)
    got = gradients(kernels.long_convolution, x_BLD.float(), (filter_LD * decays).float())
    for one, two in zip(got, want, strict=True):
        assert float((one - two).norm() / two.norm()) < 2e-6


def test_views_and_expanded_inputs():
    x_BLD = reals(4, 5, 140).mT[::2].expand(2, 140, 5)
    filter_LD = reals(1, 5, seed=1).expand(140, 5)
    kept = x_BLD.clone(), filter_LD.clone()
    got = kernels.long_convolution(x_BLD, filter_LD)
    near([got], [kernels.long_convolution_slow(*kept)], 1e-12)
    assert torch.equal(x_BLD, kept[0])
    assert torch.equal(filter_LD, kept[1])
    assert got.is_contiguous()


def test_gradients_only_where_asked():
    x_BLD, filter_LD = reals(1, 90, 2), reals(90, 2, seed=1)
    for chosen in (0, 1):
        inputs = [x_BLD.clone(), filter_LD.clone()]
        inputs[chosen].requires_grad_()
        kernels.long_convolution(*inputs).sum().backward()
        assert inputs[chosen].grad is not None
        assert inputs[1 - chosen].grad is None
    with torch.no_grad():
        assert not kernels.long_convolution(inputs[0], inputs[1]).requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(dtype):
    x_BLD, filter_LD = reals(2, 300, 3).to(dtype), reals(300, 3, seed=1).to(dtype)
    want = kernels.long_convolution(x_BLD.double(), filter_LD.double())
    got = kernels.long_convolution(x_BLD, filter_LD)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), want, rtol=2e-2, atol=2e-2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        wide = kernels.long_convolution(x_BLD.float(), filter_LD.float())
    torch.testing.assert_close(wide.double(), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("length", range(1, 700, 13))
def test_blocks_hold_the_text(length):
    block, levels = cut(length)
    assert length <= block << levels < length + (8 << levels)
    assert block <= BLOCK
    assert block % 8 == 0 or levels == 0


def test_flops_by_hand():
    assert kernels.long_convolution_flops(64, 3) == 3 * 64 * 65
    # two blocks of 64, one pair of halves: two transforms of 128, one more for the filter
    one = 128 * 65 + 3 * 2.5 * 128 * math.log2(128) + 6 * 65
    assert kernels.long_convolution_flops(128, 1) == round(one)
    # four blocks: two pairs of 64, one pair of 128
    two = 256 * 65 + 5 * 2.5 * 128 * 7 + 12 * 65 + 3 * 2.5 * 256 * 8 + 6 * 129
    assert kernels.long_convolution_flops(256, 1) == round(two)


def test_flops_grow_with_the_length_and_stay_below_the_sum():
    counts = [kernels.long_convolution_flops(length, 1) for length in range(1, 3000)]
    assert all(a <= b for a, b in pairwise(counts))
    assert counts[2047] < 2048 * 2049 / 5
