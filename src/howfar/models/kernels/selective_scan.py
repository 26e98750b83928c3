"""The selective state space of Mamba: h_t = exp(d_t A) h_{t-1} + d_t x_t B_t, y_t = C_t . h_t.

Idea     N states a channel would be N times the memory of the text, so they are never kept for all
         of it: forward leaves those at the borders of chunks behind, backward computes one chunk
         of them again. With s_t the gradient of h_t, s_t = C_t dy_t + exp(d_{t+1} A) s_{t+1}, and
         z_t = s_t exp(d_t A) h_{t-1}: dC_t = h_t dy_t, dB_t = s_t d_t x_t, dA = sum z_t d_t,
         dx_t = d_t s_t . B_t, dd_t = x_t s_t . B_t + A . z_t
Shapes   x, step d (B, L, D), rate A (D, N), into B and out C (B, L, N), h_0 (B, D, N)
         -> y (B, L, D), h_L (B, D, N)
Gain     forward and backward, one thread, float32, against the slow twin: B=8, L=256, D=256, N=16
         torch's form 1.4 times, compiled 5; B=1, L=2048, D=64 15 and 68. B=1, L=65536, D=256:
         0.44 GB with inputs and gradients in both forms, where the states alone would be 1.07 GB
Limits   d A <= 0 for a state that stays bounded; in float32 the compiled form is within 3 units in
         the last place a decay, and does not go below exp(-87)
Source   Gu & Dao 2023, https://arxiv.org/abs/2312.00752, algorithm 2, section 3.3.2, appendix D
"""

from math import ceil
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from howfar.models.kernels import graph
from howfar.models.kernels.choice import as_graph, compiled
from howfar.models.kernels.linear_recurrence import run_recurrence
from howfar.models.kernels.memory import array, empty
from howfar.models.kernels.once import once_differentiable
from howfar.models.kernels.precision import widened
from howfar.models.kernels.shapes import fits
from howfar.models.kernels.threads import in_parts

ROOM = 2**18  # states of a chunk, all channels and sequences together, in torch's form
LEAST = 16  # steps a chunk has at least, so that the borders need little memory
SPAN = 8  # blocks of channels that walk together in the compiled form

Gradients = tuple[Tensor | None, ...]


def selective_scan(
    x_BLD: Tensor,
    step_BLD: Tensor,
    rate_DN: Tensor,
    into_BLN: Tensor,
    out_BLN: Tensor,
    h0_BDN: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Y (B, L, D), of the type of x, and the last state (B, D, N), float32 at least.

    Raises:
        UsageError: E-SHAPE for shapes or devices that do not fit.
    """
    if as_graph() and h0_BDN is None:
        return graph.selective_scan(x_BLD, step_BLD, rate_DN, into_BLN, out_BLN)
    if h0_BDN is None:
        h0_BDN = x_BLD.new_zeros(x_BLD.shape[0], *rate_DN.shape)
    if x_BLD.numel() == 0 or rate_DN.numel() == 0:
        return torch.zeros_like(x_BLD), h0_BDN
    given = (x_BLD, step_BLD, rate_DN, into_BLN, out_BLN, h0_BDN)
    inputs = cast("list[Tensor]", widened(given))
    rows, length, width = x_BLD.shape
    states = rate_DN.shape[-1]
    shapes = ((rows, length, width),) * 2 + ((width, states),) + ((rows, length, states),) * 2
    names = ("x", "step", "rate", "into", "out", "the state")
    for name, tensor, shape in zip(names, inputs, (*shapes, (rows, width, states)), strict=True):
        fits(name, tensor, shape, inputs[0])
    form = CompiledScan if compiled(*inputs) else TorchScan
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    y_BLD, end_BDN = form.apply(keep, *inputs)  # type: ignore[no-untyped-call]
    return y_BLD.to(x_BLD.dtype), end_BDN


class TorchScan(torch.autograd.Function):
    """`TorchScan.apply(keep borders, x, step, rate, into, out, h0)`; differentiable once."""

    @staticmethod
    def forward(ctx: Any, keep: bool, *inputs: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        """Chunk by chunk."""
        x_BLD, _, rate_DN, _, out_BLN, h_BDN = inputs
        batch, length, _ = x_BLD.shape
        ctx.size = max(LEAST, ROOM // (batch * rate_DN.numel()))
        y_BLD = empty(x_BLD, *x_BLD.shape)
        borders_CBDN = empty(x_BLD, ceil(length / ctx.size) if keep else 0, *h_BDN.shape)
        for first in range(0, length, ctx.size):
            part = slice(first, first + ctx.size)
            if keep:
                borders_CBDN[first // ctx.size] = h_BDN
            _, h_BCDN = _states(inputs, part, h_BDN)
            torch.matmul(h_BCDN, out_BLN[:, part, :, None], out=y_BLD[:, part, :, None])
            h_BDN = h_BCDN[:, -1].clone()
        ctx.save_for_backward(*inputs, borders_CBDN)
        return y_BLD, h_BDN

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_BLD: Tensor, later_BDN: Tensor) -> Gradients:  # noqa: ANN401
        """Chunk by chunk, the last one first."""
        *inputs, borders_CBDN = ctx.saved_tensors
        x_BLD, step_BLD, rate_DN, into_BLN, out_BLN, _ = inputs
        dx_BLD, dstep_BLD = empty(x_BLD, *x_BLD.shape), empty(x_BLD, *x_BLD.shape)
        dinto_BLN, dout_BLN = empty(x_BLD, *into_BLN.shape), empty(x_BLD, *into_BLN.shape)
        drate_DN = torch.zeros_like(rate_DN)
        for index in range(len(borders_CBDN) - 1, -1, -1):
            part = slice(index * ctx.size, (index + 1) * ctx.size)
            x_BCD, step_BCD, g_BCD = x_BLD[:, part], step_BLD[:, part], g_BLD[:, part]
            kept_BCDN, h_BCDN = _states(inputs, part, borders_CBDN[index])
            torch.matmul(g_BCD[:, :, None], h_BCDN, out=dout_BLN[:, part, None])
            s_BCDN = g_BCD[..., None] * out_BLN[:, part, None]
            s_BCDN[:, -1] += later_BDN
            run_recurrence(
                kept_BCDN[:, 1:].flatten(2),
                s_BCDN[:, :-1].flatten(2),
                s_BCDN[:, -1].flatten(1),
                s_BCDN[:, :-1].flatten(2),
                last_first=True,
            )
            later_BDN = kept_BCDN[:, 0] * s_BCDN[:, 0]
            torch.matmul((step_BCD * x_BCD)[:, :, None], s_BCDN, out=dinto_BLN[:, part, None])
            du_BCD = (s_BCDN @ into_BLN[:, part, :, None])[..., 0]
            z_BCDN = s_BCDN.mul_(kept_BCDN)
            z_BCDN[:, 1:] *= h_BCDN[:, :-1]
            z_BCDN[:, 0] *= borders_CBDN[index]
            drate_DN += torch.mul(z_BCDN, step_BCD[..., None], out=kept_BCDN).sum((0, 1))
            torch.mul(du_BCD, step_BCD, out=dx_BLD[:, part])
            torch.sum(z_BCDN.mul_(rate_DN), -1, out=dstep_BLD[:, part])
            dstep_BLD[:, part].addcmul_(du_BCD, x_BCD)
        return None, dx_BLD, dstep_BLD, drate_DN, dinto_BLN, dout_BLN, later_BDN


def _states(
    inputs: tuple[Tensor, ...] | list[Tensor], part: slice, h_BDN: Tensor
) -> tuple[Tensor, Tensor]:
    """Decays and states of a chunk, (B, C, D, N)."""
    x_BLD, step_BLD, rate_DN, into_BLN, _, _ = inputs
    step_BCD = step_BLD[:, part]
    kept_BCDN = (step_BCD[..., None] * rate_DN).exp_()
    h_BCDN = (step_BCD * x_BLD[:, part])[..., None] * into_BLN[:, part, None]
    h_BCX = h_BCDN.flatten(2)
    run_recurrence(kept_BCDN.flatten(2), h_BCX, h_BDN.flatten(1), h_BCX, last_first=False)
    return kept_BCDN, h_BCDN


class CompiledScan(torch.autograd.Function):
    """`CompiledScan.apply(keep borders, x, step, rate, into, out, h0)`; differentiable once."""

    @staticmethod
    def forward(ctx: Any, keep: bool, *inputs: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        """Blocks of channels are prepared here, the rest is compiled."""
        from howfar.models.kernels import compiled_selective_scan as loops  # noqa: PLC0415

        x_BLD, _, rate_DN, _, _, h0_BDN = inputs
        batch, length, width = x_BLD.shape
        h0_BKNX = _blocks(h0_BDN, loops.BLOCK)
        chunks = ceil(length / loops.STEPS) if keep else 0
        y_BLD, end_BKNX = empty(x_BLD, *x_BLD.shape), torch.empty_like(h0_BKNX)
        borders = empty(x_BLD, batch, chunks, *h0_BKNX.shape[1:])
        ready = (*inputs[:2], _blocks(rate_DN, loops.BLOCK), *inputs[3:5], h0_BKNX)
        given = tuple(array(x) for x in ready)
        results = (array(y_BLD), array(borders), array(end_BKNX))
        span = _span(batch, h0_BKNX.shape[1])
        items = batch * ceil(h0_BKNX.shape[1] / span)
        in_parts(items, lambda first, last: loops.forward(given, results, span, first, last))
        ctx.save_for_backward(*inputs, borders)
        return y_BLD, _channels(end_BKNX, width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_BLD: Tensor, later_BDN: Tensor) -> Gradients:  # noqa: ANN401
        """The gradients of every block, summed up where blocks share an input."""
        from howfar.models.kernels import compiled_selective_scan as loops  # noqa: PLC0415

        *inputs, borders = ctx.saved_tensors
        x_BLD, _, rate_DN, into_BLN, _, _ = inputs
        batch, _, width = x_BLD.shape
        later_BKNX = _blocks(later_BDN, loops.BLOCK)
        ready = (*inputs[:2], _blocks(rate_DN, loops.BLOCK), *inputs[3:5], later_BKNX)
        span = _span(batch, later_BKNX.shape[1])
        groups = ceil(later_BKNX.shape[1] / span)
        dx_BLD, dstep_BLD = empty(x_BLD, *x_BLD.shape), empty(x_BLD, *x_BLD.shape)
        drate_BKNX = torch.empty_like(later_BKNX)
        dinto_GBLN = empty(x_BLD, groups, *into_BLN.shape)
        dout_GBLN = empty(x_BLD, groups, *into_BLN.shape)
        grads = tuple(
            array(x) for x in (dx_BLD, dstep_BLD, drate_BKNX, dinto_GBLN, dout_GBLN, later_BKNX)
        )
        given, saved = tuple(array(x) for x in ready), (array(borders), array(g_BLD))
        in_parts(
            batch * groups,
            lambda first, last: loops.backward(given, saved, grads, span, first, last),
        )
        drate_DN = _channels(drate_BKNX.sum(0), width)
        dh0_BDN = _channels(later_BKNX, width)
        dinto_BLN, dout_BLN = dinto_GBLN.sum(0), dout_GBLN.sum(0)
        return None, dx_BLD, dstep_BLD, drate_DN, dinto_BLN, dout_BLN, dh0_BDN


def _blocks(states: Tensor, block: int) -> Tensor:
    """(..., D, N) -> (..., K, N, block): channels innermost, the last block filled with zeros."""
    filled = F.pad(states.mT, (0, -states.shape[-2] % block))
    return torch.unflatten(filled, -1, (-1, block)).transpose(-3, -2).contiguous()


def _channels(blocks: Tensor, width: int) -> Tensor:
    """The way back."""
    return blocks.transpose(-3, -2).flatten(-2)[..., :width].mT.contiguous()


def _span(batch: int, blocks: int) -> int:
    """Blocks that walk together: fewer where there are more threads than sequences."""
    return max(1, min(SPAN, batch * blocks // torch.get_num_threads()))


def selective_scan_slow(
    x_BLD: Tensor,
    step_BLD: Tensor,
    rate_DN: Tensor,
    into_BLN: Tensor,
    out_BLN: Tensor,
    h0_BDN: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The slow twin: the equation, one step after another."""
    h_BDN = x_BLD.new_zeros(x_BLD.shape[0], *rate_DN.shape) if h0_BDN is None else h0_BDN
    outputs = []
    steps = zip(*(part.unbind(1) for part in (x_BLD, step_BLD, into_BLN, out_BLN)), strict=True)
    for x_BD, step_BD, into_BN, out_BN in steps:
        kept_BDN = torch.exp(step_BD[..., None] * rate_DN)
        h_BDN = kept_BDN * h_BDN + (step_BD * x_BD)[..., None] * into_BN[:, None]
        outputs.append((h_BDN * out_BN[:, None]).sum(-1))
    return torch.stack(outputs, 1), h_BDN


def selective_scan_flops(length: int, width: int, states: int) -> int:
    """Decay, input and output of every state, a multiply-add each."""
    return 6 * length * width * states
