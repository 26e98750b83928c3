"""The gated delta rule: what a key held is taken away before the new value is written.

Idea     S_t = exp(g_t) (1 - b_t k_t k_t') S_{t-1} + b_t k_t v_t', y_t = S_t' q_t, in chunks: what
         token t writes, u_t = b_t (v_t - what k_t held), depends on u_s of s < t and on the state
         before the chunk, (1 + M) u = b (v - k decay S) with M_ts = b_t k_t k_s decay_{s to t}.
         The inverse of the triangle is found for all chunks at once, then u and S go from chunk
         to chunk. Going back the chunks are worked out again from the state before their segment
Shapes   q, k (B, H, L, K), v (B, H, L, V), b and g <= 0 (B, H, L), S (B, H, K, V) ->
         y (B, H, L, V) and the last S
Limits   keys are taken as they are. A step multiplies what lies along k by 1 - b |k|^2: where
         b |k|^2 is above 2 and nothing fades the state grows without bound, here as in the
         equation, and rounding errors with it; with |k| = 1 and b in [0, 2] what is held never
         grows. Gradients cannot be differentiated again
Gain     forward and backward, one thread, L=4096, heads of 32 and 64: 60 times the slow twin and 6
         to 10 times causal softmax attention
Source   Yang et al. 2024, https://arxiv.org/abs/2406.06484, section 3; with decay Yang, Kautz &
         Hatamizadeh 2024, https://arxiv.org/abs/2412.06464, section 3.3
"""

from typing import Any, cast

import torch
from torch import Tensor

from howfar.models.kernels import graph
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

Given = tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]


def delta_rule(
    q_BHLK: Tensor,
    k_BHLK: Tensor,
    v_BHLV: Tensor,
    beta_BHL: Tensor,
    log_decay_BHL: Tensor | None = None,
    state_BHKV: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Y (B, H, L, V), of the type of v, and the last state (B, H, K, V), float32 at least.

    Raises:
        UsageError: E-SHAPE for a state that does not fit.
    """
    if as_graph():
        return graph.delta_rule(q_BHLK, k_BHLK, v_BHLV, beta_BHL, log_decay_BHL, state_BHKV)
    dtype = v_BHLV.dtype
    wide = widened((q_BHLK, k_BHLK, v_BHLV, beta_BHL, log_decay_BHL, state_BHKV))
    if state_BHKV is not None:
        shape = (*k_BHLK.shape[:2], k_BHLK.shape[-1], v_BHLV.shape[-1])
        fits("the state", cast("Tensor", wide[-1]), shape, cast("Tensor", wide[0]))
    with without_autocast(q_BHLK):
        y_BHLV, last_BHKV = _widened(*cast("Given", wide[:5]), wide[5])
    return y_BHLV.to(dtype), last_BHKV


def _widened(
    q_BHLK: Tensor,
    k_BHLK: Tensor,
    v_BHLV: Tensor,
    beta_BHL: Tensor,
    log_decay_BHL: Tensor | None,
    state_BHKV: Tensor | None,
) -> tuple[Tensor, Tensor]:
    if k_BHLK.shape[2] == 1 or k_BHLK.shape[0] == 0:
        return delta_rule_slow(q_BHLK, k_BHLK, v_BHLV, beta_BHL, log_decay_BHL, state_BHKV)
    shape = (*k_BHLK.shape[:2], k_BHLK.shape[-1], v_BHLV.shape[-1])
    state_BHKV = k_BHLK.new_zeros(shape) if state_BHKV is None else state_BHKV
    beta_BHL = beta_BHL.expand(k_BHLK.shape[:3])
    if log_decay_BHL is not None:
        log_decay_BHL = log_decay_BHL.expand(k_BHLK.shape[:3])
    given = (q_BHLK, k_BHLK, v_BHLV, beta_BHL, log_decay_BHL, state_BHKV)
    y_BHLV, last_BHKV = _Chunked.apply(*given)  # type: ignore[no-untyped-call]
    return y_BHLV, last_BHKV


def delta_rule_slow(
    q_BHLK: Tensor,
    k_BHLK: Tensor,
    v_BHLV: Tensor,
    beta_BHL: Tensor,
    log_decay_BHL: Tensor | None = None,
    state_BHKV: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The slow twin: the equation, one step after another."""
    shape = (*k_BHLK.shape[:2], k_BHLK.shape[-1], v_BHLV.shape[-1])
    state_BHKV = k_BHLK.new_zeros(shape) if state_BHKV is None else state_BHKV
    outputs = []
    for t in range(k_BHLK.shape[2]):
        if log_decay_BHL is not None:
            state_BHKV = log_decay_BHL[:, :, t, None, None].exp() * state_BHKV
        k_BHK = k_BHLK[:, :, t]
        held_BHV = (k_BHK[:, :, None] @ state_BHKV)[:, :, 0]
        new_BHV = beta_BHL[:, :, t, None] * (v_BHLV[:, :, t] - held_BHV)
        state_BHKV = state_BHKV + k_BHK[..., None] * new_BHV[:, :, None]
        outputs.append((q_BHLK[:, :, t, None] @ state_BHKV)[:, :, 0])
    return torch.stack(outputs, 2), state_BHKV


def delta_rule_flops(length: int, heads: int, key: int, value: int) -> int:
    """Decay, reading by the key, writing and reading by the query, a multiply-add each."""
    return 8 * length * heads * key * value


class _Weighed:
    """The chunks of a segment: all that does not depend on the state."""

    def __init__(self, part: Segment, given: Given) -> None:
        q_MCK, k_MCK, v_MCV, beta_MC = (part.cut(x) for x in given[:4])
        self.q_MCK, self.k_MCK, self.v_MCV, self.beta_MC1 = q_MCK, k_MCK, v_MCV, beta_MC[..., None]
        if given[4] is None:
            self.pairs_MCC = k_MCK.new_ones(1, part.size, part.size).tril_()
            self.before_MC1 = k_MCK.new_ones(1, part.size, 1)
        else:
            self.pairs_MCC, self.before_MC1 = pair_decay(part.cut(given[4]))
        self.after_MC1 = self.pairs_MCC[:, -1, :, None]
        self.kept_M11 = self.before_MC1[:, -1:].expand(len(k_MCK), 1, 1)
        self.scores_MCC = (q_MCK @ k_MCK.mT).mul_(self.pairs_MCC)
        self.alike_MCC = (k_MCK @ k_MCK.mT).mul_(self.pairs_MCC)
        self.reader_MCK, self.writer_MCK = q_MCK * self.before_MC1, k_MCK * self.after_MC1
        one_CC = torch.eye(part.size, dtype=k_MCK.dtype, device=k_MCK.device)
        self.inverse_MCC = torch.linalg.solve_triangular(
            self.alike_MCC * self.beta_MC1,
            one_CC.expand_as(self.alike_MCC),
            upper=False,
            unitriangular=True,
        )
        self.eraser_MCK = self.inverse_MCC @ (k_MCK * (self.beta_MC1 * self.before_MC1))

    def steps(self, new_MCV: Tensor, states_GNKV: Tensor) -> list[tuple[Tensor, ...]]:
        """Chunk by chunk: new, eraser, writer, kept, the states before and after."""
        parts = (new_MCV, self.eraser_MCK, self.writer_MCK, self.kept_M11)
        turns = (x.view(len(states_GNKV) - 1, -1, *x.shape[1:]).unbind() for x in parts)
        return list(zip(*turns, states_GNKV[:-1], states_GNKV[1:], strict=True))

    def write(self, first_NKV: Tensor, many: int) -> tuple[Tensor, Tensor]:
        """U (M, C, V) and the states before all chunks and after the last, (M + 1, N, K, V)."""
        new_MCV = self.inverse_MCC @ (self.v_MCV * self.beta_MC1)
        states_GNKV = first_NKV.new_empty(many + 1, *first_NKV.shape)
        states_GNKV[0] = first_NKV
        for new, eraser, writer, kept, before, after in self.steps(new_MCV, states_GNKV):
            new.baddbmm_(eraser, before, alpha=-1)
            torch.mul(before, kept, out=after).baddbmm_(writer.mT, new)
        return new_MCV, states_GNKV

    def gradients(
        self,
        dy_MCV: Tensor,
        new: tuple[Tensor, Tensor],
        states: tuple[Tensor, Tensor],
        *,
        learn: bool,
    ) -> list[Tensor]:
        """Those of q, k, v, beta and, where they `learn`, the logs.

        new: u and its gradient, (M, C, V) each; states: those before the chunks, and the gradients
        of those after them, (M, K, V) each.
        """
        (new_MCV, dnew_MCV), (before_MKV, dafter_MKV) = new, states
        dright_MCV = self.inverse_MCC.mT @ dnew_MCV
        dsystem_MCC = (dright_MCV @ new_MCV.mT).neg_().tril_(-1)
        dscores_MCC = dy_MCV @ new_MCV.mT
        dreader_MCK, dwriter_MCK = dy_MCV @ before_MKV.mT, new_MCV @ dafter_MKV.mT
        dheld_MCK = (dright_MCV @ before_MKV.mT).neg_().mul_(self.before_MC1)
        held_MC = (dheld_MCK * self.k_MCK).sum(-1)
        dbeta_MC = (dright_MCV * self.v_MCV).sum(-1).add_(held_MC)
        dbeta_MC.add_((dsystem_MCC * self.alike_MCC).sum(-1))
        dsystem_MCC.mul_(self.beta_MC1)
        logs = []
        if learn:
            dlog_MC = pair_decay_gradient(
                (dscores_MCC * self.scores_MCC).addcmul_(dsystem_MCC, self.alike_MCC),
                (dreader_MCK * self.reader_MCK).sum(-1).addcmul_(held_MC, self.beta_MC1[..., 0]),
                (dwriter_MCK * self.writer_MCK).sum(-1),
                (before_MKV * dafter_MKV).sum((1, 2)).mul_(self.kept_M11[:, 0, 0]),
            )
            logs.append(dlog_MC)
        dscores_MCC.mul_(self.pairs_MCC)
        dsystem_MCC.mul_(self.pairs_MCC)
        dq_MCK = dreader_MCK.mul_(self.before_MC1).baddbmm_(dscores_MCC, self.k_MCK)
        dk_MCK = dwriter_MCK.mul_(self.after_MC1).addcmul_(dheld_MCK, self.beta_MC1)
        dk_MCK.baddbmm_(dscores_MCC.mT, self.q_MCK)
        dk_MCK.baddbmm_(dsystem_MCC + dsystem_MCC.mT, self.k_MCK)
        return [dq_MCK, dk_MCK, dright_MCV.mul_(self.beta_MC1), dbeta_MC, *logs]


def _forward(given: Given, state_BHKV: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs, the last state, and the states before all segments and after the last."""
    y_BHLV = torch.empty_like(given[2])
    between = [state_BHKV.flatten(0, 1)]
    for part in segments(given[1], given[2]):
        weighed = _Weighed(part, given)
        new_MCV, states_GNKV = weighed.write(between[-1], part.many)
        y_MCV = weighed.scores_MCC @ new_MCV
        part.paste(y_MCV.baddbmm_(weighed.reader_MCK, states_GNKV[:-1].flatten(0, 1)), y_BHLV)
        between.append(states_GNKV[-1].clone())
    return y_BHLV, between[-1].clone().view(state_BHKV.shape), torch.stack(between)


class _Chunked(torch.autograd.Function):
    """Saves the inputs and the states between segments."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        """The inputs of `delta_rule`."""
        y_BHLV, last_BHKV, between_SNKV = _forward(given[:5], given[5])
        ctx.save_for_backward(*given[:5], between_SNKV)
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
        learn = ctx.needs_input_grad[4]
        grads = [torch.empty_like(x) for x in (given if learn else given[:4])]
        later_NKV = dlast_BHKV.flatten(0, 1)
        parts = zip(segments(given[1], given[2]), between_SNKV[:-1], strict=True)
        for part, first_NKV in reversed(list(parts)):
            weighed, dy_MCV = _Weighed(part, given), part.cut(dy_BHLV)
            new_MCV, states_GNKV = weighed.write(first_NKV, part.many)
            dnew_MCV = weighed.scores_MCC.mT @ dy_MCV
            dstates_GNKV = torch.empty_like(states_GNKV)
            dstates_GNKV[-1] = later_NKV
            torch.bmm(weighed.reader_MCK.mT, dy_MCV, out=dstates_GNKV[:-1].flatten(0, 1))
            steps = weighed.steps(dnew_MCV, dstates_GNKV)
            for dnew, eraser, writer, kept, dbefore, dafter in reversed(steps):
                dnew.baddbmm_(writer, dafter)
                dbefore.addcmul_(dafter, kept).baddbmm_(eraser.mT, dnew, alpha=-1)
            states = (states_GNKV[:-1].flatten(0, 1), dstates_GNKV[1:].flatten(0, 1))
            found = weighed.gradients(dy_MCV, (new_MCV, dnew_MCV), states, learn=learn)
            for piece, grad in zip(found, grads, strict=True):
                part.paste(piece, grad)
            later_NKV = dstates_GNKV[0]
        dlog_decay = grads[4] if learn else None
        return *grads[:4], dlog_decay, later_NKV.view(dlast_BHKV.shape)
