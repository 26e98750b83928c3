"""The recurrence h_t = f(p_t + u * h_{t-1}), compiled.

Idea     one pass each way, the width innermost, where it vectorises; the gradient of u is summed up
         in float64 on the way back
Shapes   p, h and their gradients (R, D), where a vector lies where `sequences.Order` says; u (D,),
         its gradient row by row (B, D); h_0 (B, D)
"""

from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor

from howfar.models.kernels.compiled_math import tanh
from howfar.models.kernels.jit import Array, jit
from howfar.models.kernels.memory import array, empty
from howfar.models.kernels.once import once_differentiable
from howfar.models.kernels.sequences import Order
from howfar.models.kernels.threads import in_parts

# elements of a part that are worth a thread of its own
WORTH = 100_000


@jit()
def forward(
    given: tuple[Array, ...], h: Array, relu: bool, order: Order, first: int, last: int
) -> None:
    """From p, u and h_0 write h for the rows first .. last - 1."""
    p, u, h0 = given
    length, by_step, by_row = order
    for row in range(first, last):
        before = h0[row]
        for t in range(length):
            at = t * by_step + row * by_row
            p_t, h_t = p[at], h[at]
            if relu:
                for j in range(u.size):
                    x = p_t[j] + u[j] * before[j]
                    h_t[j] = p.dtype.type(0) if x < 0 else x
            else:
                for j in range(u.size):
                    h_t[j] = tanh(p_t[j] + u[j] * before[j])
            before = h_t


@jit()
def backward(
    given: tuple[Array, ...],
    out: tuple[Array, ...],
    relu: bool,
    order: Order,
    first: int,
    last: int,
) -> None:
    """From dh, u, h_0 and h write the gradients of p, u and h_0 for the same rows."""
    dh, u, h0, h = given
    dp, du, dh0 = out
    length, by_step, by_row = order
    later, sums = np.zeros(u.size, dh.dtype), np.zeros(u.size, np.float64)
    for row in range(first, last):
        for j in range(u.size):
            later[j] = 0
            sums[j] = 0
        for t in range(length - 1, -1, -1):
            at = t * by_step + row * by_row
            before = h[at - by_step] if t > 0 else h0[row]
            dh_t, dp_t, h_t = dh[at], dp[at], h[at]
            for j in range(u.size):
                slope = dh.dtype.type(h_t[j] > 0) if relu else dh.dtype.type(1) - h_t[j] * h_t[j]
                d = slope * (dh_t[j] + later[j])
                dp_t[j] = d
                later[j] = u[j] * d
                sums[j] += d * before[j]
        for j in range(u.size):
            du[row, j] = sums[j]
            dh0[row, j] = later[j]


class CompiledIndrnn(torch.autograd.Function):
    """`CompiledIndrnn.apply(p_LBD, u_D, h0_BD, activation)`; differentiable once."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        p_LBD: Tensor,
        u_D: Tensor,
        h0_BD: Tensor,
        activation: str,
    ) -> Tensor:
        """All states h_1 .. h_L, lying in memory as p does."""
        order, relu, (rows, width) = Order.of(p_LBD), activation == "relu", h0_BD.shape
        p_RD = order.flat(p_LBD)
        h_RD = empty(p_RD, *p_RD.shape)
        given, h = (array(p_RD), array(u_D), array(h0_BD)), array(h_RD)
        least = ceil(WORTH / (order.length * width + 1))
        in_parts(rows, lambda first, last: forward(given, h, relu, order, first, last), least)
        h_LBD = order.shaped(h_RD, rows)
        ctx.order, ctx.relu = order, relu
        ctx.save_for_backward(h_LBD, u_D, h0_BD)
        return h_LBD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dh_LBD: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Gradients of p, u and h_0; that of p lies in memory as p does."""
        h_LBD, u_D, h0_BD = ctx.saved_tensors
        order, relu, (rows, width) = ctx.order, ctx.relu, h0_BD.shape
        dh_RD, h_RD = order.flat(dh_LBD), order.flat(h_LBD)
        dp_RD = empty(h_RD, *h_RD.shape)
        du_BD, dh0_BD = empty(h_RD, *h0_BD.shape), empty(h_RD, *h0_BD.shape)
        given = (array(dh_RD), array(u_D), array(h0_BD), array(h_RD))
        out = (array(dp_RD), array(du_BD), array(dh0_BD))
        least = ceil(WORTH / (order.length * width + 1))
        in_parts(rows, lambda first, last: backward(given, out, relu, order, first, last), least)
        return order.shaped(dp_RD, rows), du_BD.sum(0), dh0_BD, None
