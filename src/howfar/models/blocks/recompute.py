"""Parts that are run again on the way back instead of being remembered.

Idea     of a part only the input is kept; when its gradient is asked for, it is run once more, from
         the same random state, so that the same units are dropped. Costs about one forward pass,
         and changes no bit of a gradient
Gain     memory of one block and one input a block, in place of all blocks
Source   Chen et al. 2016, https://arxiv.org/abs/1604.06174;
         https://docs.pytorch.org/docs/stable/checkpoint.html
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

Given = TypeVar("Given")


class Recomputing(nn.Module):
    """A module of parts; `recompute`: whether they are run again on the way back in training."""

    recompute = False

    def passed(self, part: Callable[..., Given], *given: object) -> Given:
        """`part(*given)`, remembered or not."""
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            return part(*given)
        found: Given = checkpoint(part, *given, use_reentrant=False)
        return found


def recomputes(module: nn.Module) -> bool:
    """Whether any part of a module is run again."""
    return any(part.recompute for part in module.modules() if isinstance(part, Recomputing))


def set_recompute(module: nn.Module, value: bool) -> None:
    """Decide for all parts of a module."""
    for part in module.modules():
        if isinstance(part, Recomputing):
            part.recompute = bool(value)
