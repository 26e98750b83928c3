"""What every family is told and must say, and how parameters are drawn."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Generator, Tensor, nn

from howfar.core.errors import UsageError, shown
from howfar.core.protocols import Mixer, State
from howfar.models.kernels import as_graph

FLOAT_BYTES = 4  # float32


@dataclass(frozen=True, slots=True)
class Sizes:
    """What every family is told. embedding: width of the input; width: of the body.

    pooled: whether positions are summed up to one vector behind the body; None: if not causal.
    """

    embedding: int
    width: int
    causal: bool
    dropout: float
    pooled: bool | None = None


class Body(Mixer, Protocol):
    """Everything between embedding and head: (B, L, E) -> (B, L, out_width)."""

    out_width: int
    pool: str  # how positions are summed up where one vector is wanted: "mean" or "max"


@runtime_checkable
class Stepping(Protocol):
    """A mixer that can also go on one position at a time."""

    def step(self, x_BD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position; state None: the start of a sequence."""
        ...


@runtime_checkable
class Chunking(Stepping, Protocol):
    """A mixer that can also go on many positions at a time, with the state of its steps."""

    def chunk(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next positions; state None: the start of a sequence. Gradients pass the state."""
        ...


@runtime_checkable
class Packing(Protocol):
    """A mixer that can read documents which stand one after another, without padding."""

    def packed(self, x_TD: Tensor, lengths: Tensor) -> Tensor:
        """(T, D) -> (T, D); lengths (N,) add up to T; no document sees another."""
        ...


@runtime_checkable
class Drawn(Protocol):
    """A module that fills its own parameters from a generator."""

    def draw(self, generator: Generator) -> None:
        """Overwrite every parameter and buffer the module itself owns."""
        ...


def positive(**numbers: object) -> None:
    """Refuse anything but whole numbers of at least 1.

    Raises:
        UsageError: E-OPTION, naming the first wrong one.
    """
    for name, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise UsageError(
                "E-OPTION",
                f"{name} must be a whole number of at least 1, not {shown(number)}.",
                f"{name}=64" if name in {"width", "embedding"} else f"{name}=2",
            )


def real_positions(lengths: Tensor, length: int) -> Tensor:
    """(B, L) booleans: True where a token stands, False on padding."""
    return torch.arange(length, device=lengths.device) < lengths[:, None]


def has_padding(lengths: Tensor, length: int) -> bool:
    """Whether any row is shorter than `length`; in a graph, which must hold for all: yes."""
    return as_graph() or bool((lengths < length).any())


def initialise(module: nn.Module, generator: Generator) -> None:
    """Draw every parameter from `generator`, in the order of `module.modules()`."""
    for part in module.modules():
        if isinstance(part, Drawn):
            part.draw(generator)
        elif isinstance(part, nn.Linear):
            # variance 1 / fan-in keeps the scale of what goes through
            nn.init.kaiming_normal_(part.weight, nonlinearity="linear", generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, generator=generator)
        elif isinstance(part, nn.LayerNorm | nn.RMSNorm):
            part.reset_parameters()
