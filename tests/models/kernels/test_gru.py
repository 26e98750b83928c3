"""The scan of a GRU: by hand, against its slow twin, nn.GRU and differences, in both forms."""

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
from torch import nn
from torch.nn import functional as F

from howfar.models import kernels
from howfar.models.blocks import Recurrence

__all__ = ["two_threads"]
SIZES = [(1, 1, 1), (2, 3, 5), (7, 8, 14), (64, 33, 5), (7, 33, 128), (1000, 3, 14), (64, 1, 128)]


def drawn(length, rows, width, dtype=torch.float64):
    """p, U, b and h_0, of the size a trained layer has."""
    u_XD = reals(3 * width, width, dtype=dtype) / width**0.5
    return (
        reals(length, rows, 3 * width, dtype=dtype),
        u_XD,
        reals(width, dtype=dtype),
        reals(rows, width, dtype=dtype).tanh(),
    )


def scans(form):
    return scan_of("gru_scan", form)


@pytest.mark.parametrize("form", ["slow", *FORMS])
def test_by_hand(form):
    p_LBX = torch.tensor([[math.log(3), 0.0, 0.5], [0.0, -math.log(3), 0.0]]).view(2, 1, 3)
    weight_XD = torch.tensor([[0.0], [0.0], [2.0]])
    h_LBD = scans(form)(p_LBX, weight_XD, torch.tensor([1.0]), torch.tensor([[-1.0]]))
    # r = 3/4, z = 1/2; then r = 1/2, z = 1/4
    first = 0.5 * math.tanh(0.5 + 0.75 * (2 * -1 + 1)) + 0.5 * -1
    second = 0.75 * math.tanh(0.5 * (2 * first + 1)) + 0.25 * first
    assert h_LBD.flatten().tolist() == pytest.approx([first, second], rel=1e-6)


def test_flops_are_those_of_the_products():
    assert kernels.gru_scan_flops(7, 5) == 2 * 7 * (15 * 5)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_equals_the_slow_twin(form, size):
    args = drawn(*size)
    near(gradients(scans(form), args), gradients(kernels.gru_scan_slow, args), 1e-12)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_is_near_in_float32(form, size):
    exact = gradients(kernels.gru_scan_slow, drawn(*size))
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
)
def test_equals_the_slow_twin_in_any_shape(length, rows, width, layout, form):
    args = drawn(length, rows, width)
    kept = [x.clone() for x in args]
    if length == 0:
        assert scans(form)(*args).shape == (0, rows, width)
        got = gradients(scans(form), args, layout)
        assert all(float(x.abs().sum()) == 0 for x in got)
    else:
        near(gradients(scans(form), args, layout), gradients(kernels.gru_scan_slow, args), 1e-12)
    assert all(torch.equal(x, y) for x, y in zip(args, kept, strict=True))


@pytest.mark.parametrize("h0", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", FORMS)
def test_equals_torch_with_its_weights(form, dtype, h0):
    layer = nn.GRU(6, 6, batch_first=True, dtype=dtype)
    for number, weight in enumerate(layer.parameters()):
        weight.detach().copy_(reals(*weight.shape, seed=number) / 2)
    x_BLD, start_BD = reals(5, 64, 6, dtype=dtype), reals(5, 6, dtype=dtype) * h0
    into, weight, bias, inner = layer.all_weights[0]

    def ours(x_BLD, start_BD):
        added = torch.cat([bias[:12] + inner[:12], bias[12:]])
        p_LBX = F.linear(x_BLD, into, added).transpose(0, 1)
        return scans(form)(p_LBX, weight, inner[12:], start_BD).transpose(0, 1)

    def run(scan):
        leaves = [x.clone().requires_grad_() for x in (x_BLD, start_BD)]
        y_BLD = scan(*leaves)
        weights = reals(*y_BLD.shape, seed=3, dtype=dtype)
        wanted = [*leaves, *layer.parameters()]
        return [y_BLD.detach(), *torch.autograd.grad((y_BLD * weights).sum(), wanted)]

    want = run(lambda x_BLD, start_BD: layer(x_BLD, start_BD[None])[0])
    near(run(ours), want, 1e-6 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_differences(form, length):
    args = [x.requires_grad_() for x in drawn(length, 2, 3)]
    assert torch.autograd.gradcheck(scans(form), args)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", FORMS)
def test_takes_gradients_however_they_lie_and_twice(form, layout):
    leaves = [x.requires_grad_() for x in drawn(6, 5, 4)]
    h_LBD = scans(form)(laid(leaves[0], layout), *leaves[1:])
    want = torch.autograd.grad(kernels.gru_scan_slow(*leaves).sum(), leaves)
    for _ in range(2):
        # the gradient of a sum is one number, expanded
        near(torch.autograd.grad(h_LBD.sum(), leaves, retain_graph=True), want, 1e-12)
    some = torch.autograd.grad(h_LBD[-1].sum(), leaves[3])[0]
    near([some], torch.autograd.grad(kernels.gru_scan_slow(*leaves)[-1].sum(), leaves[3]), 1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_is_the_same_without_gradients(form):
    args = drawn(9, 5, 14)
    leaves = [x.clone().requires_grad_() for x in args]
    with torch.no_grad():
        alone = scans(form)(*leaves)
    assert not alone.requires_grad
    assert torch.equal(alone, scans(form)(*args))
    assert torch.equal(alone, scans(form)(*leaves).detach())


@pytest.mark.skipif("compiled" not in FORMS, reason="numba is not there")
def test_rows_run_on_threads_and_agree(two_threads):
    args = drawn(6, 13, 5)
    got = gradients(scans("compiled"), args)
    # thirteen rows are three blocks of four and a rest: forward and back
    assert sorted(two_threads) == [(0, 2), (0, 2), (2, 4), (2, 4)]
    near(got, gradients(kernels.gru_scan_slow, args), 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", FORMS)
def test_extremes_are_finite_and_nan_stays_in_its_row(form, dtype):
    args = list(drawn(8, 6, 5, dtype=dtype))
    args[0] = args[0] * 1e4
    assert all(bool(x.isfinite().all()) for x in gradients(scans(form), args))
    args[0][3, 2, 1] = math.nan
    h_LBD = scans(form)(*args)
    hit = h_LBD.isnan().any(-1)
    assert bool(hit[3:, 2].all())
    assert int(hit.sum()) == 5


@pytest.mark.parametrize("h0", ["zeros", "random", "learned"])
@pytest.mark.parametrize("length", [1, 7])
@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU])
@pytest.mark.parametrize("form", FORMS)
def test_a_layer_equals_that_of_torch(form, kind, h0, length):
    layer = Recurrence(kind(4, 4, batch_first=True), h0).double()
    for number, weight in enumerate(layer.state_dict().values()):
        weight.copy_(reals(*weight.shape, seed=number))
    x_BLD, weight_BLD = reals(3, length, 4).requires_grad_(), reals(3, length, 4, seed=1)
    wanted = [x_BLD, *(p for p in layer.parameters() if p.requires_grad)]
    with kernels.using(form):
        fast_BLD = layer(x_BLD, torch.full((3,), length))
        fast = torch.autograd.grad((weight_BLD * fast_BLD).sum(), wanted)
    start_BD = torch.zeros(3, 4).double() if h0 == "zeros" else layer.h0_PD.expand(3, 4)
    slow_BLD = layer.rnn(x_BLD, start_BD[None].contiguous())[0]
    slow = torch.autograd.grad((weight_BLD * slow_BLD).sum(), wanted)
    near([fast_BLD, *fast], [slow_BLD, *slow], 1e-13)


@pytest.mark.skipif("compiled" not in FORMS, reason="numba is not there")
def test_which_form_runs():
    args = [x.requires_grad_() for x in drawn(2, 1, 3)]
    names = [type(scans(form)(*args).grad_fn).__name__ for form in ("auto", "compiled", "torch")]
    assert names == ["CompiledGruBackward", "CompiledGruBackward", "GruScanBackward"]
    half = [x.detach().bfloat16() for x in args]
    assert scans("auto")(*half).dtype == torch.bfloat16
