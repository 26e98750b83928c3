"""What no kernel may do: run past its memory, or give a wrong second derivative without a word."""

import subprocess
import sys

import pytest
import torch

from howfar.core.errors import UsageError
from howfar.models import MODELS, build, kernels

FORMS = ["torch", "compiled"]


def drawn(*shape):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


CALLS = {
    "linear_recurrence": lambda: [drawn(2, 9, 4), drawn(2, 9, 4), drawn(2, 4)],
    "selective_scan": lambda: [
        *(drawn(2, 9, 4), drawn(2, 9, 4), -drawn(4, 3)),
        *(drawn(2, 9, 3), drawn(2, 9, 3), drawn(2, 4, 3)),
    ],
    "elman_scan": lambda: [drawn(9, 2, 4), drawn(4, 4), drawn(2, 4)],
    "gru_scan": lambda: [drawn(9, 2, 12), drawn(12, 4), drawn(4), drawn(2, 4)],
    "indrnn_scan": lambda: [drawn(9, 2, 4), drawn(4), drawn(2, 4)],
    "short_convolution": lambda: [drawn(2, 9, 4), drawn(3, 4), drawn(4), drawn(2, 2, 4)],
    "long_convolution": lambda: [drawn(2, 80, 4), drawn(80, 4)],
    "gated_linear_attention": lambda: [
        *(drawn(2, 3, 9, 4), drawn(2, 3, 9, 4), drawn(2, 3, 9, 5), -drawn(2, 3, 9)),
        drawn(2, 3, 4, 5),
    ],
    "delta_rule": lambda: [
        *(drawn(2, 3, 9, 4), drawn(2, 3, 9, 4), drawn(2, 3, 9, 5), drawn(2, 3, 9)),
        *(-drawn(2, 3, 9), drawn(2, 3, 4, 5)),
    ],
    "windowed_attention": lambda: [*(drawn(2, 3, 9, 4) for _ in range(3)), 3],
}


def first(result):
    return result if isinstance(result, torch.Tensor) else result[0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CALLS)
def test_a_gradient_of_a_gradient_is_refused(name, form):
    given = CALLS[name]()
    leaf = given[0].requires_grad_()
    with kernels.using(form):
        y = first(getattr(kernels, name)(*given))
        with pytest.raises(RuntimeError, match="once, not twice"):
            torch.autograd.grad(y.square().sum(), leaf, create_graph=True)
        assert torch.autograd.grad(y.square().sum(), leaf)[0].isfinite().all()


STATES = {
    "linear_recurrence": [(1, 4), (3, 4), (2, 3), (2, 5)],
    "selective_scan": [(1, 4, 3), (3, 4, 3), (2, 4, 2), (2, 5, 3)],
    "elman_scan": [(1, 4), (3, 4), (2, 3), (2, 6)],
    "gru_scan": [(1, 4), (3, 4), (2, 3), (2, 6)],
    "indrnn_scan": [(1, 4), (3, 4), (2, 3), (2, 6)],
    "gated_linear_attention": [(1, 3, 4, 5), (2, 1, 4, 5), (2, 3, 4, 4)],
    "delta_rule": [(1, 3, 4, 5), (2, 1, 4, 5), (2, 3, 4, 4)],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "shape"), [(name, shape) for name, shapes in STATES.items() for shape in shapes]
)
def test_a_state_of_other_rows_or_width_is_refused(name, shape, form):
    given = CALLS[name]()
    given[-1] = torch.zeros(shape, dtype=torch.float64)
    with kernels.using(form), pytest.raises(UsageError, match="the state has the shape"):
        getattr(kernels, name)(*given)


@pytest.mark.parametrize(
    ("name", "place", "shape"),
    [
        ("linear_recurrence", 0, (2, 8, 4)),
        ("linear_recurrence", 0, (2, 9, 3)),
        ("linear_recurrence", 0, (3, 9, 4)),
        ("selective_scan", 1, (2, 8, 4)),
        ("selective_scan", 2, (4, 2)),
        ("selective_scan", 3, (1, 9, 3)),
        ("selective_scan", 4, (2, 5, 3)),
        ("elman_scan", 1, (4, 3)),
        ("gru_scan", 1, (12, 3)),
        ("gru_scan", 2, (3,)),
        ("indrnn_scan", 1, (3,)),
    ],
)
def test_other_shapes_that_do_not_fit_are_refused(name, place, shape):
    given = CALLS[name]()
    given[place] = torch.zeros(shape, dtype=torch.float64)
    with pytest.raises(UsageError, match="has the shape"):
        getattr(kernels, name)(*given)


def test_mixed_kinds_are_refused_by_recurrences():
    p, weight, h0 = CALLS["elman_scan"]()
    with pytest.raises(UsageError, match=r"the state is torch\.float32"):
        kernels.elman_scan(p, weight, h0.float())


@pytest.mark.parametrize("name", MODELS)
def test_the_state_of_one_row_does_not_serve_two(name):
    """Refused, or each row goes on from it: never anything else."""
    model = build(name, vocabulary=9, outputs=3, width=12).double()
    state = model.advance(torch.zeros(1, 5, dtype=torch.long))
    tokens = torch.arange(80).remainder(9).view(2, 40)
    try:
        got = model.chunk(tokens, state)[0]
    except (UsageError, RuntimeError):
        return
    for row in range(2):
        want = model.chunk(tokens[row : row + 1], state)[0]
        torch.testing.assert_close(got[row : row + 1], want, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_gives_about_the_same(name, dtype):
    model = build(name, vocabulary=11, outputs=7, width=16, depth=None).eval()
    tokens = torch.arange(450).remainder(11).view(3, 150)
    want = model(tokens)
    with torch.autocast("cpu", dtype=dtype):
        got = model(tokens)
        got.float().sum().backward()
    torch.testing.assert_close(got.float(), want, rtol=0.1, atol=0.05)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", MODELS)
def test_half_precision_models_run(name):
    model = build(name, vocabulary=11, outputs=7, width=16).eval()
    tokens = torch.arange(450).remainder(11).view(3, 150)
    got = model.bfloat16()(tokens)
    want = model.double()(tokens)  # with the parameters as they were rounded
    torch.testing.assert_close(got.double(), want, rtol=0.1, atol=0.1)


def storages(state):
    if isinstance(state, torch.Tensor):
        return {state.untyped_storage().data_ptr(): state.untyped_storage().nbytes()}
    return {key: n for part in state for key, n in storages(part).items()}


@pytest.mark.parametrize("name", [n for n in MODELS if MODELS[n].kind != "attention"])
@torch.no_grad()
def test_a_state_keeps_no_more_memory_than_it_says(name):
    """A view of a chunk would keep all of it; what grows with the text may lie in one piece."""
    model = build(name, vocabulary=9, outputs=3, width=16)
    state = model.advance(torch.zeros(2, 900, dtype=torch.long))
    assert sum(storages(state).values()) <= 2 * 2 * model.state_bytes(900)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("shape", [(3, 0), (0, 5), (0, 0)])
def test_nothing_in_nothing_out(name, causal, shape):
    model = build(name, vocabulary=9, outputs=3, width=12, causal=causal)
    logits = model(torch.zeros(shape, dtype=torch.long))
    assert logits.shape == ((*shape, 3) if causal else (shape[0], 3))
    assert logits.isfinite().all()


def test_half_precision_sums_are_taken_in_float32():
    """2,000 times 0.01 into a state that forgets nothing: bfloat16 alone would stop near 4."""
    ones = torch.ones(1, 2000, 1, dtype=torch.bfloat16)
    h_BLD = kernels.linear_recurrence(ones, ones * 0.01)
    want = float(ones[0, 0, 0] * 0.01) * 2000
    assert float(h_BLD[0, -1, 0]) == pytest.approx(want, rel=0.01)
    q = torch.ones(1, 1, 2000, 1, dtype=torch.bfloat16)
    y, state = kernels.gated_linear_attention(q, q, q * 0.01)
    assert y.dtype == torch.bfloat16
    assert state.dtype == torch.float32
    assert float(y[0, 0, -1, 0]) == pytest.approx(want, rel=0.01)


def test_a_numba_that_cannot_be_imported_is_no_disaster(tmp_path):
    (tmp_path / "numba.py").write_text("raise ImportError('built for another numpy')")
    code = """
import sys, torch, warnings
sys.path.insert(0, sys.argv[1])
from howfar.models import build, kernels
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    print(build("gru", vocabulary=5, outputs=2)(torch.zeros(2, 9, dtype=torch.long)).shape)
print([str(w.message) for w in caught])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "torch.Size([2, 9, 2])" in done.stdout
    assert done.stdout.count("built for another numpy") == 1
