"""What Elman, LSTM and GRU share: their settings checked, and their stack of layers.

Idea     a layer is one `Recurrence`, or two of half its width where it reads both ways
"""

from collections.abc import Callable
from typing import Protocol, cast

from torch import nn

from howfar.core.errors import UsageError, shown
from howfar.models.blocks.base import Sizes, positive
from howfar.models.blocks.bidirectional import Bidirectional
from howfar.models.blocks.recurrence import Recurrence, Start, known_start
from howfar.models.blocks.stack import Stack


class RecurrentSettings(Protocol):
    """What all three can be told."""

    @property
    def depth(self) -> int:
        """Layers."""
        ...

    @property
    def h0(self) -> str:
        """The state before the first step: "zeros", "random" or "learned"."""
        ...

    @property
    def bidirectional(self) -> bool:
        """Whether a second half of each layer reads from the last token."""
        ...

    @property
    def norm(self) -> bool:
        """Layer norm inside the recurrence."""
        ...

    @property
    def recurrent_dropout(self) -> float:
        """Share dropped by one mask a sequence."""
        ...


def known_recurrent(settings: RecurrentSettings) -> None:
    """Refuse settings out of their range.

    Raises:
        UsageError: E-OPTION, naming the first wrong one.
    """
    positive(depth=settings.depth)
    known_start(settings.h0)
    _flags(bidirectional=settings.bidirectional, norm=settings.norm)
    _share(settings.recurrent_dropout)


def _flags(**flags: object) -> None:
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            message = f"{name} must be true or false, not {shown(flag)}."
            raise UsageError("E-OPTION", message, f"{name}=True")


def _share(share: object) -> None:
    number = isinstance(share, int | float) and not isinstance(share, bool)
    if not number or not 0 <= cast("float", share) < 1:
        message = f"recurrent_dropout must be at least 0 and below 1, not {shown(share)}."
        raise UsageError("E-OPTION", message, "recurrent_dropout=0.2")


def narrowest_recurrent(settings: RecurrentSettings) -> int:
    """A unit for each direction; two where a norm would make a single one constant."""
    return (2 if settings.bidirectional else 1) * (2 if settings.norm else 1)


def recurrent_body(
    sizes: Sizes,
    settings: RecurrentSettings,
    layer: Callable[[int, int], nn.RNNBase],
    start: Start | None = None,
) -> Stack:
    """The stack; `layer(inputs, units)` makes one of torch's layers, batch first.

    Raises:
        UsageError: E-OPTION for both directions in the causal form, or a width below the narrowest.
    """
    if settings.bidirectional and sizes.causal:
        message = "A causal model cannot read from the last token."
        raise UsageError("E-OPTION", message, "causal=False or bidirectional=False")
    narrowest = narrowest_recurrent(settings)
    if sizes.width < narrowest:
        message = f"width {sizes.width} is too narrow for these settings."
        raise UsageError("E-OPTION", message, f"width={narrowest} or more")

    def recurrence(units: int, *, backwards: bool = False) -> Recurrence:
        return Recurrence(
            layer(sizes.width, units),
            settings.h0,
            start=start,
            norm=settings.norm,
            dropout=settings.recurrent_dropout,
            backwards=backwards,
        )

    def mixer() -> Recurrence | Bidirectional:
        if not settings.bidirectional:
            return recurrence(sizes.width)
        half = sizes.width // 2
        return Bidirectional(recurrence(sizes.width - half), recurrence(half, backwards=True))

    return Stack(sizes, [mixer() for _ in range(settings.depth)])
