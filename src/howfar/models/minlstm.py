"""Minimal LSTM: forget and input gates read from the input alone, and made to sum to one.

Idea     h_t = f' h_{t-1} + i' g(W_h x_t + b_h), f' = f / (f + i), i' = i / (f + i),
         f = sigmoid(W_f x_t + b_f), i = sigmoid(W_i x_t + b_i),
         g(x) = x + 0.5 where x >= 0, else sigmoid(x): the state stays positive.
         As f / i = exp(d) with d = softplus(-i's sum) - softplus(-f's sum), f' = sigmoid(d)
         The whole-sequence form runs the same way and averages h_t over real positions
Shapes   (B, L, D) -> (B, L, D), one layer a block of the shared residual stack
Reach    unbounded: the state may keep anything
State    D floats a layer, whatever the length: there is no cell beside h
Source   Feng et al. 2024, https://arxiv.org/abs/2410.01201, section 3.2 and, for g and d, appendix
         B (the log-space listing). That listing takes h_0 before g: h0="learned" is g of a
         parameter, 0.5 at the start; "zeros" is h_0 = 0 itself. Three layers as in the paper's
         experiments; its convolution, feed-forward and wider state are left out
"""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from howfar.models.blocks import (
    GatedAverage,
    Sizes,
    Stack,
    known_choice,
    positive,
    positive_part,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MinLstmSettings:
    """depth: layers; h0: "zeros" or "learned"."""

    depth: int = 3
    h0: str = "zeros"

    def __post_init__(self) -> None:
        positive(depth=self.depth)
        known_choice("h0", self.h0, ("zeros", "learned"))


def gates(maps: Tensor) -> tuple[Tensor, Tensor]:
    """(..., 3 D) of forget gate, input gate and candidate -> f' and i' g(candidate)."""
    forget, let_in, candidate = maps.chunk(3, -1)
    d = F.softplus(-let_in) - F.softplus(-forget)
    return d.sigmoid(), (-d).sigmoid() * positive_part(candidate)


def build_body(sizes: Sizes, settings: MinLstmSettings) -> Stack:
    """The body of the family."""
    learned = settings.h0 == "learned"
    layers = [GatedAverage(sizes.width, 3, gates, learned=learned) for _ in range(settings.depth)]
    return Stack(sizes, layers)
