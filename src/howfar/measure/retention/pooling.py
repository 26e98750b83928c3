"""Which positions a pooling lets through.

Idea     a maximum over time passes one position a filter and window; a position survives if at
         least one filter chose it. A filter that answers the same at every position of a window
         (a ReLU that stays at 0) chose none: it is idle. An average lets everything through
Ties     the first position wins, as in torch
Shapes   activations (B, T, F), chosen (B, T), idle (B, windows, F)
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from howfar.core.errors import DataError

MAXIMA = (nn.MaxPool1d, nn.AdaptiveMaxPool1d)
AVERAGES = (nn.AvgPool1d, nn.AdaptiveAvgPool1d)
POOLS = (*MAXIMA, *AVERAGES)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Of one pooling: positions that at least one filter chose, and which share of choices is idle.

    positions: (B, T). idle: (B,), of all filters and windows of a row.
    """

    positions: Tensor
    idle: Tensor


def survivors(before_BTF: Tensor, pooled_BF: Tensor, lengths: Tensor | None = None) -> Chosen:
    """Positions whose activation is the maximum over time of at least one filter.

    Args:
        before_BTF: activations (B, T, F).
        pooled_BF: their maximum over real positions, (B, F).
        lengths: (B,) real positions a row; None: all.

    Raises:
        DataError: E-POOL where `pooled_BF` is not that maximum.
    """
    length = before_BTF.shape[1]
    if lengths is None:
        lengths = torch.full((len(before_BTF),), length)
    real_BT1 = (torch.arange(length) < lengths[:, None])[..., None].to(before_BTF.device)
    top_BTF = before_BTF.masked_fill(~real_BT1, -torch.inf)
    best_BF, place_BF = top_BTF.max(1)
    if best_BF.shape != pooled_BF.shape or not torch.allclose(best_BF, pooled_BF):
        message = "The pooled values are not the largest activations over real positions."
        raise DataError("E-POOL", message, "activations after their nonlinearity, or lengths.")
    least_BF = before_BTF.masked_fill(~real_BT1, torch.inf).amin(1)
    idle_BF = (least_BF == best_BF) & (lengths[:, None].to(best_BF.device) > 1)
    return _chosen(place_BF, idle_BF, length)


def of_module(module: nn.Module, x_BFT: Tensor) -> Chosen:
    """Positions that a pooling module lets through, of its input (B, F, T)."""
    rows, _, length = x_BFT.shape
    if isinstance(module, AVERAGES):
        flat = torch.zeros(1, 1, length, requires_grad=True)
        with torch.enable_grad():
            (read,) = torch.autograd.grad(module(flat).sum(), flat)
        return Chosen((read[0] > 0).expand(rows, length), torch.zeros(rows))
    x_BFT = x_BFT.detach()
    if isinstance(module, nn.AdaptiveMaxPool1d):
        size = module.output_size
        best, place = F.adaptive_max_pool1d(x_BFT, size, return_indices=True)
        least = -F.adaptive_max_pool1d(-x_BFT, size)
    elif isinstance(module, nn.MaxPool1d):
        pool = partial(
            F.max_pool1d,
            kernel_size=module.kernel_size,
            stride=module.stride,
            padding=module.padding,
            dilation=module.dilation,
            ceil_mode=module.ceil_mode,
        )
        best, place = pool(x_BFT, return_indices=True)
        least = -pool(-x_BFT)
    else:
        message = f"{type(module).__name__} is no pooling over time"
        raise TypeError(message)
    several = length > best.shape[-1]
    idle = (best == least) if several else torch.zeros_like(best, dtype=torch.bool)
    return _chosen(place.flatten(1), idle.flatten(1), length)


def _chosen(place_BC: Tensor, idle_BC: Tensor, length: int) -> Chosen:
    """place_BC: the position of every choice; idle_BC: choices that do not count."""
    votes_BT = torch.zeros(len(place_BC), length, device=place_BC.device)
    votes_BT.scatter_add_(1, place_BC, (~idle_BC).to(votes_BT.dtype))
    return Chosen((votes_BT > 0).cpu(), idle_BC.float().mean(1).cpu())
