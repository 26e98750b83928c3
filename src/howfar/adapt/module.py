"""Any `nn.Module` as `Predict`: which axis is time, which output is the answer, found by asking.

Idea     a module that takes time on axis 0 answers a batch-first question without complaint, in the
         right shape: rows are then taken for time. So it is asked both ways: the axis along which
         a change in the first half moves answers in the second half is time. What returns one
         answer a row tells by the shape alone, as the numbers asked with differ
Raises   what a module raises when it is asked rows first is reported, as rows too long would pass
         time first for the wrong reason; unless a layer in it says that it has time first, and gets
         time unturned when asked so
Cost     six forward passes over five rows (ten where nothing is seen along time), once a model
Limits   a model that relates nothing further apart than half a row looks memoryless: rows first.
         One that does so along both axes mixes up the rows of a batch: rows first, unless a
         recurrent layer in it has time first; then the caller has to say `batch_first`
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from howfar.adapt.function import call, form_of
from howfar.adapt.outputs import REALS, Key, choose, take
from howfar.adapt.wrapped import Wrapped, as_tensor, untouched
from howfar.core.errors import DataError, HowfarError, UsageError

NEAR = 1e-4  # of the whole change: less in the other half is rounding
NO_ANSWER = "E-SHAPE"  # `choose` found nothing that may be an answer
Ask = Callable[[Tensor, Tensor], Any]
Question: TypeAlias = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a module answers: which part of its output, rows first, one answer a position or row."""

    key: Key
    batch_first: bool
    everywhere: bool


class Module(Wrapped):
    """A module of unknown making.

    Args:
        model: called as `model(tokens)` or with lengths or a mask, as its signature says.
        batch_first: None: find out by asking, at `look` or at the first call.
    """

    def __init__(self, model: nn.Module, *, batch_first: bool | None = None) -> None:
        super().__init__(model)
        self.form = form_of(model.forward)
        self.batch_first = batch_first
        self.layout: Layout | None = None
        self.declare(model)

    def look(self, tokens: Tensor, lengths: Tensor) -> None:
        """Find out the layout on a few rows of (N, L[, D]) tokens; the model is left as it was.

        Raises:
            UsageError: E-SHAPE for no answer, E-LAYOUT where time may be either axis.
        """
        with torch.no_grad(), untouched(self.model):
            self.layout = _layout(self._ask, tokens, lengths, self.batch_first, self.model)
        self.reals = self.layout.key in REALS

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, ...) or (B, C), rows first."""
        if self.layout is None:
            self.look(tokens, lengths)
        layout = self.layout
        assert layout is not None
        given = tokens if layout.batch_first else tokens.transpose(0, 1)
        answer = as_tensor(take(self._ask(given, lengths), layout.key))
        if layout.everywhere and not layout.batch_first:
            answer = answer.transpose(0, 1)
        return answer.to(tokens.device)

    def _ask(self, tokens: Tensor, lengths: Tensor) -> Any:  # noqa: ANN401 - a stranger's output
        """The raw output; `tokens` may have time on either axis."""
        given = self.placed(tokens)
        width = tokens.shape[1] if len(lengths) == tokens.shape[0] else tokens.shape[0]
        return self.ask(partial(call, self.model, self.form, given, lengths, width), given)


def _layout(
    ask: Ask, tokens: Tensor, lengths: Tensor, batch_first: bool | None, model: nn.Module
) -> Layout:
    questions = [_rows(tokens, lengths, count) for count in _counts(tokens.shape[1])]
    if batch_first is not None:
        return _one_way(_outputs(ask, questions, batch_first), questions, batch_first)
    try:
        outputs = _outputs(ask, questions, True)
    except HowfarError as error:
        return _says_time_first(ask, questions, model, error)
    found = _ways(ask, questions, outputs)
    if len(found) == 1:
        return next(iter(found.values()))
    if not found[False].everywhere or not found[True].everywhere:
        # An answer a row either way: the one that has the rows of the question is right.
        return found[True]
    rows, real = questions[0]
    along = {first: _relates(ask, rows, real, found[first]) for first in (True, False)}
    if along[True] and along[False] and _recurrent(model):
        message = "The model relates both rows and positions: which axis is time?"
        raise UsageError("E-LAYOUT", message, "batch_first=True, or batch_first=False")
    if not along[True] and not along[False]:
        # Nothing to see along time, as in rows of one token: then rows must not be related.
        mixed = {first: _relates(ask, rows, real, found[first], 0) for first in (True, False)}
        return found[not mixed[True] or mixed[False]]
    return found[along[True]]


def _ways(ask: Ask, questions: list[Question], outputs: list[Any]) -> dict[bool, Layout]:
    """What may be answered rows first (`outputs` of it) and time first; at least one of them."""
    found: dict[bool, Layout] = {}
    refused: HowfarError | None = None
    try:
        found[True] = _one_way(outputs, questions, True)
    except HowfarError as error:
        if error.code != NO_ANSWER:
            raise
        refused = error
    try:
        found[False] = _one_way(_outputs(ask, questions, False), questions, False)
    except HowfarError:
        # This error alone would puzzle those who have rows first.
        if refused is not None:
            raise refused from None
    return found


def _says_time_first(
    ask: Ask, questions: list[Question], model: nn.Module, raised: HowfarError
) -> Layout:
    """Time first where a layer of the model says so; else what was raised rows first."""
    rows, _ = questions[0]
    seen: list[tuple[int, ...]] = []
    layers = list(_time_first_layers(model))

    def note(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        x = next((x for x in (*given, *named.values()) if isinstance(x, Tensor)), None)
        if x is not None:
            seen.append(tuple(x.shape[:2]))

    handles = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in layers]
    try:
        # A layer that is given time turned belongs to a model that has rows first.
        if layers:
            layout = _one_way(_outputs(ask, questions, False), questions, False)
            if seen and seen[0] == (rows.shape[1], len(rows)):
                return layout
    except HowfarError:
        pass
    finally:
        for handle in handles:
            handle.remove()
    if raised.code != "E-MODEL":
        raise raised
    hint = "shorter rows (length=...), or batch_first=False (--layout time) if it reads time first"
    raise DataError("E-MODEL", raised.message, hint) from raised.__cause__


def _outputs(ask: Ask, questions: list[Question], first: bool) -> list[Any]:
    outputs = [ask(_turned(questions[0][0], first), questions[0][1])]
    with suppress(HowfarError):  # a model with a state may take one number of rows alone
        outputs.append(ask(_turned(questions[1][0], first), questions[1][1]))
    return outputs


def _one_way(outputs: list[Any], questions: list[Question], first: bool) -> Layout:
    """The layout if rows are first (or time is); the output has to follow the number of rows."""
    fits = [_fitting(len(rows), rows.shape[1], first) for rows, _ in questions[: len(outputs)]]
    key = choose(outputs, fits)
    rows, _ = questions[0]
    shape = as_tensor(take(outputs[0], key)).shape
    wide = (len(rows), rows.shape[1]) if first else (rows.shape[1], len(rows))
    return Layout(key, first, tuple(shape[:2]) == wide)


def _fitting(rows: int, length: int, first: bool) -> Callable[[Tensor], bool]:
    def fits(part: Tensor) -> bool:
        if part.ndim not in (2, 3):
            return False
        if first:
            return part.shape[0] == rows
        return tuple(part.shape[:2]) == (length, rows) or (part.ndim == 2 and len(part) == rows)

    return fits


def _relates(ask: Ask, rows: Tensor, real: Tensor, layout: Layout, axis: int = 1) -> bool:
    """Whether a change in the first half of time moves answers in its second half (0: of rows)."""
    half = rows.shape[axis] // 2
    other = rows.clone()
    other.narrow(axis, 0, half).copy_(rows.roll(1, 0).narrow(axis, 0, half))
    answers = []
    for question in (rows, other):
        output = ask(_turned(question, layout.batch_first), real)
        answer = as_tensor(take(output, layout.key))
        answers.append(answer if layout.batch_first else answer.transpose(0, 1))
    moved = (answers[0].double() - answers[1].double()).abs().nan_to_num(0.0, 0.0, 0.0)
    far = moved.narrow(axis, half, moved.shape[axis] - half)
    return float(far.max()) > NEAR * max(float(moved.max()), 1e-300)


def _rows(tokens: Tensor, lengths: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`count` whole rows, in turn; a shorter row's padding is part of the question."""
    index = torch.arange(count) % len(tokens)
    return tokens[index], torch.full((count,), tokens.shape[1], dtype=lengths.dtype)


def _counts(length: int) -> tuple[int, int]:
    """Two numbers of rows, neither of them the number of positions."""
    few = [count for count in (5, 3, 7) if count != length]
    return few[0], few[1]


def _turned(rows: Tensor, first: bool) -> Tensor:
    return rows if first else rows.transpose(0, 1)


def _recurrent(model: nn.Module) -> bool:
    return any(isinstance(m, nn.RNNBase) for m in _time_first_layers(model))


def _time_first_layers(model: nn.Module) -> Iterator[nn.Module]:
    """Layers of torch with time first; those of its transformers all hold such an attention."""
    for module in model.modules():
        if isinstance(module, (nn.RNNBase, nn.MultiheadAttention)) and not module.batch_first:
            yield module
