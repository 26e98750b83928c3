"""A short causal convolution of every channel by itself: y_t = c + sum_i w_i * x_{t-k+1+i}.

Idea     zeros, or the inputs of an earlier chunk, stand before the first position. Torch's
         operations pass over memory once a tap, each way; compiled it is one pass each way
Shapes   x (B, L, D), w (k, D), c (D,), past (B, k-1, D) -> (B, L, D) and the next past; real
Gain     forward and backward, compiled, one thread, k=4, D=256: 3 times torch's operations and 5
         times F.conv1d with a group a channel, at B=32, L=512 and at B=8, L=2048
Source   Gu & Dao 2023, https://arxiv.org/abs/2312.00752, section 3.4 (k = 4 before the scan)
"""

from collections.abc import Callable
from functools import reduce
from math import ceil
from typing import Any

import torch
from torch import Tensor

from howfar.models.kernels import graph
from howfar.models.kernels.choice import as_graph, compiled
from howfar.models.kernels.memory import array, empty
from howfar.models.kernels.once import once_differentiable
from howfar.models.kernels.threads import in_parts

FEW = 2**12  # outputs below which a compiled call costs more than it saves
WORTH = 2**18  # outputs worth a thread


def short_convolution(
    x_BLD: Tensor, weight_KD: Tensor, bias_D: Tensor | None, past_BPD: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(B, L, D) and the last k - 1 inputs, (B, k - 1, D), a copy."""
    if as_graph() and past_BPD is None:
        return graph.short_convolution(x_BLD, weight_KD, bias_D)
    given = [x for x in (x_BLD, weight_KD, bias_D, past_BPD) if x is not None]
    dtype = reduce(torch.promote_types, (x.dtype for x in given))
    x_BLD, weight_KD = x_BLD.to(dtype), weight_KD.to(dtype)
    bias_D = None if bias_D is None else bias_D.to(dtype)
    kept = weight_KD.shape[0] - 1
    past_BPD = x_BLD[:, :1].new_zeros(()) if past_BPD is None else past_BPD.to(dtype)
    past_BPD = past_BPD.expand(x_BLD.shape[0], kept, x_BLD.shape[2])
    fast = x_BLD.numel() >= FEW and compiled(x_BLD, weight_KD, bias_D, past_BPD)
    y_BLD: Tensor = ShortConvolution.apply(x_BLD, weight_KD, bias_D, past_BPD, fast)  # type: ignore[no-untyped-call]
    # a copy: a view would keep the whole input in memory
    ends_BPD = x_BLD[:, max(x_BLD.shape[1] - kept, 0) :]
    return y_BLD, torch.cat([past_BPD[:, ends_BPD.shape[1] :], ends_BPD], dim=1)


class ShortConvolution(torch.autograd.Function):
    """`ShortConvolution.apply(x, weight, bias or None, past, fast)`; differentiable once."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x_BLD: Tensor,
        weight_KD: Tensor,
        bias_D: Tensor | None,
        past_BPD: Tensor,
        fast: bool,
    ) -> Tensor:
        """All positions."""
        ctx.save_for_backward(x_BLD, weight_KD, past_BPD)
        ctx.fast = fast
        if fast:
            return _compiled_forward(x_BLD, weight_KD, bias_D, past_BPD)
        windows = _windows(torch.cat([past_BPD, x_BLD], dim=1), len(weight_KD))
        y_BLD = windows[0] * weight_KD[0]
        for window_BLD, weight_D in zip(windows[1:], weight_KD[1:].unbind(), strict=True):
            y_BLD.addcmul_(window_BLD, weight_D)
        return y_BLD if bias_D is None else y_BLD.add_(bias_D)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_BLD: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Every input is met by k outputs, every weight by all inputs."""
        x_BLD, weight_KD, past_BPD = ctx.saved_tensors
        dbias_D = g_BLD.sum((0, 1)) if ctx.needs_input_grad[2] else None
        if ctx.fast:
            dx_BLD, dweight_KD, dpast_BPD = _compiled_backward(x_BLD, weight_KD, past_BPD, g_BLD)
            return dx_BLD, dweight_KD, dbias_D, dpast_BPD, None
        joined_BLD = torch.cat([past_BPD, x_BLD], dim=1)
        djoined_BLD = torch.zeros_like(joined_BLD)
        for into_BLD, weight_D in zip(
            _windows(djoined_BLD, len(weight_KD)), weight_KD.unbind(), strict=True
        ):
            into_BLD.addcmul_(g_BLD, weight_D)
        parts = [(w_BLD * g_BLD).sum((0, 1)) for w_BLD in _windows(joined_BLD, len(weight_KD))]
        kept = len(weight_KD) - 1
        return djoined_BLD[:, kept:], torch.stack(parts), dbias_D, djoined_BLD[:, :kept], None


def _windows(joined_BLD: Tensor, taps: int) -> list[Tensor]:
    """What each tap reads: views, (B, L, D) each."""
    length = joined_BLD.shape[1] - taps + 1
    return [joined_BLD[:, tap : tap + length] for tap in range(taps)]


def _rows(x_BLD: Tensor, kernel: Callable[..., None], *tensors: Tensor) -> None:
    """Run a compiled kernel for all rows of the batch."""
    arrays = [array(x) for x in tensors]
    least = ceil(WORTH / (x_BLD.shape[1] * x_BLD.shape[2]))
    in_parts(len(x_BLD), lambda first, last: kernel(*arrays, first, last), least)


def _compiled_forward(
    x_BLD: Tensor, weight_KD: Tensor, bias_D: Tensor | None, past_BPD: Tensor
) -> Tensor:
    from howfar.models.kernels.compiled_short_convolution import forward  # noqa: PLC0415

    bias_D = weight_KD.new_zeros(x_BLD.shape[2]) if bias_D is None else bias_D
    y_BLD = empty(x_BLD, *x_BLD.shape)
    _rows(x_BLD, forward, x_BLD, weight_KD, bias_D, past_BPD, y_BLD)
    return y_BLD


def _compiled_backward(
    x_BLD: Tensor, weight_KD: Tensor, past_BPD: Tensor, g_BLD: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    from howfar.models.kernels.compiled_short_convolution import backward  # noqa: PLC0415

    dx_BLD = empty(x_BLD, *x_BLD.shape)
    dweight_BKD = x_BLD.new_zeros(len(x_BLD), *weight_KD.shape)
    dpast_BPD = x_BLD.new_zeros(past_BPD.shape)
    tensors = (x_BLD, weight_KD, past_BPD, g_BLD, dx_BLD, dweight_BKD, dpast_BPD)
    _rows(x_BLD, backward, *tensors)
    return dx_BLD, dweight_BKD.sum(0), dpast_BPD


def short_convolution_slow(
    x_BLD: Tensor, weight_KD: Tensor, bias_D: Tensor | None, past_BPD: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The slow twin: one window after another."""
    taps = weight_KD.shape[0]
    past_BPD = (
        x_BLD.new_zeros(x_BLD.shape[0], taps - 1, x_BLD.shape[2]) if past_BPD is None else past_BPD
    )
    outputs = []
    for x_BD in x_BLD.unbind(1):
        window_BKD = torch.cat([past_BPD, x_BD[:, None]], dim=1)
        y_BD = (window_BKD * weight_KD).sum(1)
        outputs.append(y_BD if bias_D is None else y_BD + bias_D)
        past_BPD = window_BKD[:, 1:]
    return torch.stack(outputs, 1), past_BPD


def short_convolution_flops(length: int, width: int, taps: int) -> int:
    """Every weight once a position."""
    return 2 * length * width * taps
