"""The linear recurrence: by hand, against its slow twin and differences, in both forms."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from howfar.models import kernels

FORMS = ["torch", "compiled"] if kernels.installed() else ["torch"]
EVERY = ["slow", *FORMS]
DTYPES = [torch.float64, torch.complex128]
SPREADS = {
    "BLD": lambda b, n, d: (b, n, d),
    "1LD": lambda b, n, d: (1, n, d),
    "BL1": lambda b, n, d: (b, n, 1),
    "B1D": lambda b, n, d: (b, 1, d),
    "L1": lambda b, n, d: (n, 1),
    "D": lambda b, n, d: (d,),
    "one": lambda b, n, d: (),
}


def run(form, *args):
    if form == "slow":
        return kernels.linear_recurrence_slow(*args)
    with kernels.using(form):
        return kernels.linear_recurrence(*args)


def drawn(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1000 * seed + sum(shape))
    double = torch.promote_types(dtype, torch.float64)
    return torch.randn(shape, dtype=double, generator=generator).to(dtype)


def inputs(batch, length, width, spread="BLD", start=True, dtype=torch.float64):
    a = 0.6 * drawn(*SPREADS[spread](batch, length, width), seed=1, dtype=dtype)
    h0_BD = drawn(batch, width, seed=2, dtype=dtype) if start else None
    return a, drawn(batch, length, width, seed=3, dtype=dtype), h0_BD


def with_gradients(form, *args):
    """The states, then the gradients of everything given."""
    leaves = [None if x is None else x.detach().clone().requires_grad_() for x in args]
    h_BLD = run(form, *leaves)
    weights = drawn(*h_BLD.shape, seed=9, dtype=h_BLD.dtype)
    given_ones = [x for x in leaves if x is not None]
    return [h_BLD.detach(), *torch.autograd.grad(h_BLD, given_ones, weights)]


def same(got, want, tolerance=1e-10):
    for one, two in zip(got, want, strict=True):
        scale = max(1.0, float(two.abs().max()))
        torch.testing.assert_close(one, two, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("form", EVERY)
def test_by_hand(form):
    a_BLD = torch.tensor([[[0.5], [0.0], [-2.0]]], requires_grad=True)
    b_BLD = torch.tensor([[[1.0], [2.0], [3.0]]], requires_grad=True)
    h0_BD = torch.tensor([[4.0]], requires_grad=True)
    h_BLD = run(form, a_BLD, b_BLD, h0_BD)
    # 4/2 + 1, 0 + 2, -4 + 3
    assert h_BLD.flatten().tolist() == [3.0, 2.0, -1.0]
    h_BLD.sum().backward()
    # from the end: 1, 1 - 2, 1 + 0; times the state before: 4, 3, 2
    assert b_BLD.grad.flatten().tolist() == [1.0, -1.0, 1.0]
    assert a_BLD.grad.flatten().tolist() == [4.0, -3.0, 2.0]
    assert h0_BD.grad.tolist() == [[0.5]]


@pytest.mark.parametrize("form", EVERY)
def test_complex_gradients_are_conjugated_as_torch_does(form):
    a_BLD = torch.tensor([[[1j]]], requires_grad=True)
    h0_BD = torch.tensor([[2 + 1j]], requires_grad=True)
    h_BLD = run(form, a_BLD, torch.zeros(1, 1, 1, dtype=torch.complex64), h0_BD)
    assert h_BLD.item() == -1 + 2j
    h_BLD.real.sum().backward()
    # d Re(a h) = Re(conj(conj(h)) da)
    assert a_BLD.grad.item() == 2 - 1j
    assert h0_BD.grad.item() == -1j


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("length", [1, 2, 7, 15, 16, 17, 64, 1000])
@pytest.mark.parametrize("form", FORMS)
def test_equals_the_slow_twin(form, length, dtype):
    args = inputs(3, length, 5, dtype=dtype)
    same(with_gradients(form, *args), with_gradients("slow", *args))


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("length", [1, 20, 600])
@pytest.mark.parametrize("form", FORMS)
def test_a_broadcasts(form, length, spread):
    for dtype in DTYPES:
        args = inputs(3, length, 4, spread=spread, dtype=dtype)
        same(with_gradients(form, *args), with_gradients("slow", *args))


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 5),
    st.integers(1, 90),
    st.integers(1, 9),
    st.sampled_from(list(SPREADS)),
    st.booleans(),
    st.sampled_from(DTYPES),
)
def test_any_shape(batch, length, width, spread, start, dtype):
    args = inputs(batch, length, width, spread, start, dtype)
    want = with_gradients("slow", *args)
    for form in FORMS:
        same(with_gradients(form, *args), want)


@pytest.mark.parametrize("spread", ["BLD", "D", "BL1"])
@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_differences(form, spread):
    for dtype in DTYPES:
        args = [x.requires_grad_() for x in inputs(2, 18, 2, spread, dtype=dtype)]
        assert torch.autograd.gradcheck(lambda *x: run(form, *x), args, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_single_precision(form, dtype):
    args = inputs(3, 700, 6, dtype=dtype)
    double = [x.to(torch.promote_types(dtype, torch.float64)) for x in args]
    got, want = with_gradients(form, *args), with_gradients("slow", *double)
    assert {x.dtype for x in got} == {dtype}
    same([x.to(y.dtype) for x, y in zip(got, want, strict=True)], want, 2e-6)


@pytest.mark.parametrize("decay", [0.0, -0.0, 1.0, -1.0, 1e-30, -1e-30, 0.999999, 1.5])
@pytest.mark.parametrize("form", FORMS)
def test_extreme_decays(form, decay):
    for dtype in (torch.float32, torch.float64):
        b_BLD, h0_BD = drawn(2, 64, 3, seed=3, dtype=dtype), drawn(2, 3, seed=2, dtype=dtype)
        args = (torch.full_like(b_BLD, decay), b_BLD, h0_BD)
        want = with_gradients("slow", *(x.double() for x in args))
        got = with_gradients(form, *args)
        assert all(x.isfinite().all() for x in got)
        same([x.double() for x in got], want, 1e-13 if dtype == torch.float64 else 2e-6)


@pytest.mark.parametrize("form", FORMS)
def test_mixed_extreme_decays(form):
    choices = torch.tensor([0.0, 1.0, -1.0, 1e-30, 0.5, 2.0], dtype=torch.float64)
    generator = torch.Generator().manual_seed(5)
    a_BLD = choices[torch.randint(6, (2, 400, 3), generator=generator)]
    args = (a_BLD, drawn(2, 400, 3, seed=3), None)
    same(with_gradients(form, *args), with_gradients("slow", *args), 1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_nan_and_infinity_stay_where_they_belong(form):
    a_BLD, b_BLD, _ = inputs(2, 100, 3, start=False)
    b_BLD[0, 50, 1] = float("nan")
    b_BLD[1, 70, 2] = float("inf")
    a_BLD[:, 80:] = 0.5
    got, want = run(form, a_BLD, b_BLD), run("slow", a_BLD, b_BLD)
    torch.testing.assert_close(got, want, equal_nan=True)
    assert got[0, 50:, 1].isnan().all()
    assert got[:, :50].isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_other_layouts_and_no_input_changes(form):
    a_BLD, b_BLD, h0_BD = inputs(3, 40, 4)
    want = with_gradients("slow", a_BLD, b_BLD, h0_BD)
    wide = torch.cat([a_BLD, b_BLD], -1).transpose(0, 1).contiguous().transpose(0, 1)
    odd = [wide[..., :4], wide[..., 4:], h0_BD.mT.contiguous().mT]
    before = [x.clone() for x in odd]
    leaves = [x.detach().requires_grad_() for x in odd]
    h_BLD = run(form, *leaves)
    grads = torch.autograd.grad(h_BLD, leaves, drawn(*h_BLD.shape, seed=9))
    same([h_BLD.detach(), *grads], want)
    for one, two in zip(odd, before, strict=True):
        assert torch.equal(one, two)
    # gradients that reach the kernel expanded, as those of a sum do
    expanded = torch.autograd.grad(run(form, *leaves).sum(), leaves)
    same(expanded, torch.autograd.grad(run("slow", *leaves).sum(), leaves))


@pytest.mark.parametrize("form", FORMS)
def test_an_expanded_a_has_a_gradient_of_its_own(form):
    a_BLD = inputs(2, 30, 3, spread="D")[0].expand(2, 30, 3)
    _, b_BLD, h0_BD = inputs(2, 30, 3)
    same([run(form, a_BLD, b_BLD, h0_BD)], [run("slow", a_BLD, b_BLD, h0_BD)])
    leaf = a_BLD.requires_grad_()
    got = torch.autograd.grad(run(form, leaf, b_BLD, h0_BD).sum(), leaf)
    same(got, torch.autograd.grad(run("slow", leaf, b_BLD, h0_BD).sum(), leaf))


@pytest.mark.parametrize("form", FORMS)
def test_conjugate_views(form):
    a_BLD, b_BLD, h0_BD = inputs(2, 20, 3, dtype=torch.complex128)
    want = run("slow", a_BLD.conj().clone(), b_BLD.conj().clone(), h0_BD.conj().clone())
    same([run(form, a_BLD.conj(), b_BLD.conj(), h0_BD.conj())], [want])


@pytest.mark.parametrize("form", FORMS)
def test_mixed_types_and_parts_of_the_gradient(form):
    a_BLD, b_BLD, _ = inputs(2, 20, 3)
    h0_BD = drawn(2, 3, dtype=torch.complex128)
    same([run(form, a_BLD, b_BLD, h0_BD)], [run("slow", a_BLD, b_BLD, h0_BD)])
    only_b = b_BLD.requires_grad_()
    (got,) = torch.autograd.grad(run(form, a_BLD, only_b).sum(), only_b)
    (want,) = torch.autograd.grad(run("slow", a_BLD, only_b).sum(), only_b)
    same([got], [want])
    with torch.no_grad():
        assert not run(form, a_BLD, only_b).requires_grad


@pytest.mark.parametrize("form", FORMS)
def test_nothing_to_do(form):
    assert run(form, torch.ones(3), torch.zeros(2, 0, 3)).shape == (2, 0, 3)
    assert run(form, torch.ones(3), torch.zeros(0, 4, 3)).shape == (0, 4, 3)


@pytest.mark.parametrize("form", FORMS)
def test_two_threads(form):
    args = inputs(5, 400, 70)
    want, before = with_gradients(form, *args), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        got = with_gradients(form, *args)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, two) for one, two in zip(got, want, strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_a_large_result_and_wide_steps(form):
    # above the sizes where memory comes from elsewhere and where torch's form has no chunks
    args = inputs(40, 20, 130)
    same(with_gradients(form, *args), with_gradients("slow", *args))
    long = inputs(1, 9000, 64, dtype=torch.float32)
    torch.testing.assert_close(run(form, *long), run("slow", *long), rtol=1e-5, atol=1e-5)


def test_flops_are_one_multiply_add_a_step_and_element():
    assert kernels.linear_recurrence_flops(7, 5) == 70
