"""The scan of IndRNN: by hand, against its slow twin and differences, in both forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.models.kernels.scans import (
    FORMS,
    LAYOUTS,
    gradients,
    laid,
    near,
    reals,
    scan_of,
    two_threads,
)

from howfar.core.errors import UsageError
from howfar.models import kernels

__all__ = ["two_threads"]
ACTIVATIONS = ["tanh", "relu"]
SIZES = [(1, 1, 1), (2, 3, 5), (7, 8, 14), (64, 33, 5), (7, 33, 128), (1000, 3, 14), (64, 1, 128)]


def scans(form, activation="relu"):
    scan = scan_of("indrnn_scan", form)
    return lambda *args: scan(*args, activation)


def drawn(length, rows, width, dtype=torch.float64):
    """p, u between -1 and 1, and h_0."""
    u_D = reals(width, dtype=dtype).tanh()
    return reals(length, rows, width, dtype=dtype), u_D, reals(rows, width, dtype=dtype)


@pytest.mark.parametrize("form", ["slow", *FORMS])
def test_by_hand(form):
    p_LBD = torch.tensor([[1.0, 0.5], [-3.0, -1.0], [0.5, 0.0]]).view(3, 1, 2)
    given = (p_LBD, torch.tensor([2.0, -1.0]), torch.tensor([[0.25, 1.0]]))
    # left: 1 + 2/4; -3 + 3 = 0; 1/2. Right: 1/2 - 1 is held at 0, and so is -1; 0
    assert scans(form, "relu")(*given).flatten().tolist() == [1.5, 0.0, 0.0, 0.0, 0.5, 0.0]
    left = math.tanh(-3 + 2 * math.tanh(1.5))
    right = math.tanh(-1 - math.tanh(-0.5))
    got = scans(form, "tanh")(*given)[1].flatten().tolist()
    assert got == pytest.approx([left, right], rel=1e-6)


def test_flops_are_one_multiply_add_an_element():
    assert kernels.indrnn_scan_flops(7, 5) == 2 * 7 * 5


def test_refuses_an_unknown_activation():
    with pytest.raises(UsageError, match="gelu"):
        kernels.indrnn_scan(*drawn(1, 1, 1), activation="gelu")


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_equals_the_slow_twin(form, size, activation):
    args = drawn(*size)
    want = gradients(scans("slow", activation), args)
    near(gradients(scans(form, activation), args), want, 1e-12)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_is_near_in_float32(form, size):
    exact = gradients(scans("slow"), drawn(*size))
    got = gradients(scans(form), drawn(*size, dtype=torch.float32))
    assert all(x.dtype == torch.float32 for x in got)
    near(got, exact, 2e-6)


@settings(deadline=None, max_examples=25)
@given(
    length=st.integers(0, 20),
    rows=st.integers(0, 20),
    width=st.integers(1, 20),
    layout=st.sampled_from(LAYOUTS),
    form=st.sampled_from(FORMS),
    activation=st.sampled_from(ACTIVATIONS),
)
def test_equals_the_slow_twin_in_any_shape(length, rows, width, layout, form, activation):
    args = drawn(length, rows, width)
    kept = [x.clone() for x in args]
    got = gradients(scans(form, activation), args, layout)
    if length == 0:
        assert got[0].shape == (0, rows, width)
        assert all(float(x.abs().sum()) == 0 for x in got)
    else:
        near(got, gradients(scans("slow", activation), args), 1e-12)
    assert all(torch.equal(x, y) for x, y in zip(args, kept, strict=True))


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_differences(form, length):
    args = [x.requires_grad_() for x in drawn(length, 2, 3)]
    for activation in ACTIVATIONS:
        assert torch.autograd.gradcheck(scans(form, activation), args)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", FORMS)
def test_takes_gradients_however_they_lie_and_twice(form, layout):
    leaves = [x.requires_grad_() for x in drawn(6, 5, 4)]
    h_LBD = scans(form)(laid(leaves[0], layout), *leaves[1:])
    want = torch.autograd.grad(scans("slow")(*leaves).sum(), leaves)
    for _ in range(2):
        # the gradient of a sum is one number, expanded
        near(torch.autograd.grad(h_LBD.sum(), leaves, retain_graph=True), want, 1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_is_the_same_without_gradients(form):
    args = drawn(9, 5, 14)
    leaves = [x.clone().requires_grad_() for x in args]
    with torch.no_grad():
        alone = scans(form)(*leaves)
    assert not alone.requires_grad
    assert torch.equal(alone, scans(form)(*leaves).detach())


@pytest.mark.skipif("compiled" not in FORMS, reason="numba is not there")
def test_rows_run_on_threads_and_agree(two_threads):
    args = drawn(6, 13, 5)
    got = gradients(scans("compiled"), args)
    assert sorted(two_threads) == [(0, 6), (0, 6), (6, 13), (6, 13)]
    near(got, gradients(scans("slow"), args), 1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", FORMS)
def test_extremes_are_finite_and_nan_stays_in_its_row(form, dtype, activation):
    args = list(drawn(8, 6, 5, dtype=dtype))
    args[0] = args[0] * 1e4
    assert all(bool(x.isfinite().all()) for x in gradients(scans(form, activation), args))
    args[0][3, 2, 1] = math.nan
    hit = scans(form, activation)(*args).isnan()
    assert bool(hit[3:, 2, 1].all())
    assert int(hit.sum()) == 5


@pytest.mark.skipif("compiled" not in FORMS, reason="numba is not there")
def test_which_form_runs():
    args = [x.requires_grad_() for x in drawn(2, 1, 3)]
    names = [type(scans(form)(*args).grad_fn).__name__ for form in ("auto", "compiled", "torch")]
    assert names == ["CompiledIndrnnBackward", "CompiledIndrnnBackward", "IndrnnScanBackward"]
