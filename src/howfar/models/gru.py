"""Gated recurrent unit: a state that is mixed with its own update.

Idea     h_t = g(h_{t-1}, E(x_t)), here
         r, z = sigmoid(W x_t + b + U h_{t-1} + b'),
         n = tanh(W x_t + b + r (U h_{t-1} + b')), h_t = (1 - z) n + z h_{t-1}
         The whole-sequence form runs the same way and averages h_t over real positions
Shapes   (B, L, D) -> (B, L, D), one layer a block of the shared residual stack
Reach    unbounded: the state may keep anything
State    D floats a layer, whatever the length
Source   Cho et al. 2014, https://arxiv.org/abs/1406.1078, section 2.3
"""

from dataclasses import dataclass

from torch import nn

from howfar.models.blocks import Recurrence, Sizes, Stack, known_start, positive


@dataclass(frozen=True, slots=True, kw_only=True)
class GruSettings:
    """depth: layers; h0: "zeros", "random" (drawn once, then fixed) or "learned"."""

    depth: int = 1
    h0: str = "zeros"

    def __post_init__(self) -> None:
        positive(depth=self.depth)
        known_start(self.h0)


def build_body(sizes: Sizes, settings: GruSettings) -> Stack:
    """The body of the family."""
    width = sizes.width
    layers = [
        Recurrence(nn.GRU(width, width, batch_first=True), settings.h0)
        for _ in range(settings.depth)
    ]
    return Stack(sizes, layers)
