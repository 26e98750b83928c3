"""Gated linear attention: a state of keys times values that fades and is read by the query.

Idea     S_t = diag(exp(g_t)) S_{t-1} + k_t v_t', y_t = S_t' q_t, in chunks: within a chunk
         y = A v with A_ts = sum_i q_ti k_si exp(g_{s+1,i} + .. + g_ti) for s <= t; the chunk's
         keys and values reach later chunks through S alone. Going back the chunks are worked out
         again from the state before their segment
Shapes   q, k (B, H, L, K), v (B, H, L, V), g <= 0: none, (B, H, L) one number a head or
         (B, H, L, K) one a channel; S (B, H, K, V) -> y (B, H, L, V) and the last S
Limits   beyond inputs, outputs and gradients the memory is that of one segment of `chunks` and a
         state a segment; gradients cannot be differentiated again
Gain     forward and backward, one thread, L=4096, heads of 32 and 64: 80 to 130 times the slow
         twin and 11 to 20 times causal softmax attention; one decay a channel 80 and 7 times
Source   Katharopoulos et al. 2020, https://arxiv.org/abs/2006.16236, section 3.3; Yang et al.
         2023, https://arxiv.org/abs/2312.06635, section 4
"""

from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor

from howfar.models.kernels import graph
from howfar.models.kernels.channel_decay import ChannelDecay
from howfar.models.kernels.choice import as_graph
from howfar.models.kernels.chunks import (
    Segment,
    pair_decay,
    pair_decay_gradient,
    segments,
)
from howfar.models.kernels.once import once_differentiable
from howfar.models.kernels.precision import widened, without_autocast
from howfar.models.kernels.shapes import fits

Given = tuple[Tensor, Tensor, Tensor, Tensor | None]


def gated_linear_attention(
    q_BHLK: Tensor,
    k_BHLK: Tensor,
    v_BHLV: Tensor,
    log_decay: Tensor | None = None,
    state_BHKV: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Y (B, H, L, V), of the type of v, and the last state (B, H, K, V), float32 at least.

    log_decay: g <= 0, (B, H, L) one number a head, (B, H, L, K) one a channel; None: 0.

    Raises:
        UsageError: E-SHAPE for a state that does not fit.
    """
    if as_graph():
        return graph.gated_linear_attention(q_BHLK, k_BHLK, v_BHLV, log_decay, state_BHKV)
    dtype = v_BHLV.dtype
    wide = widened((q_BHLK, k_BHLK, v_BHLV, log_decay, state_BHKV))
    if state_BHKV is not None:
        shape = (*k_BHLK.shape[:2], k_BHLK.shape[-1], v_BHLV.shape[-1])
        fits("the state", cast("Tensor", wide[-1]), shape, cast("Tensor", wide[0]))
    with without_autocast(q_BHLK):
        y_BHLV, last_BHKV = _widened(*cast("Given", wide[:4]), wide[4])
    return y_BHLV.to(dtype), last_BHKV


def _widened(
    q_BHLK: Tensor,
    k_BHLK: Tensor,
    v_BHLV: Tensor,
    log_decay: Tensor | None,
    state_BHKV: Tensor | None,
) -> tuple[Tensor, Tensor]:
    if k_BHLK.shape[2] == 1 or k_BHLK.shape[0] == 0:
        return gated_linear_attention_slow(q_BHLK, k_BHLK, v_BHLV, log_decay, state_BHKV)
    shape = (*k_BHLK.shape[:2], k_BHLK.shape[-1], v_BHLV.shape[-1])
    state_BHKV = k_BHLK.new_zeros(shape) if state_BHKV is None else state_BHKV
    if log_decay is not None:
        log_decay = log_decay.expand(k_BHLK.shape[: log_decay.ndim])
    given = (q_BHLK, k_BHLK, v_BHLV, log_decay, state_BHKV)
    y_BHLV, last_BHKV = _Chunked.apply(*given)  # type: ignore[no-untyped-call]
    return y_BHLV, last_BHKV


def gated_linear_attention_slow(
    q_BHLK: Tensor,
    k_BHLK: Tensor,
    v_BHLV: Tensor,
    log_decay: Tensor | None = None,
    state_BHKV: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The slow twin: the equation, one step after another."""
    shape = (*k_BHLK.shape[:2], k_BHLK.shape[-1], v_BHLV.shape[-1])
    state_BHKV = k_BHLK.new_zeros(shape) if state_BHKV is None else state_BHKV
    if log_decay is not None and log_decay.ndim == 3:
        log_decay = log_decay[..., None]
    outputs = []
    for t in range(k_BHLK.shape[2]):
        if log_decay is not None:
            state_BHKV = log_decay[:, :, t].exp()[..., None] * state_BHKV
        state_BHKV = state_BHKV + k_BHLK[:, :, t, :, None] * v_BHLV[:, :, t, None]
        outputs.append((q_BHLK[:, :, t, None] @ state_BHKV)[:, :, 0])
    return torch.stack(outputs, 2), state_BHKV


def gated_linear_attention_flops(length: int, heads: int, key: int, value: int) -> int:
    """Decay, writing and reading of the state, a multiply-add each."""
    return 6 * length * heads * key * value


class _NoDecay:
    """A = lower triangle of q k'; queries, keys and state as they are."""

    def __init__(self, q_MCK: Tensor, k_MCK: Tensor) -> None:
        self.scores_MCC = (q_MCK @ k_MCK.mT).tril_()
        self.reader_MCK, self.writer_MCK = q_MCK, k_MCK
        self.kept: Tensor | None = None

    def gradients(
        self, dscores_MCC: Tensor, dreader_MCK: Tensor, dwriter_MCK: Tensor, dkept: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Those of q and k, written over those of reader and writer."""
        dscores_MCC.tril_()
        dq_MCK = dreader_MCK.baddbmm_(dscores_MCC, self.writer_MCK)
        return dq_MCK, dwriter_MCK.baddbmm_(dscores_MCC.mT, self.reader_MCK)


class _HeadDecay:
    """A = q k' times the decays between tokens."""

    def __init__(self, q_MCK: Tensor, k_MCK: Tensor, log_MC: Tensor) -> None:
        self.q_MCK, self.k_MCK = q_MCK, k_MCK
        self.pairs_MCC, self.before_MC1 = pair_decay(log_MC)
        self.after_MC1 = self.pairs_MCC[:, -1, :, None]
        self.scores_MCC = (q_MCK @ k_MCK.mT).mul_(self.pairs_MCC)
        self.reader_MCK, self.writer_MCK = q_MCK * self.before_MC1, k_MCK * self.after_MC1
        self.kept: Tensor | None = self.before_MC1[:, -1:]

    def gradients(
        self, dscores_MCC: Tensor, dreader_MCK: Tensor, dwriter_MCK: Tensor, dkept: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Those of q and k, and of the logs where that of the log of `kept` is given."""
        logs = []
        if dkept is not None:
            dlog_MC = pair_decay_gradient(
                dscores_MCC * self.scores_MCC,
                (dreader_MCK * self.reader_MCK).sum(-1),
                (dwriter_MCK * self.writer_MCK).sum(-1),
                dkept.sum((-2, -1)),
            )
            logs.append(dlog_MC)
        dscores_MCC.mul_(self.pairs_MCC)
        dq_MCK = dreader_MCK.mul_(self.before_MC1).baddbmm_(dscores_MCC, self.k_MCK)
        dk_MCK = dwriter_MCK.mul_(self.after_MC1).baddbmm_(dscores_MCC.mT, self.q_MCK)
        return dq_MCK, dk_MCK, *logs


Weighed = _NoDecay | _HeadDecay | ChannelDecay


def _weigh(part: Segment, given: Given, *, learn: bool) -> Weighed:
    """The chunks of a segment: scores within, what reads the state and what writes it."""
    q_MCK, k_MCK, log_decay = part.cut(given[0]), part.cut(given[1]), given[3]
    if log_decay is None:
        return _NoDecay(q_MCK, k_MCK)
    if log_decay.ndim == 3:
        return _HeadDecay(q_MCK, k_MCK, part.cut(log_decay))
    return ChannelDecay(q_MCK, k_MCK, part.cut(log_decay), learn=learn)


def _left(weighed: Weighed, many: int) -> list[Tensor | None]:
    """What each chunk leaves of the state; None: all."""
    if weighed.kept is None:
        return [None] * many
    return list(weighed.kept.view(many, -1, *weighed.kept.shape[1:]))


def _accumulate(sums: list[Tensor], left: list[Tensor | None]) -> None:
    """Add to every (N, K, V) but the first what is left of the one before it."""
    for (before_NKV, sum_NKV), left_NX1 in zip(pairwise(sums), left, strict=True):
        if left_NX1 is None:
            sum_NKV.add_(before_NKV)
        else:
            sum_NKV.addcmul_(before_NKV, left_NX1)


def _states(weighed: Weighed, v_MCV: Tensor, first_NKV: Tensor, many: int) -> Tensor:
    """The states before all chunks of a segment and after the last, (M + 1, N, K, V)."""
    states_GNKV = first_NKV.new_empty(many + 1, *first_NKV.shape)
    states_GNKV[0] = first_NKV
    torch.bmm(weighed.writer_MCK.mT, v_MCV, out=states_GNKV[1:].flatten(0, 1))
    _accumulate(list(states_GNKV), _left(weighed, many))
    return states_GNKV


def _forward(given: Given, state_BHKV: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs, the last state, and the states before all segments and after the last."""
    y_BHLV = torch.empty_like(given[2])
    between = [state_BHKV.flatten(0, 1)]
    for part in segments(given[1], given[2]):
        weighed, v_MCV = _weigh(part, given, learn=False), part.cut(given[2])
        states_GNKV = _states(weighed, v_MCV, between[-1], part.many)
        y_MCV = weighed.scores_MCC @ v_MCV
        part.paste(y_MCV.baddbmm_(weighed.reader_MCK, states_GNKV[:-1].flatten(0, 1)), y_BHLV)
        between.append(states_GNKV[-1].clone())
    return y_BHLV, between[-1].clone().view(state_BHKV.shape), torch.stack(between)


class _Chunked(torch.autograd.Function):
    """Saves the inputs and the states between segments."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        """The inputs of `gated_linear_attention`."""
        y_BHLV, last_BHKV, between_SNKV = _forward(given[:4], given[4])
        ctx.save_for_backward(*given[:4], between_SNKV)
        return y_BHLV, last_BHKV

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # noqa: ANN401
        dy_BHLV: Tensor,
        dlast_BHKV: Tensor,
    ) -> tuple[Tensor | None, ...]:
        """Segment by segment from the last; a gradient of the logs only where it is asked for."""
        *given, between_SNKV = ctx.saved_tensors
        learn = ctx.needs_input_grad[3]
        grads = [torch.empty_like(x) for x in (given if learn else given[:3])]
        later_NKV = dlast_BHKV.flatten(0, 1)
        parts = zip(segments(given[1], given[2]), between_SNKV[:-1], strict=True)
        for part, first_NKV in reversed(list(parts)):
            weighed = _weigh(part, given, learn=True)
            v_MCV, dy_MCV = part.cut(given[2]), part.cut(dy_BHLV)
            before_MKV = _states(weighed, v_MCV, first_NKV, part.many)[:-1].flatten(0, 1)
            dstates_GNKV = later_NKV.new_empty(part.many + 1, *later_NKV.shape)
            dstates_GNKV[-1] = later_NKV
            torch.bmm(weighed.reader_MCK.mT, dy_MCV, out=dstates_GNKV[:-1].flatten(0, 1))
            _accumulate(list(dstates_GNKV)[::-1], _left(weighed, part.many)[::-1])
            dafter_MKV, later_NKV = dstates_GNKV[1:].flatten(0, 1), dstates_GNKV[0]
            dkept = None
            if learn and weighed.kept is not None:
                dkept = (before_MKV * dafter_MKV).sum(-1, keepdim=True).mul_(weighed.kept)
            dv_MCV = weighed.scores_MCC.mT @ dy_MCV
            dv_MCV.baddbmm_(weighed.writer_MCK, dafter_MKV)
            dq_MCK, dk_MCK, *logs = weighed.gradients(
                dy_MCV @ v_MCV.mT, dy_MCV @ before_MKV.mT, v_MCV @ dafter_MKV.mT, dkept
            )
            for piece, grad in zip((dq_MCK, dk_MCK, dv_MCV, *logs), grads, strict=True):
                part.paste(piece, grad)
        dlog_decay = grads[3] if learn else None
        return *grads[:3], dlog_decay, later_NKV.view(dlast_BHKV.shape)
