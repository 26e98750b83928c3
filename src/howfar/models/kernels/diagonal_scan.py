"""Many complex states a channel, the same law at every step: h_t = exp(r) h_{t-1} + x_t.

Idea     y_t = Re sum_n w_n h_tn. In blocks of T positions three products do the work: what a block
         adds to its last state, one step a block between these states, and the block's outputs
         from its first state and from its own inputs by the taps Re sum_n w_n exp(r_n s), s < T.
         Nothing of length times states is ever held, and no rounding reaches an earlier position,
         as it would through a Fourier transform of the whole text
Shapes   x (B, L, D), r and w (D, N) complex, h_0 (B, D, N) complex -> y (B, L, D), h_L (B, D, N)
Limits   Re r <= 0, so that no power exceeds 1. Gradients are those of the products
Source   Gu, Gupta, Goel & Re 2022, https://arxiv.org/abs/2206.11893, section 3 (the taps); blocks
         as in Dao & Gu 2024, https://arxiv.org/abs/2405.21060, section 6, for a constant decay
"""

from math import ceil

import torch
from torch import Tensor
from torch.nn import functional as F

from howfar.models.kernels.linear_recurrence import linear_recurrence
from howfar.models.kernels.precision import without_autocast

FINE = 8  # powers
BLOCK = 64  # 2 T of taps and 8 N of states cost about the same a position at 32 states


def diagonal_scan(
    x_BLD: Tensor, rate_DN: Tensor, weight_DN: Tensor, h0_BDN: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Y (B, L, D), real, of the type of x, and the last state (B, D, N).

    rate_DN: the logarithm of what a step keeps; weight_DN: how a state is read; h0_BDN: None: 0.
    """
    x_DBL = x_BLD.permute(2, 0, 1).to(weight_DN.real.dtype)
    length = x_BLD.shape[1]
    h_DBN = None if h0_BDN is None else h0_BDN.transpose(0, 1)
    parts = []
    # the rest behind the last full block is a block by itself: padding would decay the last state
    for part_DBL in torch.split(x_DBL, [length - length % BLOCK, length % BLOCK], dim=2):
        if part_DBL.shape[2] > 0:
            with without_autocast(x_BLD):
                y_DBL, h_DBN = _in_blocks(part_DBL, rate_DN, weight_DN, h_DBN)
            parts.append(y_DBL)
    assert h_DBN is not None  # a text has at least one position
    y_DBL = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
    return y_DBL.permute(1, 2, 0).to(x_BLD.dtype), h_DBN.transpose(0, 1)


def _in_blocks(
    x_DBL: Tensor, rate_DN: Tensor, weight_DN: Tensor, h0_DBN: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The outputs and the last state of a whole number of blocks, or of one shorter than a block.

    R stands for the rows of all blocks, of every sequence; X for the two parts of N numbers.
    """
    width, batch, length = x_DBL.shape
    states, size = rate_DN.shape[1], min(BLOCK, length)
    power_DTN = _powers(rate_DN, size + 1)
    into_DTX = torch.view_as_real(power_DTN[:, :-1].flip(1)).flatten(2)
    read_DTN = weight_DN[:, None] * power_DTN
    out_DXT = torch.view_as_real(read_DTN[:, 1:].conj_physical()).flatten(2).mT

    x_DRT = x_DBL.reshape(width, -1, size)
    added_DRX = x_DRT @ into_DTX
    added_SQN = torch.view_as_complex(added_DRX.view(width * batch, -1, states, 2))
    kept_S1N = power_DTN[:, -1].repeat_interleave(batch, dim=0)[:, None]
    h0_SN = added_SQN.new_zeros(width * batch, states) if h0_DBN is None else h0_DBN.flatten(0, 1)
    last_SQN = linear_recurrence(kept_S1N, added_SQN, h0_SN)
    first_SQN = torch.cat([h0_SN[:, None], last_SQN[:, :-1]], dim=1)
    first_DRX = torch.view_as_real(first_SQN).view(width, -1, 2 * states)

    y_DRT = torch.baddbmm(x_DRT @ _toeplitz(read_DTN[:, :-1].sum(-1).real), first_DRX, out_DXT)
    return y_DRT.view(width, batch, length), last_SQN[:, -1].view(width, batch, states)


def _powers(rate_DN: Tensor, count: int) -> Tensor:
    """exp(r t) for t < count, (D, T, N): products of few exponentials, as complex ones are slow."""
    place_P = torch.arange(max(FINE, ceil(count / FINE)), device=rate_DN.device)
    fine_DPN = torch.exp(rate_DN[:, None] * place_P[:FINE, None])
    coarse_DPN = torch.exp(FINE * rate_DN[:, None] * place_P[: ceil(count / FINE), None])
    return (coarse_DPN[:, :, None] * fine_DPN[:, None]).flatten(1, 2)[:, :count]


def _toeplitz(tap_DT: Tensor) -> Tensor:
    """(D, T, T): from the input at s to the output at t, tap t - s; nothing where s > t."""
    size = tap_DT.shape[1]
    return F.pad(tap_DT, (size - 1, 0)).unfold(1, size, 1).flip(1)


def diagonal_scan_slow(
    x_BLD: Tensor, rate_DN: Tensor, weight_DN: Tensor, h0_BDN: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The slow twin: the equation, one step after another."""
    kept_DN = rate_DN.exp()
    h_BDN = rate_DN.new_zeros(x_BLD.shape[0], *rate_DN.shape) if h0_BDN is None else h0_BDN
    outputs = []
    for x_BD in x_BLD.unbind(1):
        h_BDN = kept_DN * h_BDN + x_BD[..., None]
        outputs.append((weight_DN * h_BDN).sum(-1).real)
    return torch.stack(outputs, 1).to(x_BLD.dtype), h_BDN


def diagonal_scan_flops(length: int, width: int, states: int) -> int:
    """A complex multiply-add a state (8) and the real part of a complex product (4)."""
    return 12 * length * width * states
