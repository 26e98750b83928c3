"""The activations a recurrence may have, and their slopes from their own results.

Shapes   any
"""

import torch
from torch import Tensor

from howfar.core.errors import UsageError, shown

ACTIVATIONS = ("tanh", "relu")


def known_activation(activation: str) -> None:
    """Refuse an activation that no kernel knows.

    Raises:
        UsageError: E-OPTION.
    """
    if activation not in ACTIVATIONS:
        hint = f"one of {', '.join(ACTIVATIONS)}"
        raise UsageError("E-OPTION", f"activation cannot be {shown(activation)}.", hint)


def activated(x: Tensor, activation: str) -> Tensor:
    """f(x)."""
    return x.tanh() if activation == "tanh" else x.relu()


def activate_(x: Tensor, activation: str) -> Tensor:
    """f(x) in the place of x."""
    return x.tanh_() if activation == "tanh" else x.relu_()


def slope(h: Tensor, activation: str) -> Tensor:
    """f'(x) where h = f(x); the slope of relu at zero is zero, as torch has it."""
    return 1 - h.square() if activation == "tanh" else torch.gt(h, 0).to(h.dtype)
