"""Heads: one wide vector a position, cut into equal parts that mix on their own.

Idea     head h owns the channels h * size to (h + 1) * size - 1
Shapes   (B, L, H * K) <-> (B, H, L, K), views where torch can give one
"""

import torch
from torch import Tensor

UNIT_EPS = 1e-6


def head_size(width: float, heads: int) -> int:
    """Channels a head: the nearest whole number to width / heads, at least 1."""
    return max(1, round(width / heads))


def split_heads(x_BLX: Tensor, heads: int) -> Tensor:
    """(B, L, H * K) -> (B, H, L, K)."""
    return x_BLX.reshape(*x_BLX.shape[:2], heads, -1).transpose(1, 2)


def join_heads(x_BHLK: Tensor) -> Tensor:
    """(B, H, L, K) -> (B, L, H * K)."""
    return x_BHLK.transpose(1, 2).flatten(2)


def unit_length(x: Tensor) -> Tensor:
    """X / sqrt(|x|**2 + 1e-6) along the last dimension: length 1, and smooth at zero."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + UNIT_EPS)
