"""A model that can stop and go on, and what a look at a few tokens tells about its state.

Idea     the first tokens of two rows are run at once and in chunks, which must agree. The state of
         one row beside that of two shows the axis of the rows; exchanging the rows of the state
         must exchange the answers, else states are never given from row to row
Cost     at most 61 tokens
"""

from dataclasses import dataclass
from typing import Protocol, TypeGuard, cast, runtime_checkable

import torch
from torch import Tensor

from howfar.core.errors import HowfarError, UsageError
from howfar.core.protocols import Predict, State, Streaming
from howfar.measure.probe.asking import Asked, Sequences
from howfar.measure.watch import quiet

FIRST, SECOND = 3, 5  # tokens of the two chunks looked at
Axes = int | None | tuple["Axes", ...]  # of the rows, in each tensor of a state; None: it has none


@runtime_checkable
class Advancing(Protocol):
    """A streaming model that can also pass over tokens without answering, to save its head."""

    def advance(self, tokens: Tensor, state: State | None) -> State:
        """The state after the tokens (B, C)."""
        ...


@dataclass(frozen=True, slots=True)
class Stream:
    """A streaming model and its state.

    asked: the model as `ask` would tell. width: numbers a position, V. axes: where the rows stand
    in the state; () where that is not known. fixed, growing: bytes of state a row, and a row and
    token. spent: tokens the look took.
    """

    model: Streaming
    asked: Asked
    width: int
    axes: Axes
    fixed: float
    growing: float
    spent: int

    @property
    def exchangeable(self) -> bool:
        """Whether a row can be given the state of another."""
        return self.axes != ()

    def state_bytes(self, length: int) -> float:
        """Bytes of state of one row after `length` tokens."""
        return self.fixed + self.growing * length

    def taken(self, state: State, rows: Tensor) -> State:
        """The state of some rows of a batch, (R,) indices; rows may repeat."""
        return _taken(state, self.axes, rows)


def look(predict: Predict, seqs: Sequences) -> Stream | None:
    """See whether a model streams, and how. None: it does not, or says E-STEP.

    Raises:
        UsageError: E-CHUNK where chunks answer otherwise than all at once.
    """
    if not isinstance(predict, Streaming) or not callable(predict):
        return None
    longest = seqs.lengths.argsort(descending=True, stable=True)[:2]
    tokens = seqs.tokens[longest][:, : min(FIRST + SECOND, int(seqs.lengths[longest].min()))]
    if tokens.shape[1] < 2:
        return None
    first, second = tokens.tensor_split([min(FIRST, tokens.shape[1] - 1)], dim=1)
    with torch.no_grad(), quiet(predict):
        try:
            begun, state = predict.chunk(first, None)
        except UsageError:
            return None  # such as the whole-sequence form of a model that also has a causal one
        whole: object = predict(tokens, torch.full((len(tokens),), tokens.shape[1]))
        if not _everywhere(whole, tokens):
            return None  # `ask` says what is wrong
        ended, after = predict.chunk(second, state)
        _agree(torch.cat([begun, ended], dim=1), whole)
        axes = _axes(predict.chunk(first[:1], None)[1], state)
        spent = 2 * 2 * tokens.shape[1] + first.shape[1]
        if axes != ():
            spent += 2 * tokens.shape[1] + 2 * second.shape[1]
            axes = axes if _exchanges(predict, first, second, state, axes) else ()
    growing = (_bytes(after) - _bytes(state)) / 2 / second.shape[1]
    fixed = max(_bytes(state) / 2 - growing * first.shape[1], 0.0)
    asked = Asked(cast("Predict", predict), True, whole.dtype)
    return Stream(predict, asked, whole[0, 0].numel(), axes, fixed, growing, spent)


def _everywhere(whole: object, tokens: Tensor) -> TypeGuard[Tensor]:
    fits = isinstance(whole, Tensor) and whole.ndim in (2, 3) and whole.is_floating_point()
    return isinstance(whole, Tensor) and fits and whole.shape[:2] == tokens.shape[:2]


def _agree(joined: Tensor, whole: Tensor) -> None:
    """Chunk by chunk must equal all at once, but for rounding."""
    if joined.shape != whole.shape or not _near(joined, whole):
        message = "The model answers otherwise in chunks than all at once."
        raise UsageError("E-CHUNK", message, "compare model.chunk with model on a few tokens.")


def _near(one: Tensor, two: Tensor) -> bool:
    """Equal but for rounding; what is not finite is judged where answers are read."""
    finite = one.isfinite() & two.isfinite()
    if not bool(finite.any()):
        return True
    step = torch.finfo(one.dtype).eps ** 0.5
    one, two = one[finite].double(), two[finite].double()
    return bool((one - two).abs().amax() <= step * max(1.0, float(one.abs().amax())))


def _exchanges(predict: Streaming, first: Tensor, second: Tensor, state: State, axes: Axes) -> bool:
    """Whether rows with each other's state answer as the rows exchanged do."""
    turn = torch.tensor([1, 0])
    _, other = predict.chunk(first[turn], None)
    want, _ = predict.chunk(second, other)
    try:
        got, _ = predict.chunk(second, _taken(state, axes, turn))
    except HowfarError:
        raise
    except Exception:  # a stranger's state may be more than its tensors
        return False
    return _near(got, want)


def _axes(one: object, two: object) -> Axes:
    """Where one row and two differ in shape; () for a state of anything but tensors."""
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        if one.shape == two.shape:
            return None
        if one.ndim != two.ndim:
            return ()
        differ = [i for i, (a, b) in enumerate(zip(one.shape, two.shape, strict=True)) if a != b]
        return differ[0] if [(one.shape[i], two.shape[i]) for i in differ] == [(1, 2)] else ()
    if type(one) is tuple and type(two) is tuple and len(one) == len(two):
        parts = tuple(_axes(a, b) for a, b in zip(one, two, strict=True))
        return () if () in parts else parts
    return ()


def _taken(state: State, axes: Axes, rows: Tensor) -> State:
    if isinstance(state, Tensor):
        if axes is None:
            return state
        return state.index_select(cast("int", axes), rows.to(state.device))
    parts = zip(state, cast("tuple[Axes, ...]", axes), strict=True)
    return tuple(_taken(part, axis, rows) for part, axis in parts)


def _bytes(state: object) -> int:
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    return sum(map(_bytes, state)) if isinstance(state, tuple) else 0
