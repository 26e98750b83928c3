"""What the rooms expect of each other, as protocols. A stranger's model needs `Predict` alone."""

from collections.abc import Iterator
from typing import Protocol, TypeAlias, runtime_checkable

from torch import Tensor

from howfar.core.batch import Batch

State: TypeAlias = Tensor | tuple["State", ...]


class Predict(Protocol):
    """Any callable from tokens to outputs: `predict(tokens, lengths)`.

    tokens: integer (B, L), or real (B, L) or (B, L, D). lengths: (B,).
    Returns (B, L, V) logits, (B, L) or (B, L, D) reals, or (B, C) logits of a whole-sequence model.
    """

    def __call__(self, tokens: Tensor, lengths: Tensor, /) -> Tensor:
        """Answer for every row."""
        ...


@runtime_checkable
class Reaching(Protocol):
    """A model that declares how far it can look."""

    def reach(self, length: int) -> int | None:
        """Kept tokens that can matter at `length` tokens; None: unbounded."""
        ...


@runtime_checkable
class Streaming(Protocol):
    """A causal model that can stop and go on: chunk by chunk equals all at once."""

    def chunk(self, tokens: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next tokens (B, C) or (B, C, D) of every row -> outputs (B, C, V) and the state.

        state: what the last chunk returned, never changed in place; None: the start.
        """
        ...


class Mixer(Protocol):
    """The part of a block that moves information between positions: (B, L, D) -> (B, L, D)."""

    causal: bool

    def __call__(self, x_BLD: Tensor, lengths: Tensor) -> Tensor:
        """Mix (B, L, D) along L; lengths (B,)."""
        ...

    def reach(self, length: int) -> int | None:
        """Kept tokens that can matter; None: unbounded."""
        ...

    def state_bytes(self, length: int) -> int:
        """Bytes carried to go on after `length` tokens, float32, one sequence."""
        ...

    def flops(self, length: int) -> int:
        """Floating-point operations of one forward pass over `length` tokens; multiply-add = 2."""
        ...


class Source(Protocol):
    """Where training and evaluation batches come from.

    `batch` is a pure function of its number, so nothing has to be stored to go on later. A step of
    training takes `slots` batches in a row: those of one step are shared among processes, or taken
    one after another by a single process, and the same numbers come out.
    """

    def batch(self, number: int) -> Batch:
        """The training batch of this number, counted from 0 over the whole run."""
        ...

    def evaluation(self, part: str) -> Iterator[Batch]:
        """All batches of "validation" or "test", once, in a fixed order."""
        ...
