"""Windowed attention against the full matrix, by hand, in memory, at its edges."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from howfar.models import kernels
from howfar.models.kernels import window_view

FAST, SLOW = kernels.windowed_attention, kernels.windowed_attention_slow


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


def inputs(rows=2, heads=4, groups=2, asked=9, held=9, size=4, dtype=torch.float64, width=None):
    """q, k, v and, of `width`, a bias."""
    found = [
        drawn(rows, heads, asked, size, seed=1, dtype=dtype),
        drawn(rows, groups, held, size, seed=2, dtype=dtype),
        drawn(rows, groups, held, size, seed=3, dtype=dtype),
    ]
    return found if width is None else [*found, drawn(heads, width, seed=4, dtype=dtype)]


def compared(given_tensors, window, tolerance=1e-10, *, own_sinks=False, **keywords):
    """Outputs and all gradients of both forms agree."""
    q, k, v, *bias = given_tensors
    sink_q = [drawn(*q.shape, seed=5, dtype=q.dtype)] if own_sinks else []
    found = []
    for kernel in (FAST, SLOW):
        leaves = [x.detach().clone().requires_grad_() for x in (q, k, v, *bias, *sink_q)]
        names = ["bias_HX"] * len(bias) + ["sink_q_BHLD"] * len(sink_q)
        named = dict(zip(names, leaves[3:], strict=True))
        y = kernel(*leaves[:3], window, **named, **keywords)
        (y * drawn(*y.shape, seed=6, dtype=y.dtype)).sum().backward()
        zeros = torch.zeros(())
        found.append([y.detach(), *(zeros if x.grad is None else x.grad for x in leaves)])
    for got, want in zip(*found, strict=True):
        scale = max(1.0, float(want.abs().max()))
        torch.testing.assert_close(got, want, rtol=0, atol=tolerance * scale)


def test_by_hand():
    q = torch.zeros(1, 1, 4, 1).double()
    v = torch.tensor([1.0, 2.0, 4.0, 8.0]).double().reshape(1, 1, 4, 1)
    for kernel in (FAST, SLOW):
        # equal scores: means of what is seen
        assert kernel(q, q, v, 2).flatten().tolist() == [1.0, 1.5, 3.0, 6.0]
        got = kernel(q, q, v, 3, causal=False).flatten().tolist()
        assert got == pytest.approx([1.5, 7 / 3, 14 / 3, 6.0], abs=1e-12)
        assert kernel(q, q, v, 1, sinks=1).flatten().tolist() == [1.0, 1.5, 2.5, 4.5]
        # a bias of log 3 on the lag 1: three parts of the one before
        bias = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64)
        got = kernel(q, q, v, 2, bias_HX=bias).flatten().tolist()
        assert got == pytest.approx([1.0, 1.25, 2.5, 5.0], abs=1e-12)


def test_sinks_count_distance_in_held_tokens():
    q, v = torch.zeros(1, 1, 6, 1).double(), torch.arange(6.0).double().reshape(1, 1, 6, 1)
    bias = torch.tensor([[-9.0, -9.0, math.log(5)]], dtype=torch.float64)  # the lag 2
    for kernel in (FAST, SLOW):
        # window 2 and a sink: from place 2 on the sink stays two held tokens away
        got = kernel(q, q, v, 2, sinks=1, bias_HX=bias)[0, 0, 2:, 0]
        near = math.exp(-9)
        want = [near * (2 * t - 1) / (5 + 2 * near) for t in range(2, 6)]
        assert got.tolist() == pytest.approx(want, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_equals_slow_twin_and_its_gradients(data):
    pick = data.draw
    groups, each = pick(st.integers(1, 2)), pick(st.integers(1, 3))
    held = pick(st.integers(1, 40))
    asked = pick(st.sampled_from([1, held, max(1, held // 2)]))
    causal = pick(st.booleans())
    window = pick(st.none() | st.sampled_from([1, 2, 5, 16, 90]))
    if window is not None and not causal:
        window += 1 - window % 2
    sinks = pick(st.sampled_from([0, 1, 7, 50])) if causal and window else 0
    biased = pick(st.booleans())
    full = held if causal else 2 * held - 1
    width = (full if window is None else window + sinks) if biased else None
    rows = pick(st.integers(1, 3))
    keywords = {"causal": causal, "sinks": sinks}
    if not causal:
        keywords["lengths"] = torch.tensor([pick(st.integers(0, held)) for _ in range(rows)])
    own = bool(sinks) and pick(st.booleans())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(window_view, "BLOCK", pick(st.sampled_from([1, 3, 8, 64])))
        found = inputs(rows, groups * each, groups, asked, held, width=width)
        compared(found, window, own_sinks=own, **keywords)


@pytest.mark.parametrize("length", [1, 2, 7, 64, 65, 700])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lengths_and_types(length, dtype):
    tolerance = 1e-10 if dtype == torch.float64 else 2e-5
    found = inputs(3, 2, 1, length, length, dtype=dtype, width=40)
    compared(found, 37, tolerance, sinks=3, own_sinks=True)
    compared(inputs(3, 2, 2, length, length, dtype=dtype), 37, tolerance, causal=False)


@pytest.mark.parametrize("causal", [True, False])
def test_gradcheck(causal):
    q, k, v, bias = (x.requires_grad_() for x in inputs(1, 2, 1, 5, 5, 2, width=3))
    sink_q = drawn(1, 2, 5, 2, seed=9).requires_grad_()

    def call(q, k, v, bias, sink_q):
        if causal:
            return FAST(q, k, v, 2, sinks=1, bias_HX=bias, sink_q_BHLD=sink_q)
        return FAST(q, k, v, 3, causal=False, bias_HX=bias) + 0 * sink_q

    assert gradcheck(call, (q, k, v, bias, sink_q))


def test_any_layout_and_nothing_is_changed():
    q, k, v, bias = inputs(width=4)
    strided = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
    before = [x.clone() for x in (*strided, bias)]
    got = FAST(*strided, 4, bias_HX=bias)
    torch.testing.assert_close(got, SLOW(q, k, v, 4, bias_HX=bias), rtol=0, atol=1e-12)
    assert all(torch.equal(x, y) for x, y in zip(before, (*strided, bias), strict=True))
    one = k[:1].expand(2, -1, -1, -1)
    got, want = FAST(q, one, one, 4), SLOW(q, one, one, 4)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


def test_gradients_of_some_or_none():
    q, k, v, bias = inputs(width=4)
    with torch.no_grad():
        plain = FAST(q, k, v, 4, bias_HX=bias)
    bias.requires_grad_()
    y = FAST(q, k, v, 4, bias_HX=bias)
    assert torch.equal(plain, y)
    y.sum().backward()
    assert q.grad is None
    assert bias.grad.isfinite().all()


def test_far_scores_stay_finite():
    q, k, v = inputs(1, 1, 1, 70, 70, dtype=torch.float32)
    q = (q * 1e4).requires_grad_()
    y = FAST(q, k * 1e4, v, 9)
    y.sum().backward()
    assert y.isfinite().all()
    assert q.grad.isfinite().all()


def test_empty_rows_and_pads_are_finite_and_unseen():
    q, k, v = (x.requires_grad_() for x in inputs(2, 2, 2, 90, 90))
    lengths = torch.tensor([0, 40])
    y = FAST(q, k, v, 9, causal=False, lengths=lengths)
    assert y.isfinite().all()
    y[1, :, :40].sum().backward()
    assert not k.grad[0].any()
    assert not v.grad[1, :, 40:].any()
    assert v.grad[1, :, :40].abs().amin() > 0


def test_autocast_keeps_the_type_it_is_given():
    q, k, v = inputs(1, 2, 2, 70, 70, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(FAST(q, k, v, 9), FAST(q, k, v, 9).float())
        low = [x.bfloat16().requires_grad_() for x in (q, k, v)]
        y = FAST(*low, 9)
        y.sum().backward()
    assert y.dtype == low[0].grad.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), SLOW(q, k, v, 9), rtol=0, atol=0.05)


class Seen(TorchFunctionMode):
    """The functions that are called, and what they are given."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.calls.append((func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))


def test_a_function_mode_sees_the_call_with_all_it_was_given():
    q, k, v, bias = inputs(width=4)
    with Seen() as seen:
        got = FAST(q, k, v, 3, sinks=1, bias_HX=bias)
    found = [call for call in seen.calls if call[0] is FAST]
    ((_, arguments, keywords),) = found
    assert torch.equal(got, FAST(q, k, v, 3, sinks=1, bias_HX=bias))
    torch.testing.assert_close(got, SLOW(*arguments, **keywords), rtol=0, atol=1e-12)


class Largest(TorchDispatchMode):
    """The most numbers any operation returned."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(part, torch.Tensor):
                self.numbers = max(self.numbers, part.numel())
        return result


def test_memory_grows_with_the_length_not_its_square():
    seen = []
    for length in (512, 1536):
        q, k, v, bias = inputs(1, 2, 1, length, length, 16, torch.float32, width=35)
        for x in (q, k, v, bias):
            x.requires_grad_()
        with Largest() as largest:
            FAST(q, k, v, 32, sinks=3, bias_HX=bias).sum().backward()
        seen.append(largest.numbers)
    assert seen == [2 * 16 * 512, 2 * 16 * 1536]  # as many as queries
    with Largest() as largest:
        SLOW(q, k, v, 32)
    assert largest.numbers == 2 * 1536**2


def test_window_is_that_of_mistral():
    masks = pytest.importorskip("transformers.masking_utils")
    for window in (1, 4, 70):
        seen = masks.sliding_window_causal_mask_function(window)
        places = torch.arange(80)
        mask = torch.as_tensor(seen(0, 0, places[:, None], places[None]))
        q, k, v = inputs(2, 2, 2, 80, 80)
        want = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        torch.testing.assert_close(FAST(q, k, v, window), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [1, 3, 5, 40])
@pytest.mark.parametrize("length", [1, 4, 23])
@pytest.mark.parametrize("sinks", [0, 2])
def test_flops_are_those_of_visible_pairs(causal, window, length, sinks):
    if not causal:
        window += 1 - window % 2
        sinks = 0
    back = window - 1 if causal else (window - 1) // 2
    pairs = sum(
        (0 if causal else -back) <= t - s <= back or (s < sinks and s <= t)
        for t in range(length)
        for s in range(length)
    )
    got = kernels.windowed_attention_flops(length, 3, 8, window, causal=causal, sinks=sinks)
    assert got == 4 * 3 * 8 * pairs
    assert kernels.windowed_attention_flops(length, 3, 8, None) == 4 * 3 * 8 * length**2
