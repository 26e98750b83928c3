"""The form of a kernel that a graph can hold: for `torch.export` and ONNX, of any length.

Idea     a loop in Python would be unrolled at the length it was traced with. Here every recurrence
         is one operation, `scan`, with its equation inside; nothing depends on a number that is
         only known when the graph runs. Differentiation is not needed and not looked after
Limits   slower than the other forms: the equation step by step
Source   https://docs.pytorch.org/docs/stable/higher_order_ops/scan.html;
         https://onnx.ai/onnx/operators/onnx__Scan.html
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

Parts = tuple[Tensor, ...]
Step = Callable[[Parts, Parts], tuple[Parts, Tensor]]


def walked(step: Step, state: Parts, given: Parts) -> tuple[Parts, Tensor]:
    """The state after the last position, and all answers (B, L, ...).

    Args:
        step: from the state and one position of each of `given` to the next state and an answer.
        state: before the first position.
        given: (B, L, ...) each.
    """

    def once(before: Parts, at: Parts) -> tuple[Parts, Tensor]:
        after, answer = step(before, at)
        # what is carried and what is answered may not share memory
        return tuple(part.clone() for part in after), answer.clone()

    state = tuple(part.clone(memory_format=torch.contiguous_format) for part in state)
    turned = tuple(part.transpose(0, 1).contiguous() for part in given)
    after, answers = _scan(once, state, turned)
    return after, answers.transpose(0, 1)


def _scan(step: Step, state: Parts, given: Parts) -> tuple[Parts, Tensor]:
    """The operation itself, along the first dimension of `given`."""
    from torch._higher_order_ops.scan import scan  # noqa: PLC0415 - only to export

    return cast("tuple[Parts, Tensor]", scan(step, state, given, dim=0))


def linear_recurrence(a_BLD: Tensor, b_BLD: Tensor, h0_BD: Tensor | None) -> Tensor:
    """Real alone."""

    def step(state: Parts, given: Parts) -> tuple[Parts, Tensor]:
        h_BD = given[0] * state[0] + given[1]
        return (h_BD,), h_BD

    h0_BD = torch.zeros_like(b_BLD[:, 0]) if h0_BD is None else h0_BD
    return walked(step, (h0_BD,), (a_BLD.expand_as(b_BLD), b_BLD))[1]


def complex_recurrence(a_N2: Tensor, b_BLN2: Tensor) -> Tensor:
    """h_t = a h_{t-1} + b_t in pairs of real and imaginary part, (B, L, N, 2), from zero."""
    real_N, turned_N = _apart(a_N2)

    def step(state: Parts, given: Parts) -> tuple[Parts, Tensor]:
        before_r, before_i = state[0].unbind(-1)
        h_r = real_N * before_r - turned_N * before_i
        h_i = real_N * before_i + turned_N * before_r
        h_BN2 = torch.stack([h_r, h_i], dim=-1) + given[0]
        return (h_BN2,), h_BN2

    return walked(step, (torch.zeros_like(b_BLN2[:, 0]),), (b_BLN2,))[1]


def diagonal_scan(x_BLD: Tensor, kept_DN2: Tensor, weight_DN2: Tensor) -> Tensor:
    """Y (B, L, D) of states that keep `kept` and are read by `weight`, in pairs, from zero."""
    (kept_r, kept_i), (weight_r, weight_i) = _apart(kept_DN2), _apart(weight_DN2)

    def step(state: Parts, given: Parts) -> tuple[Parts, Tensor]:
        before_r, before_i = state
        h_r = kept_r * before_r - kept_i * before_i + given[0][..., None]
        h_i = kept_r * before_i + kept_i * before_r
        return (h_r, h_i), (weight_r * h_r - weight_i * h_i).sum(-1)

    zero_BDN = torch.zeros_like(x_BLD[:, 0, :, None] * kept_r)
    return walked(step, (zero_BDN, zero_BDN), (x_BLD,))[1]


def _apart(pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Both parts, each with memory of its own, as a step may not share any."""
    return pairs[..., 0].clone(), pairs[..., 1].clone()


def running_maximum(x_BLD: Tensor) -> Tensor:
    """The largest so far, where nothing is below 0."""

    def step(state: Parts, given: Parts) -> tuple[Parts, Tensor]:
        best_BD = torch.maximum(state[0], given[0])
        return (best_BD,), best_BD

    return walked(step, (torch.zeros_like(x_BLD[:, 0]),), (x_BLD,))[1]


def indrnn_scan(p_LBD: Tensor, u_D: Tensor, h0_BD: Tensor, activation: str) -> Tensor:
    """As the kernel of this name: h_t = f(p_t + u h_{t-1}), element by element, (L, B, D)."""

    def step(state: Parts, given: Parts) -> tuple[Parts, Tensor]:
        sum_BD = given[0] + u_D * state[0]
        h_BD = sum_BD.relu() if activation == "relu" else sum_BD.tanh()
        return (h_BD,), h_BD

    return walked(step, (h0_BD,), (p_LBD.transpose(0, 1),))[1].transpose(0, 1)


def gated_linear_attention(
    q_BHLK: Tensor,
    k_BHLK: Tensor,
    v_BHLV: Tensor,
    log_decay: Tensor | None,
    state_BHKV: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """As the kernel of this name."""
    if log_decay is None:
        log_decay = torch.zeros_like(k_BHLK[..., :1])
    elif log_decay.ndim == 3:
        log_decay = log_decay[..., None]

    def step(state: Parts, given: Parts) -> tuple[Parts, Tensor]:
        q_BHK, k_BHK, v_BHV, log_BHK = given
        s_BHKV = log_BHK.exp()[..., None] * state[0] + k_BHK[..., None] * v_BHV[:, :, None]
        return (s_BHKV,), (q_BHK[:, :, None] @ s_BHKV)[:, :, 0]

    return _states(step, (q_BHLK, k_BHLK, v_BHLV, log_decay), state_BHKV)


def delta_rule(
    q_BHLK: Tensor,
    k_BHLK: Tensor,
    v_BHLV: Tensor,
    beta_BHL: Tensor,
    log_decay_BHL: Tensor | None,
    state_BHKV: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """As the kernel of this name."""
    if log_decay_BHL is None:
        log_decay_BHL = torch.zeros_like(beta_BHL)

    def step(state: Parts, given: Parts) -> tuple[Parts, Tensor]:
        q_BHK, k_BHK, v_BHV, beta_BH1, log_BH1 = given
        s_BHKV = log_BH1.exp()[..., None] * state[0]
        held_BHV = (k_BHK[:, :, None] @ s_BHKV)[:, :, 0]
        new_BHV = beta_BH1 * (v_BHV - held_BHV)
        s_BHKV = s_BHKV + k_BHK[..., None] * new_BHV[:, :, None]
        return (s_BHKV,), (q_BHK[:, :, None] @ s_BHKV)[:, :, 0]

    given = (q_BHLK, k_BHLK, v_BHLV, beta_BHL[..., None], log_decay_BHL[..., None])
    return _states(step, given, state_BHKV)


def _states(step: Step, given: Parts, state_BHKV: Tensor | None) -> tuple[Tensor, Tensor]:
    """(B, H, L, V) and the last state of a step with a matrix for each head."""
    k_BHK, v_BHV = given[1][:, :, 0], given[2][:, :, 0]
    if state_BHKV is None:
        state_BHKV = torch.zeros_like(k_BHK[..., None] * v_BHV[:, :, None])
    (after_BHKV,), y_BLHV = walked(step, (state_BHKV,), tuple(x.transpose(1, 2) for x in given))
    return y_BLHV.transpose(1, 2), after_BHKV


def selective_scan(
    x_BLD: Tensor, step_BLD: Tensor, rate_DN: Tensor, into_BLN: Tensor, out_BLN: Tensor
) -> tuple[Tensor, Tensor]:
    """As the kernel of this name, from zero."""

    def step(state: Parts, given: Parts) -> tuple[Parts, Tensor]:
        x_BD, step_BD, into_BN, out_BN = given
        kept_BDN = torch.exp(step_BD[..., None] * rate_DN)
        h_BDN = kept_BDN * state[0] + (step_BD * x_BD)[..., None] * into_BN[:, None]
        return (h_BDN,), (h_BDN * out_BN[:, None]).sum(-1)

    zero_BDN = torch.zeros_like(x_BLD[:, 0, :, None] * rate_DN)
    (after_BDN,), y_BLD = walked(step, (zero_BDN,), (x_BLD, step_BLD, into_BLN, out_BLN))
    return y_BLD, after_BDN


def short_convolution(
    x_BLD: Tensor, weight_KD: Tensor, bias_D: Tensor | None
) -> tuple[Tensor, Tensor]:
    """As the kernel of this name, behind zeros."""
    taps, length = weight_KD.shape[0], x_BLD.shape[1]
    joined_BLD = F.pad(x_BLD, (0, 0, taps - 1, 0))
    y_BLD = joined_BLD[:, :length] * weight_KD[0]
    for tap in range(1, taps):
        y_BLD = y_BLD + joined_BLD[:, tap : tap + length] * weight_KD[tap]
    return y_BLD if bias_D is None else y_BLD + bias_D, joined_BLD[:, length:]


def long_convolution(x_BLD: Tensor, filter_LD: Tensor) -> Tensor:
    """As the kernel of this name, position by position, each with all before it: (B, L, D)."""
    place_L = torch.arange(x_BLD.shape[1], device=x_BLD.device)

    def step(state: Parts, given: Parts) -> tuple[Parts, Tensor]:
        lag_L = state[0] - place_L
        taps_LD = filter_LD.index_select(0, lag_L.clamp(min=0)) * (lag_L >= 0)[:, None]
        return (state[0] + 1,), (x_BLD * taps_LD).sum(1)

    return walked(step, (torch.zeros_like(place_L[:1]),), (x_BLD,))[1]
