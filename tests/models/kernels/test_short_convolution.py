"""The short convolution: by hand, both forms against the slow twin and torch."""

import sys
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from howfar.models import kernels
from howfar.models.kernels import compiled, installed, using
from howfar.models.kernels.short_convolution import ShortConvolution

FORMS = ["torch", *(["compiled"] if installed() else [])]


def reals(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def inputs(rows, length, width, taps, *, bias=True, past=True, dtype=torch.float64):
    return [
        reals(rows, length, width, dtype=dtype),
        reals(taps, width, seed=1, dtype=dtype),
        reals(width, seed=2, dtype=dtype) if bias else None,
        reals(rows, taps - 1, width, seed=3, dtype=dtype) if past else None,
    ]


def gradients(convolve, given, seed=9):
    """Both outputs, then the gradients of all inputs under random weights of both."""
    given = [None if x is None else x.detach().clone().requires_grad_() for x in given]
    outputs = convolve(*given)
    sum((y * reals(*y.shape, seed=seed, dtype=y.dtype)).sum() for y in outputs).backward()
    return [*(y.detach() for y in outputs), *(x.grad for x in given if x is not None)]


def near(got, want, tolerance):
    for one, two in zip(got, want, strict=True):
        assert one.dtype == two.dtype
        scale = max(1.0, float(two.abs().max())) if two.numel() else 1.0
        torch.testing.assert_close(one, two, rtol=0, atol=tolerance * scale)


@pytest.fixture(params=FORMS)
def form(request, monkeypatch):
    # the compiled form at any size
    monkeypatch.setattr(sys.modules[ShortConvolution.__module__], "FEW", 0)
    with using(request.param):
        yield request.param


@pytest.mark.parametrize("convolve", [kernels.short_convolution, kernels.short_convolution_slow])
def test_by_hand(form, convolve):
    x_BLD = torch.tensor([1.0, 2, 3]).reshape(1, 3, 1)
    weight_KD = torch.tensor([100.0, 10, 1]).reshape(3, 1)
    y_BLD, past_BPD = convolve(x_BLD, weight_KD, torch.tensor([0.5]))
    assert y_BLD.flatten().tolist() == [1.5, 12.5, 123.5]
    assert past_BPD.flatten().tolist() == [2.0, 3.0]
    y_BLD, past_BPD = convolve(x_BLD[:, :1], weight_KD, None, torch.tensor([7.0, 8]).view(1, 2, 1))
    assert y_BLD.flatten().tolist() == [781.0]
    assert past_BPD.flatten().tolist() == [8.0, 1.0]


@pytest.mark.parametrize("length", [1, 2, 7, 64, 1000])
@pytest.mark.parametrize("taps", [1, 2, 4])
def test_equals_the_slow_twin(form, length, taps):
    given = inputs(3, length, 5, taps)
    want = gradients(kernels.short_convolution_slow, given)
    near(gradients(kernels.short_convolution, given), want, 1e-12)


@given(
    rows=st.integers(0, 4),
    length=st.integers(1, 300),
    width=st.integers(1, 9),
    taps=st.integers(1, 6),
    bias=st.booleans(),
    past=st.booleans(),
)
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("name", FORMS)
def test_any_shape(name, rows, length, width, taps, bias, past):
    given = inputs(rows, length, width, taps, bias=bias, past=past)
    with using(name), patch.object(sys.modules[ShortConvolution.__module__], "FEW", 0):
        got = gradients(kernels.short_convolution, given)
    near(got, gradients(kernels.short_convolution_slow, given), 1e-12)


def test_equals_torch(form):
    x_BLD, weight_KD, bias_D, _ = inputs(2, 40, 6, 4)
    want = F.conv1d(F.pad(x_BLD.mT, (3, 0)), weight_KD.T[:, None], bias_D, groups=6).mT
    near([kernels.short_convolution(x_BLD, weight_KD, bias_D)[0]], [want], 1e-12)


def test_gradcheck(form):
    given = [x.requires_grad_() for x in inputs(2, 5, 2, 3)]
    assert torch.autograd.gradcheck(kernels.short_convolution, given)
    given_once = [given[0][:, :1], *given[1:]]
    assert torch.autograd.gradcheck(kernels.short_convolution, given_once)


def test_chunks_equal_all_at_once(form):
    x_BLD, weight_KD, bias_D, past_BPD = inputs(2, 20, 3, 4)
    want, last = kernels.short_convolution(x_BLD, weight_KD, bias_D, past_BPD)
    parts = []
    for part_BLD in x_BLD.split([1, 1, 7, 2, 9], dim=1):
        y_BLD, past_BPD = kernels.short_convolution(part_BLD, weight_KD, bias_D, past_BPD)
        parts.append(y_BLD)
    near([torch.cat(parts, 1), past_BPD], [want, last], 1e-12)


@pytest.mark.parametrize("length", [7, 1000, 5000])
def test_float32_is_near_float64(form, length):
    given = inputs(2, length, 8, 4)
    want = gradients(kernels.short_convolution, given)
    got = gradients(kernels.short_convolution, [x.float() for x in given])
    for one, two in zip(got, want, strict=True):
        assert float((one - two).norm() / two.norm()) < 1e-6


def test_the_past_is_a_copy_and_nothing_is_changed(form):
    given = inputs(2, 30, 5, 4)
    kept = [x.clone() for x in given]
    y_BLD, past_BPD = kernels.short_convolution(*given)
    y_BLD.zero_()
    past_BPD.zero_()
    for one, two in zip(given, kept, strict=True):
        assert torch.equal(one, two)
    assert past_BPD.untyped_storage().nbytes() == past_BPD.numel() * past_BPD.element_size()


def test_views_and_expanded_inputs(form):
    x_BLD = reals(2, 6, 40).mT[:, ::2].expand(2, 20, 6)
    weight_KD = reals(3, 1).expand(3, 6)
    past_BPD = reals(1, 2, 6, seed=3).expand(2, 2, 6)
    leaves = [reals(2, 6, 40).requires_grad_(), reals(3, 1).requires_grad_()]
    views = [leaves[0].mT[:, ::2], leaves[1].expand(3, 6)]
    got, _ = kernels.short_convolution(*views, None, past_BPD)
    want, _ = kernels.short_convolution_slow(x_BLD, weight_KD, None, past_BPD)
    near([got], [want], 1e-12)
    got[:, 3].sum().backward()
    found = [leaf.grad.clone() for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    kernels.short_convolution_slow(leaves[0].mT[:, ::2], leaves[1].expand(3, 6), None, past_BPD)[0][
        :, 3
    ].sum().backward()
    near(found, [leaf.grad for leaf in leaves], 1e-12)


def test_without_gradients(form):
    given = inputs(2, 9, 3, 4)
    given[0].requires_grad_()
    with torch.no_grad():
        y_BLD, past_BPD = kernels.short_convolution(*given)
    assert not y_BLD.requires_grad
    assert not past_BPD.requires_grad
    kernels.short_convolution(*given)[0].sum().backward()  # the weights are constants
    assert given[0].grad is not None


def test_threads_change_nothing(form):
    given = inputs(5, 700, 130, 4, dtype=torch.float32)
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(gradients(kernels.short_convolution, given))
    finally:
        torch.set_num_threads(before)
    near(found[0], found[1], 1e-5 if form == "torch" else 0)


def test_half_precision_goes_with_the_widest_input(form):
    x_BLD, weight_KD, *_ = inputs(2, 30, 3, 4)
    y_BLD, after_BPD = kernels.short_convolution(x_BLD.bfloat16(), weight_KD.float(), None)
    assert y_BLD.dtype == after_BPD.dtype == torch.float32
    want, _ = kernels.short_convolution(x_BLD, weight_KD, None)
    torch.testing.assert_close(y_BLD.double(), want, rtol=0, atol=0.05)
    assert compiled(x_BLD) is (form == "compiled")


def test_flops_by_hand():
    assert kernels.short_convolution_flops(10, 3, 4) == 2 * 10 * 3 * 4
