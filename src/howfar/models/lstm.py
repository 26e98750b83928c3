"""Long short-term memory: a cell that adds to itself, behind three gates.

Idea     h_t = g(h_{t-1}, E(x_t)), here
         i, f, o = sigmoid(W x_t + b + U h_{t-1} + b'), c~ = tanh(the same with own weights),
         c_t = f c_{t-1} + i c~, h_t = o tanh(c_t); the bias of f starts at 1: remember first
         The whole-sequence form runs the same way and averages h_t over real positions
Shapes   (B, L, D) -> (B, L, D), one layer a block of the shared residual stack
Reach    unbounded: the state may keep anything
State    2 D floats a layer (h and c), whatever the length
Source   Hochreiter & Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735; forget gate:
         Gers, Schmidhuber & Cummins 2000, https://doi.org/10.1162/089976600300015015
"""

from dataclasses import dataclass

from torch import nn

from howfar.models.blocks import Recurrence, Sizes, Stack, known_start, positive


@dataclass(frozen=True, slots=True, kw_only=True)
class LstmSettings:
    """depth: layers; h0: "zeros", "random" (drawn once, then fixed) or "learned"."""

    depth: int = 1
    h0: str = "zeros"

    def __post_init__(self) -> None:
        positive(depth=self.depth)
        known_start(self.h0)


def build_body(sizes: Sizes, settings: LstmSettings) -> Stack:
    """The body of the family."""
    width = sizes.width
    layers = [
        Recurrence(nn.LSTM(width, width, batch_first=True), settings.h0, forget_gate=1)
        for _ in range(settings.depth)
    ]
    return Stack(sizes, layers)
