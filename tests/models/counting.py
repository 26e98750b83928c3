"""FLOPs as a counter sees them: torch's counter outside the kernels, a kernel's own formula inside.

The formulas of the kernels are checked by hand in tests/models/kernels.
"""

from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.flop_counter import FlopCounterMode

from howfar.models import kernels


def _attention(q, k, v, *_, **__):
    return kernels.gated_linear_attention_flops(q.shape[2], q.shape[1], q.shape[3], v.shape[3])


def _delta(q, k, v, *_, **__):
    return kernels.delta_rule_flops(q.shape[2], q.shape[1], q.shape[3], v.shape[3])


def _recurrence(a, b, *_, **__):
    flops = kernels.linear_recurrence_flops(b.shape[1], b[0, 0].numel())
    return flops * (4 if b.is_complex() else 1)


def _windowed(q, k, v, window, *, causal=True, sinks=0, **__):
    shape = q.shape[2], q.shape[1], q.shape[3]
    return kernels.windowed_attention_flops(*shape, window, causal=causal, sinks=sinks)


# per row of the batch
FORMULAS = {
    "linear_recurrence": _recurrence,
    "gated_linear_attention": _attention,
    "delta_rule": _delta,
    "diagonal_scan": lambda x, rate, *_, **__: kernels.diagonal_scan_flops(x.shape[1], *rate.shape),
    "selective_scan": lambda x, step, rate, *_, **__: kernels.selective_scan_flops(
        x.shape[1], *rate.shape
    ),
    "elman_scan": lambda p, *_, **__: kernels.elman_scan_flops(p.shape[0], p.shape[2]),
    "gru_scan": lambda p, u, *_, **__: kernels.gru_scan_flops(p.shape[0], u.shape[1]),
    "indrnn_scan": lambda p, *_, **__: kernels.indrnn_scan_flops(p.shape[0], p.shape[2]),
    "long_convolution": lambda x, f: kernels.long_convolution_flops(x.shape[1], x.shape[2]),
    "short_convolution": lambda x, w, *_, **__: kernels.short_convolution_flops(
        x.shape[1], x.shape[2], w.shape[0]
    ),
    "windowed_attention": _windowed,
}


def _added(_, left, right, **__):
    return 2 * left[0] * left[1] * right[1]


@contextmanager
def counting(monkeypatch, formulas=FORMULAS):
    """Yields a function that tells the FLOPs so far; for one row at a time."""
    inside = []

    def watched(name, kernel):
        def call(*arguments, **keywords):
            inside.append(formulas[name](*arguments, **keywords))
            with _disable_current_modes():
                return kernel(*arguments, **keywords)

        return call

    for name in formulas:
        monkeypatch.setattr(kernels, name, watched(name, getattr(kernels, name)))
    # fused attention and compiled scans are not counted, their plain forms are; nn.LSTM: in float64
    with (
        kernels.using("torch"),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: _added}) as counter,
    ):
        yield lambda: counter.get_total_flops() + sum(inside)
