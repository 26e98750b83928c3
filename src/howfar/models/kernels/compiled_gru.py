"""The recurrence of a gated recurrent unit, compiled.

Idea     rows of a batch do not need each other: sixteen at a time go through all steps, so that
         their state and gates stay in the nearest memory. A step is one product and one pass over
         the gates; a step back is the same the other way round. The gradient of the weight is one
         product at the end
Shapes   p (R, 3D), h and dh (R, D); kept (R, 4D): r, z, n, m, or (B, 4D), written over and over,
         where nothing shall be kept; d (R, 4D): the gradients of m, r, z, n before their
         nonlinearity; a vector lies where `sequences.Order` says. h_0 (B, D), b (D,); w is the
         recurrent matrix as `compiled_product.padded` makes it: turned forward, m first back
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from howfar.models.kernels.compiled_math import sigmoid, tanh
from howfar.models.kernels.compiled_product import ROWS, add_product, in_fours, load, padded
from howfar.models.kernels.jit import Array, jit
from howfar.models.kernels.memory import array, empty
from howfar.models.kernels.once import once_differentiable
from howfar.models.kernels.sequences import Order, earlier


@jit()
def forward(
    given: tuple[Array, ...], out: tuple[Array, ...], order: Order, first: int, last: int
) -> None:
    """From p, w, b and h_0 write h and kept for the rows first .. last - 1."""
    p, w, bias, h0 = given
    h, kept = out
    length, by_step, by_row = order
    width, keep = h0.shape[1], kept.shape[0] == p.shape[0]
    for start in range(first, last, ROWS):
        rows = min(ROWS, last - start)
        state = np.zeros(((rows + 3) // 4 * 4, w.shape[0]), p.dtype)
        gates = np.zeros((state.shape[0], w.shape[1]), p.dtype)
        load(state, h0, start, 1, (rows, width))
        for t in range(length):
            origin = t * by_step + start * by_row
            load(gates, p, origin, by_row, (rows, 2 * width))
            for b in range(rows):
                for j in range(width):
                    gates[b, 2 * width + j] = bias[j]
            add_product(gates, state, w)
            for b in range(rows):
                at = origin + b * by_row
                place = at if keep else start + b
                for j in range(width):
                    r = sigmoid(gates[b, j])
                    z = sigmoid(gates[b, width + j])
                    m = gates[b, 2 * width + j]
                    n = tanh(p[at, 2 * width + j] + r * m)
                    new = (1 - z) * n + z * state[b, j]
                    kept[place, j] = r
                    kept[place, width + j] = z
                    kept[place, 2 * width + j] = n
                    kept[place, 3 * width + j] = m
                    state[b, j] = new
                    h[at, j] = new


@jit()
def backward(
    given: tuple[Array, ...], out: tuple[Array, ...], order: Order, first: int, last: int
) -> None:
    """From dh, w, h_0, h and kept write the gradients d and that of h_0 for the same rows."""
    dh, w, h0, h, kept = given
    d, dh0 = out
    length, by_step, by_row = order
    width = h0.shape[1]
    for start in range(first, last, ROWS):
        rows = min(ROWS, last - start)
        total = np.zeros(((rows + 3) // 4 * 4, w.shape[1]), dh.dtype)
        gates = np.zeros((total.shape[0], w.shape[0]), dh.dtype)
        for t in range(length - 1, -1, -1):
            for b in range(rows):
                at = t * by_step + (start + b) * by_row
                before = h[at - by_step] if t > 0 else h0[start + b]
                for j in range(width):
                    r, z = kept[at, j], kept[at, width + j]
                    n, m = kept[at, 2 * width + j], kept[at, 3 * width + j]
                    s = total[b, j] + dh[at, j]
                    to_n = s * (1 - z) * (1 - n * n)
                    to_m = to_n * r
                    to_r = to_m * m * (1 - r)
                    to_z = s * (before[j] - n) * z * (1 - z)
                    gates[b, j] = d[at, j] = to_m
                    gates[b, width + j] = d[at, width + j] = to_r
                    gates[b, 2 * width + j] = d[at, 2 * width + j] = to_z
                    d[at, 3 * width + j] = to_n
                    total[b, j] = s * z
            add_product(total, gates, w)
        for b in range(rows):
            for j in range(width):
                dh0[start + b, j] = total[b, j]


class CompiledGru(torch.autograd.Function):
    """`CompiledGru.apply(p_LBX, weight_XD, bias_D, h0_BD, keep)`; differentiable once."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        p_LBX: Tensor,
        weight_XD: Tensor,
        bias_D: Tensor,
        h0_BD: Tensor,
        keep: bool,
    ) -> Tensor:
        """All states h_1 .. h_L, lying in memory as p does; `keep` for a backward pass."""
        rows, width = h0_BD.shape
        order = Order.of(p_LBX)
        p_RX = order.flat(p_LBX)
        h_RD = empty(p_RX, p_RX.shape[0], width)
        kept_RX = empty(p_RX, p_RX.shape[0] if keep else rows, 4 * width)
        given = (array(p_RX), padded(weight_XD.t()), array(bias_D), array(h0_BD))
        out, cost = (array(h_RD), array(kept_RX)), order.length * weight_XD.numel()
        in_fours(rows, cost, lambda first, last: forward(given, out, order, first, last))
        h_LBD = order.shaped(h_RD, rows)
        if keep:
            ctx.order = order
            ctx.save_for_backward(h_LBD, kept_RX, weight_XD, h0_BD)
        return h_LBD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dh_LBD: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Gradients of p, the weight, the bias and h_0; that of p lies in memory as p does."""
        h_LBD, kept_RX, weight_XD, h0_BD = ctx.saved_tensors
        order, (rows, width) = ctx.order, h0_BD.shape
        dh_RD, h_RD = order.flat(dh_LBD), order.flat(h_LBD)
        # m first: both m, r, z and the r, z, n of p are then one block
        weight_XD = weight_XD.roll(width, 0)
        d_RX, dh0_BD = empty(h_RD, h_RD.shape[0], 4 * width), empty(h_RD, rows, width)
        given = (array(dh_RD), padded(weight_XD), array(h0_BD), array(h_RD), array(kept_RX))
        out, cost = (array(d_RX), array(dh0_BD)), order.length * weight_XD.numel()
        in_fours(rows, cost, lambda first, last: backward(given, out, order, first, last))
        dweight_XD = d_RX[:, :-width].t() @ earlier(order, h_LBD, h0_BD)
        dp_LBX = order.shaped(d_RX, rows)[..., width:]
        return dp_LBX, dweight_XD.roll(-width, 0), d_RX[:, :width].sum(0), dh0_BD, None
