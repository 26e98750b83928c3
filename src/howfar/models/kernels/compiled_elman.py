"""The recurrence h_t = f(p_t + U h_{t-1}), compiled.

Idea     rows of a batch do not need each other: sixteen at a time go through all steps, so that
         their state stays in the nearest memory. A step is one product and one pass of f, back
         too; the gradient of the weight is one product at the end
Shapes   p, h and their gradients (R, D), where a vector lies where `sequences.Order` says;
         h_0 (B, D); w is U as `compiled_product.padded` makes it, turned forward
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from howfar.models.kernels.compiled_math import tanh
from howfar.models.kernels.compiled_product import ROWS, add_product, in_fours, load, padded
from howfar.models.kernels.jit import Array, jit
from howfar.models.kernels.memory import array, empty
from howfar.models.kernels.once import once_differentiable
from howfar.models.kernels.sequences import Order, earlier


@jit()
def forward(
    given: tuple[Array, ...], h: Array, relu: bool, order: Order, first: int, last: int
) -> None:
    """From p, w and h_0 write h for the rows first .. last - 1."""
    p, w, h0 = given
    length, by_step, by_row = order
    width = h0.shape[1]
    for start in range(first, last, ROWS):
        rows = min(ROWS, last - start)
        state = np.zeros(((rows + 3) // 4 * 4, w.shape[0]), p.dtype)
        total = np.zeros((state.shape[0], w.shape[1]), p.dtype)
        load(state, h0, start, 1, (rows, width))
        for t in range(length):
            origin = t * by_step + start * by_row
            load(total, p, origin, by_row, (rows, width))
            add_product(total, state, w)
            for b in range(rows):
                at = origin + b * by_row
                if relu:
                    for j in range(width):
                        x = total[b, j]
                        state[b, j] = h[at, j] = p.dtype.type(0) if x < 0 else x
                else:
                    for j in range(width):
                        state[b, j] = h[at, j] = tanh(total[b, j])


@jit()
def backward(
    given: tuple[Array, ...],
    out: tuple[Array, ...],
    relu: bool,
    order: Order,
    first: int,
    last: int,
) -> None:
    """From dh, w and h write the gradients of p and h_0 for the same rows."""
    dh, w, h = given
    dp, dh0 = out
    length, by_step, by_row = order
    width = dh0.shape[1]
    for start in range(first, last, ROWS):
        rows = min(ROWS, last - start)
        total = np.zeros(((rows + 3) // 4 * 4, w.shape[1]), dh.dtype)
        d = np.zeros((total.shape[0], w.shape[0]), dh.dtype)
        for t in range(length - 1, -1, -1):
            for b in range(rows):
                at = t * by_step + (start + b) * by_row
                if relu:
                    for j in range(width):
                        s = total[b, j] + dh[at, j]
                        d[b, j] = dp[at, j] = dh.dtype.type(0) if h[at, j] <= 0 else s
                        total[b, j] = 0
                else:
                    for j in range(width):
                        s = total[b, j] + dh[at, j]
                        d[b, j] = dp[at, j] = s * (1 - h[at, j] * h[at, j])
                        total[b, j] = 0
            add_product(total, d, w)
        for b in range(rows):
            for j in range(width):
                dh0[start + b, j] = total[b, j]


class CompiledElman(torch.autograd.Function):
    """`CompiledElman.apply(p_LBD, weight_DD, h0_BD, activation)`; differentiable once."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        p_LBD: Tensor,
        weight_DD: Tensor,
        h0_BD: Tensor,
        activation: str,
    ) -> Tensor:
        """All states h_1 .. h_L, lying in memory as p does."""
        order, relu, rows = Order.of(p_LBD), activation == "relu", h0_BD.shape[0]
        p_RD = order.flat(p_LBD)
        h_RD = empty(p_RD, *p_RD.shape)
        given, h = (array(p_RD), padded(weight_DD.t()), array(h0_BD)), array(h_RD)
        cost = order.length * weight_DD.numel()
        in_fours(rows, cost, lambda first, last: forward(given, h, relu, order, first, last))
        h_LBD = order.shaped(h_RD, rows)
        ctx.order, ctx.relu = order, relu
        ctx.save_for_backward(h_LBD, weight_DD, h0_BD)
        return h_LBD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dh_LBD: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Gradients of p, the weight and h_0; that of p lies in memory as p does."""
        h_LBD, weight_DD, h0_BD = ctx.saved_tensors
        order, relu, rows = ctx.order, ctx.relu, h0_BD.shape[0]
        dh_RD, h_RD = order.flat(dh_LBD), order.flat(h_LBD)
        dp_RD, dh0_BD = empty(h_RD, *h_RD.shape), empty(h_RD, *h0_BD.shape)
        given, out = (array(dh_RD), padded(weight_DD), array(h_RD)), (array(dp_RD), array(dh0_BD))
        cost = order.length * weight_DD.numel()
        in_fours(rows, cost, lambda first, last: backward(given, out, relu, order, first, last))
        dweight_DD = dp_RD.t() @ earlier(order, h_LBD, h0_BD)
        return order.shaped(dp_RD, rows), dweight_DD, dh0_BD, None
