"""Minimal GRU: a running average whose weight is read from the input alone.

Idea     h_t = (1 - z_t) h_{t-1} + z_t g(W_h x_t + b_h), z_t = sigmoid(W_z x_t + b_z),
         g(x) = x + 0.5 where x >= 0, else sigmoid(x): the state stays positive.
         No gate reads h, so what a layer keeps is fixed by the tokens; depth makes up for it
         The whole-sequence form runs the same way and averages h_t over real positions
Shapes   (B, L, D) -> (B, L, D), one layer a block of the shared residual stack
Reach    unbounded: the state may keep anything
State    D floats a layer, whatever the length
Source   Feng et al. 2024, https://arxiv.org/abs/2410.01201, section 3.1 and, for g, appendix B (the
         log-space listing). That listing takes h_0 before g: h0="learned" is g of a parameter,
         0.5 at the start; "zeros" is h_0 = 0 itself. Three layers as in the paper's experiments;
         its convolution, feed-forward and wider state are left out. The scan needs no logarithms
         here, as gates of at most 1 cannot overflow it
"""

from dataclasses import dataclass

from torch import Tensor

from howfar.models.blocks import (
    GatedAverage,
    Sizes,
    Stack,
    known_choice,
    positive,
    positive_part,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MinGruSettings:
    """depth: layers; h0: "zeros" or "learned"."""

    depth: int = 3
    h0: str = "zeros"

    def __post_init__(self) -> None:
        positive(depth=self.depth)
        known_choice("h0", self.h0, ("zeros", "learned"))


def gates(maps: Tensor) -> tuple[Tensor, Tensor]:
    """(..., 2 D) of z and candidate before their nonlinearity -> 1 - z and z g(candidate)."""
    z, candidate = maps.chunk(2, -1)
    return (-z).sigmoid(), z.sigmoid() * positive_part(candidate)


def build_body(sizes: Sizes, settings: MinGruSettings) -> Stack:
    """The body of the family."""
    learned = settings.h0 == "learned"
    layers = [GatedAverage(sizes.width, 2, gates, learned=learned) for _ in range(settings.depth)]
    return Stack(sizes, layers)
