"""The linear recurrence h_t = a_t h_{t-1} + b_t, element by element, real or complex.

Idea     going back it is the same recurrence from the end: s_t = g_t + conj(a_{t+1}) s_{t+1} is
         the gradient of b_t, and s_t conj(h_{t-1}) that of a_t. In torch's operations the text is
         cut into chunks that all run at once: first from zero, for what each adds and how much it
         keeps; then the states at the borders, one after another; then again from these. Nothing
         is divided and no logarithm taken, so a may be zero, negative, tiny or above 1
Shapes   b (B, L, D), a broadcasting to it, h_0 (B, D) -> h (B, L, D); an a without length (D or
         B, 1, D) is never spread over it, nor is its gradient
Gain     forward and backward, one thread, float32, against the slow twin: B=4, D=128 torch's form
         6 times at L=512, 19 at L=16384, compiled 19 and 32; B=8, D=256, where the twin's steps
         are larger, 3 and 6, compiled 7 and 12, which is 1.1 times one pass over the memory
Limits   float16 and bfloat16 sum in float32, and are rounded once at the end
Source   Blelloch 1990, https://www.cs.cmu.edu/~guyb/papers/Ble93.pdf, section 1.4 (chunks);
         Martin & Cundy 2018, https://arxiv.org/abs/1709.04057, section 2 (gradients)
"""

from collections.abc import Callable
from functools import reduce
from math import ceil, isqrt
from typing import Any, cast

import torch
from torch import Tensor

from howfar.models.kernels import graph
from howfar.models.kernels.choice import as_graph, compiled
from howfar.models.kernels.memory import array, empty
from howfar.models.kernels.once import once_differentiable
from howfar.models.kernels.precision import widened
from howfar.models.kernels.shapes import fits
from howfar.models.kernels.threads import in_parts

FULL = 4096  # elements of a step from which chunks no longer pay
BLOCK = 256  # steps of a gradient that are summed at once
WORTH = 2**17  # elements worth a thread


def linear_recurrence(a_BLD: Tensor, b_BLD: Tensor, h0_BD: Tensor | None = None) -> Tensor:
    """All states h_1 .. h_L, (B, L, D); real or complex; a broadcasts to b.

    Raises:
        UsageError: E-SHAPE for shapes or devices that do not fit.
    """
    given = (a_BLD, b_BLD, h0_BD)
    dtype = reduce(torch.promote_types, (x.dtype for x in given if x is not None))
    a_BLD, b_BLD, h0_BD = cast("tuple[Tensor, Tensor, Tensor | None]", widened(given))
    a_BLD = a_BLD.reshape((1,) * (3 - a_BLD.ndim) + a_BLD.shape)
    pairs = zip(a_BLD.shape, b_BLD.shape, strict=True)
    fits("a", a_BLD, tuple(n if m != 1 else 1 for m, n in pairs), b_BLD)
    if h0_BD is not None:
        fits("the state", h0_BD, (b_BLD.shape[0], b_BLD.shape[2]), b_BLD)
    if as_graph():
        return graph.linear_recurrence(a_BLD, b_BLD, h0_BD).to(dtype)
    if b_BLD.numel() == 0:
        return torch.zeros_like(b_BLD, dtype=dtype)
    fast = compiled(a_BLD, b_BLD, h0_BD)
    h_BLD: Tensor = LinearRecurrence.apply(a_BLD, b_BLD, h0_BD, fast)  # type: ignore[no-untyped-call]
    return h_BLD.to(dtype)


class LinearRecurrence(torch.autograd.Function):
    """`LinearRecurrence.apply(a, b, h0 or None, fast)`; differentiable once."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        a_BLD: Tensor,
        b_BLD: Tensor,
        h0_BD: Tensor | None,
        fast: bool,
    ) -> Tensor:
        """All states."""
        if not ctx.needs_input_grad[0]:
            a_BLD = _unspread(a_BLD)
        if fast:
            h_BLD = _compiled_forward(a_BLD, b_BLD, h0_BD)
        else:
            h_BLD = empty(b_BLD, *b_BLD.shape)
            run_recurrence(a_BLD, b_BLD, h0_BD, h_BLD, last_first=False)
        ctx.save_for_backward(a_BLD, h_BLD, h0_BD)
        ctx.fast = fast
        return h_BLD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_BLD: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """The same recurrence from the end."""
        a_BLD, h_BLD, h0_BD = ctx.saved_tensors
        if ctx.fast:
            return *_compiled_backward(a_BLD, h_BLD, h0_BD, g_BLD), None
        dh0_BD = None
        back_BLD = a_BLD.conj().resolve_conj()
        db_BLD = empty(h_BLD, *h_BLD.shape)
        db_BLD[:, -1] = g_BLD[:, -1]
        later_BLD = back_BLD if a_BLD.shape[1] == 1 else back_BLD[:, 1:]
        run_recurrence(later_BLD, g_BLD[:, :-1], g_BLD[:, -1], db_BLD[:, :-1], last_first=True)
        da_BLD = _slopes(db_BLD, h_BLD, h0_BD, a_BLD.shape) if ctx.needs_input_grad[0] else None
        if h0_BD is not None:
            dh0_BD = back_BLD[:, 0] * db_BLD[:, 0]
        return da_BLD, db_BLD, dh0_BD, None


def _unspread(a_BLD: Tensor) -> Tensor:
    """One of each number that stands there many times."""
    for axis in range(3):
        if a_BLD.stride(axis) == 0:
            a_BLD = a_BLD.narrow(axis, 0, 1)
    return a_BLD


def run_recurrence(
    a_BLD: Tensor, b_BLD: Tensor, start_BD: Tensor | None, h_BLD: Tensor, *, last_first: bool
) -> None:
    """Write all states into h: whole chunks where a step is too small for torch, then the rest."""
    batch, length, width = b_BLD.shape
    before_BD = b_BLD.new_zeros(batch, width) if start_BD is None else start_BD
    size = isqrt(length) if batch * width < FULL else 1
    whole = length - length % size if size > 3 else 0
    if whole:
        part = slice(length - whole, length) if last_first else slice(0, whole)
        steps = [_steps(x_BLD, part, size, last_first) for x_BLD in (a_BLD, b_BLD, h_BLD)]
        borders_BCD = _borders(steps[0], steps[1], before_BD, last_first=last_first)
        _walk(steps, borders_BCD)
        before_BD = h_BLD[:, length - whole if last_first else whole - 1]
    part = slice(0, length - whole) if last_first else slice(whole, length)
    _walk([_steps(x_BLD, part, None, last_first) for x_BLD in (a_BLD, b_BLD, h_BLD)], before_BD)


def _steps(x_BLD: Tensor, part: slice, size: int | None, last_first: bool) -> list[Tensor]:
    """The steps of a part of the text, each (B, D); of its chunks of a size, each (B, C, D)."""
    if x_BLD.shape[1] == 1:
        one = x_BLD if size else x_BLD[:, 0]
        return [one] * (size or part.stop - part.start)
    x_BLD = x_BLD[:, part]
    steps = torch.unflatten(x_BLD, 1, (-1, size)).unbind(2) if size else x_BLD.unbind(1)
    return list(reversed(steps)) if last_first else list(steps)


def _walk(steps: list[list[Tensor]], before: Tensor) -> None:
    """The equation, in place."""
    for a, b, h in zip(*steps, strict=True):
        before = torch.addcmul(b, a, before, out=h)


def _borders(
    a_SBCD: list[Tensor], b_SBCD: list[Tensor], before_BD: Tensor, *, last_first: bool
) -> Tensor:
    """The state before each chunk, (B, C, D)."""
    added_BCD, kept_BCD = b_SBCD[0].clone(), a_SBCD[0].clone()
    for a_BCD, b_BCD in zip(a_SBCD[1:], b_SBCD[1:], strict=True):
        torch.addcmul(b_BCD, a_BCD, added_BCD, out=added_BCD)
        kept_BCD.mul_(a_BCD)
    borders_BCD = torch.empty_like(added_BCD)
    kept_BCD = kept_BCD.expand(-1, added_BCD.shape[1], -1)
    chunks = list(zip(*(x.unbind(1) for x in (borders_BCD, added_BCD, kept_BCD)), strict=True))
    for border_BD, added_BD, kept_BD in reversed(chunks) if last_first else chunks:
        border_BD.copy_(before_BD)
        before_BD = torch.addcmul(added_BD, kept_BD, before_BD)
    return borders_BCD


def _slopes(s_BLD: Tensor, h_BLD: Tensor, h0_BD: Tensor | None, shape: torch.Size) -> Tensor:
    """The gradient of a: s_t conj(h_{t-1}), summed over what a is the same for."""
    total = empty(h_BLD, *shape)
    total[:, :1] = 0
    if h0_BD is not None:
        total[:, 0] += (s_BLD[:, 0] * h0_BD.conj())[:, None].sum_to_size(total[:, :1].shape)[:, 0]
    for first in range(1, h_BLD.shape[1], BLOCK):
        later_BLD = s_BLD[:, first : first + BLOCK]
        before_BLD = h_BLD[:, first - 1 : first - 1 + later_BLD.shape[1]].conj()
        if total.shape == h_BLD.shape:
            torch.mul(later_BLD, before_BLD, out=total[:, first : first + BLOCK])
        elif shape[1] == 1:
            total += (later_BLD * before_BLD).sum_to_size(shape)
        else:
            part = total[:, first : first + BLOCK]
            part.copy_((later_BLD * before_BLD).sum_to_size(part.shape))
    return total


def _in_parts(h_BLD: Tensor, work: Callable[[int, int], None]) -> None:
    """All rows of the batch, on several threads where that is worth it."""
    in_parts(h_BLD.shape[0], work, ceil(WORTH / (h_BLD.shape[1] * h_BLD.shape[2])))


def _compiled_forward(a_BLD: Tensor, b_BLD: Tensor, h0_BD: Tensor | None) -> Tensor:
    from howfar.models.kernels.compiled_linear_recurrence import forward  # noqa: PLC0415

    h0_BD = b_BLD.new_zeros(b_BLD.shape[0], b_BLD.shape[2]) if h0_BD is None else h0_BD
    h_BLD = empty(b_BLD, *b_BLD.shape)
    given, h = (array(a_BLD), array(b_BLD), array(h0_BD)), array(h_BLD)
    _in_parts(h_BLD, lambda first, last: forward(given, h, first, last))
    return h_BLD


def _compiled_backward(
    a_BLD: Tensor, h_BLD: Tensor, h0_BD: Tensor | None, g_BLD: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    from howfar.models.kernels.compiled_linear_recurrence import backward  # noqa: PLC0415

    batch, _, width = h_BLD.shape
    start_BD = h_BLD.new_zeros(batch, width) if h0_BD is None else h0_BD
    da_BLD, db_BLD = empty(h_BLD, batch, *a_BLD.shape[1:]), empty(h_BLD, *h_BLD.shape)
    dh0_BD = h_BLD.new_empty(batch, width)
    saved, g = (array(a_BLD), array(h_BLD), array(start_BD)), array(g_BLD)
    grads = (array(da_BLD), array(db_BLD), array(dh0_BD))
    _in_parts(h_BLD, lambda first, last: backward(saved, g, grads, first, last))
    return da_BLD.sum_to_size(a_BLD.shape), db_BLD, None if h0_BD is None else dh0_BD


def linear_recurrence_slow(a_BLD: Tensor, b_BLD: Tensor, h0_BD: Tensor | None = None) -> Tensor:
    """The slow twin: the equation, one step after another."""
    h_BD = torch.zeros_like(b_BLD[:, 0]) if h0_BD is None else h0_BD
    states = []
    for a_BD, b_BD in zip(a_BLD.expand_as(b_BLD).unbind(1), b_BLD.unbind(1), strict=True):
        h_BD = a_BD * h_BD + b_BD
        states.append(h_BD)
    return torch.stack(states, 1)


def linear_recurrence_flops(length: int, size: int) -> int:
    """One multiply-add a step and element."""
    return 2 * length * size
