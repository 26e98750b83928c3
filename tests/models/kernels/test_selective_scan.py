"""The selective state space: by hand, against its slow twin and transformers, in both forms."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from howfar.models import kernels

FORMS = ["torch", "compiled"] if kernels.installed() else ["torch"]
EVERY = ["slow", *FORMS]
NAMES = ["x", "step", "rate", "into", "out", "h0"]


def run(form, *args):
    if form == "slow":
        return kernels.selective_scan_slow(*args)
    with kernels.using(form):
        return kernels.selective_scan(*args)


def drawn(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1000 * seed + sum(shape))
    return torch.randn(*shape, dtype=torch.float64, generator=generator).to(dtype)


def inputs(batch, length, width, states, dtype=torch.float64, start=True):
    return [
        drawn(batch, length, width, seed=1, dtype=dtype),
        0.3 * drawn(batch, length, width, seed=2, dtype=dtype).abs(),
        -2 * drawn(width, states, seed=3, dtype=dtype).abs(),
        drawn(batch, length, states, seed=4, dtype=dtype),
        drawn(batch, length, states, seed=5, dtype=dtype),
        *([drawn(batch, width, states, seed=6, dtype=dtype)] if start else []),
    ]


def with_gradients(form, args, outputs="both"):
    """Both outputs, then the gradients of everything given."""
    leaves = [x.detach().clone().requires_grad_() for x in args]
    y_BLD, end_BDN = run(form, *leaves)
    weights = [drawn(*y_BLD.shape, seed=8), drawn(*end_BDN.shape, seed=9)]
    score = torch.zeros((), dtype=torch.float64)
    if outputs != "end":
        score = score + (y_BLD * weights[0]).sum()
    if outputs != "y":
        score = score + (end_BDN * weights[1]).sum()
    grads = torch.autograd.grad(score, leaves, allow_unused=True, materialize_grads=True)
    return [y_BLD.detach(), end_BDN.detach(), *grads]


def same(got, want, tolerance=1e-10):
    for one, two in zip(got, want, strict=True):
        scale = max(1.0, float(two.abs().max()))
        assert one.shape == two.shape
        torch.testing.assert_close(one.to(two.dtype), two, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("form", EVERY)
def test_by_hand(form):
    log_half = -0.6931471805599453
    x_BLD = torch.tensor([[[1.0], [2.0]]], dtype=torch.float64)
    step_BLD = torch.tensor([[[1.0], [2.0]]], dtype=torch.float64)
    rate_DN = torch.tensor([[log_half, 0.0]], dtype=torch.float64)
    into_BLN = torch.tensor([[[1.0, 1.0], [0.5, -1.0]]], dtype=torch.float64)
    out_BLN = torch.tensor([[[1.0, 3.0], [1.0, 10.0]]], dtype=torch.float64)
    h0_BDN = torch.tensor([[[4.0, 0.0]]], dtype=torch.float64)
    y_BLD, end_BDN = run(form, x_BLD, step_BLD, rate_DN, into_BLN, out_BLN, h0_BDN)
    # states: 4/2 + 1 = 3 and 1; then 3/4 + 4/2 = 2.75 and 1 - 4 = -3
    assert end_BDN.flatten().tolist() == pytest.approx([2.75, -3.0])
    assert y_BLD.flatten().tolist() == pytest.approx([6.0, -27.25])


@pytest.mark.parametrize("outputs", ["both", "y", "end"])
@pytest.mark.parametrize("size", [(1, 1, 1, 1), (3, 7, 5, 16), (2, 64, 65, 3)], ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_equals_the_slow_twin(form, size, outputs):
    args = inputs(*size)
    same(with_gradients(form, args, outputs), with_gradients("slow", args, outputs))


@pytest.mark.parametrize("size", [(3, 1000, 3, 2), (1, 33, 130, 5), (5, 32, 64, 4)], ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_chunks_and_blocks(form, size):
    args = inputs(*size, start=False)
    same(with_gradients(form, args), with_gradients("slow", args))


@pytest.mark.parametrize("form", FORMS)
def test_chunks_in_torch_of_few_steps(form, monkeypatch):
    module = sys.modules["howfar.models.kernels.selective_scan"]
    monkeypatch.setattr(module, "ROOM", 1)
    monkeypatch.setattr(module, "LEAST", 3)
    args = inputs(2, 10, 3, 4)
    same(with_gradients(form, args), with_gradients("slow", args))


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.integers(1, 70), st.integers(1, 70), st.integers(1, 6), st.booleans())
def test_any_shape(batch, length, width, states, start):
    args = inputs(batch, length, width, states, start=start)
    want = with_gradients("slow", args)
    for form in FORMS:
        same(with_gradients(form, args), want)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_differences(form):
    args = [x.requires_grad_() for x in inputs(2, 5, 3, 2)]
    assert torch.autograd.gradcheck(lambda *x: run(form, *x), args)


@pytest.mark.parametrize("form", FORMS)
def test_single_precision(form):
    args = inputs(3, 300, 20, 8, dtype=torch.float32)
    got = with_gradients(form, args)
    assert {x.dtype for x in got} == {torch.float32}
    same(got, with_gradients("slow", [x.double() for x in args]), 3e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("product", [0.0, -1e-30, -80.0, -1e3, -1e30])
@pytest.mark.parametrize("form", FORMS)
def test_extreme_decays(form, product, dtype):
    args = inputs(2, 50, 3, 4, dtype=dtype)
    args[1] = torch.ones_like(args[1])
    args[2] = torch.full_like(args[2], product)
    got = with_gradients(form, args)
    assert all(x.isfinite().all() for x in got)
    want = with_gradients("slow", [x.double() for x in args])
    same(got, want, 1e-5 if dtype == torch.float32 else 1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_other_layouts_and_no_input_changes(form):
    args = inputs(2, 40, 3, 4)
    want = with_gradients("slow", args)
    odd = [x.mT.contiguous().mT for x in args]
    before = [x.clone() for x in odd]
    leaves = [x.requires_grad_() for x in odd]
    outputs = run(form, *leaves)
    weights = [drawn(*outputs[0].shape, seed=8), drawn(*outputs[1].shape, seed=9)]
    same([*(x.detach() for x in outputs), *torch.autograd.grad(outputs, leaves, weights)], want)
    for one, two in zip(odd, before, strict=True):
        assert torch.equal(one, two)
    expanded = [args[0][:, :1].expand(2, 40, 3), *args[1:]]
    same(with_gradients(form, expanded), with_gradients("slow", expanded))


@pytest.mark.parametrize("given_one", range(6), ids=NAMES)
@pytest.mark.parametrize("form", FORMS)
def test_one_gradient_alone(form, given_one):
    args = inputs(2, 40, 3, 4)
    args[given_one].requires_grad_()
    grads = [
        torch.autograd.grad(run(one, *args)[0].square().sum(), args[given_one])
        for one in (form, "slow")
    ]
    same(*grads)


@pytest.mark.parametrize("form", FORMS)
def test_pieces_are_the_whole(form):
    args = inputs(2, 90, 3, 4)
    want = run("slow", *args)
    state, parts = args[5], []
    for first, last in ((0, 1), (1, 37), (37, 90)):
        piece = [args[i] if i == 2 else args[i][:, first:last] for i in range(5)]
        y_BLD, state = run(form, *piece, state)
        parts.append(y_BLD)
    same([torch.cat(parts, 1), state], want)
    y_BLD, state = run(form, *[args[i] if i == 2 else args[i][:, :0] for i in range(5)], state)
    assert y_BLD.shape == (2, 0, 3)
    assert torch.equal(state, run(form, *args)[1]) or state.shape == (2, 3, 4)


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("form", FORMS)
def test_threads(form, batch):
    args = inputs(batch, 40, 200, 3)
    want, before = with_gradients(form, args), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        got = with_gradients(form, args)
    finally:
        torch.set_num_threads(before)
    same(got, want, 1e-13)


def test_few_sequences_are_split_by_blocks_of_channels(monkeypatch):
    module = sys.modules["howfar.models.kernels.selective_scan"]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert [module._span(1, 8), module._span(1, 3), module._span(2, 8)] == [2, 1, 4]
    assert module._span(64, 20) == module.SPAN


def test_without_gradients_no_borders_are_kept():
    if "compiled" not in FORMS:
        pytest.skip("needs numba")
    from howfar.models.kernels import compiled_selective_scan as loops

    seen, plain = [], loops.forward

    def watched(ready, results, *rest):
        seen.append(results[1].shape[1])
        plain(ready, results, *rest)

    args = inputs(1, 70, 3, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loops, "forward", watched)
        run("compiled", *args)
        args[0].requires_grad_()
        run("compiled", *args)
        with torch.no_grad():
            run("compiled", *args)
    assert seen == [0, 3, 0]


@pytest.mark.parametrize("form", FORMS)
def test_equals_the_scan_of_transformers(form):
    mamba = pytest.importorskip("transformers.models.mamba.modeling_mamba")
    scan = getattr(mamba, "mamba_selective_scan", None)
    if scan is None:
        pytest.skip("another version of transformers")
    x, step, rate, into, out = inputs(2, 40, 6, 4, dtype=torch.float32, start=False)
    want = scan(x.mT, step.mT, rate, into.mT, out.mT).mT
    same([run(form, x, step, rate, into, out)[0]], [want], 1e-6)


PEAK = """
import resource, sys, torch
from howfar.models import kernels
form, length = sys.argv[1], int(sys.argv[2])
def inputs(length):
    shapes = [(1, length, 64), (1, length, 64), (64, 16), (1, length, 16), (1, length, 16)]
    made = [torch.rand(*shape) - float(index == 2) for index, shape in enumerate(shapes)]
    return [x.requires_grad_() for x in made]
with kernels.using(form):
    kernels.selective_scan(*inputs(64))[0].sum().backward()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kernels.selective_scan(*inputs(length))[0].sum().backward()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sys.stdout.write(str((after - before) / 1024))
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_states_are_never_kept_for_the_whole_text(form):
    length = 16384
    done = subprocess.run(
        [sys.executable, "-c", PEAK, form, str(length)], capture_output=True, text=True, check=True
    )
    # 64 MiB would be the states alone, once; decays, states and their gradients were 4 times that
    assert float(done.stdout) < 120


def test_flops_are_three_multiply_adds_a_step_and_state():
    assert kernels.selective_scan_flops(7, 5, 4) == 6 * 7 * 5 * 4
