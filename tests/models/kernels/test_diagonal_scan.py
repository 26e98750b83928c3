"""Many states a channel: by hand, against the slow twin, at extremes, in any layout."""

import cmath

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from howfar.models import kernels


def reals(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def problem(batch, length, width, states, *, start, seed=0):
    rate_DN = torch.complex(
        -reals(width, states, seed=seed).exp() * 0.05, reals(width, states, seed=seed + 1)
    )
    weight_DN = torch.complex(*reals(2, width, states, seed=seed + 2))
    h0_BDN = torch.complex(*reals(2, batch, width, states, seed=seed + 3)) if start else None
    return reals(batch, length, width, seed=seed + 4), rate_DN, weight_DN, h0_BDN


def run(kernel, inputs):
    """Outputs and gradients, from the outputs and from the last state."""
    inputs = [None if x is None else x.clone().requires_grad_() for x in inputs]
    y_BLD, h_BDN = kernel(*inputs)
    with torch.no_grad():
        slope_BLD, slope_BDN = reals(*y_BLD.shape, seed=8), reals(*h_BDN.shape, seed=9)
    loss = (y_BLD * slope_BLD).sum() + (h_BDN.abs().square() * slope_BDN).sum()
    loss.backward()
    return [y_BLD, h_BDN, *(x.grad for x in inputs if x is not None)]


def same(got, want):
    for one, two in zip(got, want, strict=True):
        atol = 1e-10 * max(1, float(two.detach().abs().max()))
        torch.testing.assert_close(one, two, rtol=0, atol=atol)


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("length", [1, 2, 7, 63, 64, 65, 200, 1000])
def test_equals_slow_twin(length, start):
    inputs = problem(3, length, 2, 3, start=start)
    same(run(kernels.diagonal_scan, inputs), run(kernels.diagonal_scan_slow, inputs))


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.integers(1, 150), st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_equals_slow_twin_in_any_shape(batch, length, width, states, start):
    inputs = problem(batch, length, width, states, start=start, seed=length)
    same(run(kernels.diagonal_scan, inputs), run(kernels.diagonal_scan_slow, inputs))


def test_slow_twin_by_hand():
    """Keeps i / 2 a step, read by 1 + i: h = 1, i/2, -1/4 + 2, y = 1, -1/2, 7/4."""
    x_BLD = torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64).reshape(1, 3, 1)
    rate_DN = torch.tensor([[cmath.log(0.5j)]], dtype=torch.complex128)
    y_BLD, h_BDN = kernels.diagonal_scan_slow(x_BLD, rate_DN, torch.ones_like(rate_DN) * (1 + 1j))
    assert y_BLD.flatten().tolist() == pytest.approx([1.0, -0.5, 1.75], abs=1e-12)
    assert complex(h_BDN) == pytest.approx(1.75, abs=1e-12)
    assert kernels.diagonal_scan_flops(3, 1, 1) == 36


def test_gradcheck():
    inputs = problem(2, 5, 2, 2, start=True)
    assert torch.autograd.gradcheck(
        kernels.diagonal_scan, [x.clone().requires_grad_() for x in inputs]
    )


@torch.no_grad()
def test_changes_no_input_and_takes_any_layout():
    x_BLD, rate_DN, weight_DN, h0_BDN = problem(3, 70, 2, 3, start=True)
    before = [x.clone() for x in (x_BLD, rate_DN, weight_DN, h0_BDN)]
    want = kernels.diagonal_scan(*before)
    turned = [x.mT.contiguous().mT for x in (x_BLD, rate_DN, weight_DN, h0_BDN)]
    same(kernels.diagonal_scan(*turned), want)
    one_LD = x_BLD[:1]
    spread = kernels.diagonal_scan(one_LD.expand(3, -1, -1), rate_DN, weight_DN)
    same(spread, kernels.diagonal_scan(one_LD.repeat(3, 1, 1), rate_DN, weight_DN))
    assert all(torch.equal(a, b) for a, b in zip(before, turned, strict=True))


def test_survives_extreme_decays():
    x_BLD, _, weight_DN, _ = problem(1, 300, 1, 3, start=False)
    rate_DN = torch.tensor([[-800 + 3j, -1e-12 + 40j, 0j]], requires_grad=True).to(torch.complex128)
    rate_DN.retain_grad()
    y_BLD, h_BDN = kernels.diagonal_scan(x_BLD, rate_DN, weight_DN)
    want = kernels.diagonal_scan_slow(x_BLD, rate_DN.detach(), weight_DN)
    same([y_BLD, h_BDN], want)
    y_BLD.sum().backward()
    assert rate_DN.grad.isfinite().all()


@torch.no_grad()
def test_float32():
    x_BLD, rate_DN, weight_DN, h0_BDN = problem(2, 1000, 3, 4, start=True)
    want, _ = kernels.diagonal_scan(x_BLD, rate_DN, weight_DN, h0_BDN)
    lower = (x.to(torch.complex64) for x in (rate_DN, weight_DN, h0_BDN))
    got, _ = kernels.diagonal_scan(x_BLD.float(), *lower)
    assert got.dtype == torch.float32
    assert float((got - want).abs().max()) < 1e-4 * float(want.abs().max())


@torch.no_grad()
def test_half_precision_is_summed_in_float32():
    x_BLD, rate_DN, weight_DN, _ = problem(2, 100, 3, 4, start=False)
    law = rate_DN.to(torch.complex64), weight_DN.to(torch.complex64)
    half_BLD = x_BLD.bfloat16()
    got_BLD, h_BDN = kernels.diagonal_scan(half_BLD, *law)
    assert got_BLD.dtype == torch.bfloat16
    assert h_BDN.dtype == torch.complex64
    want_BLD, _ = kernels.diagonal_scan(half_BLD.float(), *law)
    assert torch.equal(got_BLD, want_BLD.bfloat16())
