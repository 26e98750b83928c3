"""The simple recurrent network: one tanh layer that reads its own last answer.

Idea     h_t = g(h_{t-1}, E(x_t)), here
         h_t = tanh(W x_t + b + U h_{t-1} + b'), U orthogonal at the start.
         activation="relu" with start="identity" is the IRNN: U = I, b = b' = 0, W of deviation
         0.001, so that a state is kept as it is until something is learned.
         norm=True: h_t = tanh(LN(W x_t + U h_{t-1}) + b + b'). recurrent_dropout: one mask a
         sequence on x and one on h_{t-1} before U, in training. Both take a plain loop over steps
         The whole-sequence form runs the same way and averages h_t over real positions;
         bidirectional=True: half of the units (less half a one of an odd width) read from the last
         real token
Shapes   (B, L, D) -> (B, L, D), one layer a block of the shared residual stack
Reach    unbounded: the state may keep anything
State    D floats a layer, whatever the length; bidirectional: all inputs of a layer beside it
Source   Elman 1990, https://doi.org/10.1207/s15516709cog1402_1; IRNN: Le, Jaitly & Hinton 2015,
         https://arxiv.org/abs/1504.00941, sections 3 and 4; norm: Ba, Kiros & Hinton 2016,
         https://arxiv.org/abs/1607.06450, equation 4; dropout: Gal & Ghahramani 2016,
         https://arxiv.org/abs/1512.05287; both ways: Schuster & Paliwal 1997,
         https://doi.org/10.1109/78.650093
"""

from dataclasses import dataclass

from torch import Generator, nn

from howfar.models.blocks import (
    Sizes,
    Stack,
    known_choice,
    known_recurrent,
    narrowest_recurrent,
    recurrent_body,
)

INPUT_DEVIATION = 0.001  # of the IRNN, where the recurrent weights are the identity


@dataclass(frozen=True, slots=True, kw_only=True)
class ElmanSettings:
    """What the family can be told.

    Args:
        depth: layers.
        h0: "zeros", "random" (drawn once, then fixed) or "learned".
        activation: "tanh" or "relu".
        start: recurrent weights at the start, "orthogonal" or "identity".
        bidirectional: half of the units read from the last token; whole-sequence form only.
        norm: layer norm inside the recurrence.
        recurrent_dropout: share dropped by one mask a sequence, at least 0 and below 1.
    """

    depth: int = 1
    h0: str = "zeros"
    activation: str = "tanh"
    start: str = "orthogonal"
    bidirectional: bool = False
    norm: bool = False
    recurrent_dropout: float = 0.0

    def __post_init__(self) -> None:
        known_recurrent(self)
        known_choice("activation", self.activation, ("tanh", "relu"))
        known_choice("start", self.start, ("orthogonal", "identity"))


def identity(rnn: nn.RNNBase, generator: Generator) -> None:
    """Recurrent weights that keep the state, and input weights that hardly touch it."""
    for name, weight in rnn.named_parameters():
        if name.startswith("weight_hh"):
            nn.init.eye_(weight)
        elif name.startswith("weight_ih"):
            nn.init.normal_(weight, std=INPUT_DEVIATION, generator=generator)


def narrowest(settings: ElmanSettings) -> int:
    """Smallest width: a unit a direction, two with a norm."""
    return narrowest_recurrent(settings)


def build_body(sizes: Sizes, settings: ElmanSettings) -> Stack:
    """The body of the family.

    Raises:
        UsageError: E-OPTION for both directions in the causal form, or too small a width.
    """

    def layer(inputs: int, units: int) -> nn.RNN:
        return nn.RNN(inputs, units, nonlinearity=settings.activation, batch_first=True)

    start = identity if settings.start == "identity" else None
    return recurrent_body(sizes, settings, layer, start)
