"""Gated recurrent unit: a state that is mixed with its own update.

Idea     h_t = g(h_{t-1}, E(x_t)), here
         r, z = sigmoid(W x_t + b + U h_{t-1} + b'),
         n = tanh(W x_t + b + r (U h_{t-1} + b')), h_t = (1 - z) n + z h_{t-1}.
         norm=True: LN(W x_t) and LN(U h_{t-1}) in their places, over r and z at once and over n.
         recurrent_dropout: one mask a sequence on x and one on h_{t-1} before U, in training.
         Both take a plain loop over steps
         The whole-sequence form runs the same way and averages h_t over real positions;
         bidirectional=True: half of the units (less half a one of an odd width) read from the last
         real token
Shapes   (B, L, D) -> (B, L, D), one layer a block of the shared residual stack
Reach    unbounded: the state may keep anything
State    D floats a layer, whatever the length; bidirectional: all inputs of a layer beside it
Source   Cho et al. 2014, https://arxiv.org/abs/1406.1078, section 2.3; norm: Ba, Kiros & Hinton
         2016, https://arxiv.org/abs/1607.06450, supplement (the GRU of skip-thoughts); dropout:
         Gal & Ghahramani 2016, https://arxiv.org/abs/1512.05287; both ways: Schuster & Paliwal
         1997, https://doi.org/10.1109/78.650093
"""

from dataclasses import dataclass

from torch import nn

from howfar.models.blocks import (
    Sizes,
    Stack,
    known_recurrent,
    narrowest_recurrent,
    recurrent_body,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GruSettings:
    """What the family can be told.

    Args:
        depth: layers.
        h0: "zeros", "random" (drawn once, then fixed) or "learned".
        bidirectional: half of the units read from the last token; whole-sequence form only.
        norm: layer norm inside the recurrence.
        recurrent_dropout: share dropped by one mask a sequence, at least 0 and below 1.
    """

    depth: int = 1
    h0: str = "zeros"
    bidirectional: bool = False
    norm: bool = False
    recurrent_dropout: float = 0.0

    def __post_init__(self) -> None:
        known_recurrent(self)


def narrowest(settings: GruSettings) -> int:
    """Smallest width: a unit a direction, two with a norm."""
    return narrowest_recurrent(settings)


def build_body(sizes: Sizes, settings: GruSettings) -> Stack:
    """The body of the family.

    Raises:
        UsageError: E-OPTION for both directions in the causal form, or too small a width.
    """

    def layer(inputs: int, units: int) -> nn.GRU:
        return nn.GRU(inputs, units, batch_first=True)

    return recurrent_body(sizes, settings, layer)
