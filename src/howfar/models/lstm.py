"""Long short-term memory: a cell that adds to itself, behind three gates.

Idea     h_t = g(h_{t-1}, E(x_t)), here
         i, f, o = sigmoid(W x_t + b + U h_{t-1} + b'), c~ = tanh(the same with own weights),
         c_t = f c_{t-1} + i c~, h_t = o tanh(c_t); the bias of f starts at 1: remember first.
         start="chrono": the bias of f is log u, u uniform in [1, chrono_length - 1], that of i its
         negative, so that cells keep for about u steps.
         norm=True: LN(W x_t) and LN(U h_{t-1}) over all gates at once, and tanh(LN(c_t)).
         recurrent_dropout: one mask a sequence on x and one on h_{t-1} before U, in training.
         Both take a plain loop over steps
         The whole-sequence form runs the same way and averages h_t over real positions;
         bidirectional=True: half of the units (less half a one of an odd width) read from the last
         real token
Shapes   (B, L, D) -> (B, L, D), one layer a block of the shared residual stack
Reach    unbounded: the state may keep anything
State    2 D floats a layer (h and c), whatever the length; bidirectional: all inputs of a layer
         beside those of the first direction
Source   Hochreiter & Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735; forget gate:
         Gers, Schmidhuber & Cummins 2000, https://doi.org/10.1162/089976600300015015; chrono:
         Tallec & Ollivier 2018, https://arxiv.org/abs/1804.11188, section 2; norm: Ba, Kiros &
         Hinton 2016, https://arxiv.org/abs/1607.06450, supplement, equations 20 to 22; dropout:
         Gal & Ghahramani 2016, https://arxiv.org/abs/1512.05287; both ways: Schuster & Paliwal
         1997, https://doi.org/10.1109/78.650093
"""

import functools
import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Generator, nn

from howfar.core.errors import UsageError, shown
from howfar.models.blocks import (
    Sizes,
    Stack,
    known_choice,
    known_recurrent,
    narrowest_recurrent,
    positive,
    recurrent_body,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LstmSettings:
    """What the family can be told.

    Args:
        depth: layers.
        h0: "zeros", "random" (drawn once, then fixed) or "learned".
        forget_bias: of the forget gate at the start; with start="constant".
        start: gate biases, "constant" or "chrono".
        chrono_length: longest memory wanted, in tokens, at least 3; with start="chrono".
        bidirectional: half of the units read from the last token; whole-sequence form only.
        norm: layer norm inside the recurrence.
        recurrent_dropout: share dropped by one mask a sequence, at least 0 and below 1.
    """

    depth: int = 1
    h0: str = "zeros"
    forget_bias: float = 1.0
    start: str = "constant"
    chrono_length: int = 512
    bidirectional: bool = False
    norm: bool = False
    recurrent_dropout: float = 0.0

    def __post_init__(self) -> None:
        known_recurrent(self)
        known_choice("start", self.start, ("constant", "chrono"))
        positive(chrono_length=self.chrono_length)
        if self.chrono_length < 3:
            message = f"chrono_length={self.chrono_length} leaves no range to draw from."
            raise UsageError("E-OPTION", message, "chrono_length=3 or more")
        if not _finite(self.forget_bias):
            message = f"forget_bias must be a number, not {shown(self.forget_bias)}."
            raise UsageError("E-OPTION", message, "forget_bias=1.0")


def _finite(given: object) -> bool:
    number = isinstance(given, int | float) and not isinstance(given, bool)
    return number and math.isfinite(cast("float", given))


def biases(settings: LstmSettings, rnn: nn.RNNBase, generator: Generator) -> None:
    """Those of the forget gate, and with chrono those of the input gate."""
    bias = dict(rnn.named_parameters())["bias_ih_l0"].detach()
    in_D, forget_D = bias[: rnn.hidden_size], bias[rnn.hidden_size : 2 * rnn.hidden_size]
    if settings.start == "constant":
        forget_D.fill_(settings.forget_bias)
        return
    forget_D.uniform_(1, settings.chrono_length - 1, generator=generator).log_()
    torch.neg(forget_D, out=in_D)


def narrowest(settings: LstmSettings) -> int:
    """Smallest width: a unit a direction, two with a norm."""
    return narrowest_recurrent(settings)


def build_body(sizes: Sizes, settings: LstmSettings) -> Stack:
    """The body of the family.

    Raises:
        UsageError: E-OPTION for both directions in the causal form, or too small a width.
    """

    def layer(inputs: int, units: int) -> nn.LSTM:
        return nn.LSTM(inputs, units, batch_first=True)

    return recurrent_body(sizes, settings, layer, functools.partial(biases, settings))
