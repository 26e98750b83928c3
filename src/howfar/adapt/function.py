"""A plain callable as `Predict`: what it is called with, and which part of its output is read.

Idea     `f(tokens, lengths)` gets both, `f(tokens)` the tokens. A second argument that may be left
         out is a mask, a state or a temperature and never gets lengths, unless its name says so
Limits   rows first: a function has no modules to tell otherwise
"""

import inspect
from collections.abc import Callable
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from howfar.adapt.outputs import REALS, Key, choose, take
from howfar.adapt.wrapped import Wrapped, as_tensor, asked


class Form(Enum):
    """What a model is called with."""

    ALONE = "tokens"
    LENGTHS = "tokens, lengths"
    EITHER = "tokens, lengths if it takes them"
    MASK = "tokens, attention_mask=1 at real tokens"
    PADDING = "tokens, key_padding_mask=True at padding"


PADDING_NAMES = ("src_key_padding_mask", "key_padding_mask")


def form_of(called: Callable[..., Any]) -> tuple[Form, str]:
    """How to call it, and the name of the argument that says which tokens are real."""
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):
        return Form.EITHER, ""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    places = [p for p in signature.parameters.values() if p.kind in kinds]
    names = [p.name for p in signature.parameters.values()]
    if len(places) > 1 and "len" in places[1].name:
        return Form.LENGTHS, ""
    if "lengths" in names[1:]:
        return Form.LENGTHS, "lengths"
    if "attention_mask" in names[1:]:
        return Form.MASK, "attention_mask"
    for name in PADDING_NAMES:
        if name in names[1:]:
            return Form.PADDING, name
    if not places:
        return Form.EITHER, ""
    try:
        signature.bind(None, None)
    except TypeError:
        return Form.ALONE, ""
    optional = len(places) > 1 and places[1].default is not inspect.Parameter.empty
    return (Form.ALONE if optional or len(places) == 1 else Form.LENGTHS), ""


def call(
    model: Callable[..., Any], form: tuple[Form, str], tokens: Tensor, lengths: Tensor, width: int
) -> Any:  # noqa: ANN401 - a stranger's output
    """Call a model in its form. width: positions a row, whichever axis they lie on."""
    kind, name = form
    if kind is Form.ALONE:
        return model(tokens)
    if kind is Form.LENGTHS:
        return model(tokens, **{name: lengths}) if name else model(tokens, lengths)
    if kind is Form.EITHER:
        try:
            return model(tokens, lengths)
        except (TypeError, RuntimeError) as error:
            return _alone(model, tokens, error)
    place_L = torch.arange(width, device=tokens.device)
    real_BL = place_L[None, :] < lengths.to(tokens.device)[:, None]
    if kind is Form.MASK:
        return model(tokens, **{name: real_BL.long()})
    # Without padding the mask is left out, and so is the path that packs rows together.
    return model(tokens, **{name: None if bool(real_BL.all()) else ~real_BL})


def _alone(model: Callable[..., Any], tokens: Tensor, first: Exception) -> Any:  # noqa: ANN401
    try:
        return model(tokens)
    except Exception:
        raise first from None


class Function:
    """A function or callable object as `Predict`."""

    reals = False
    trained_length: int | None = None

    def __init__(self, model: Callable[..., Any]) -> None:
        self.model = model
        self.form = form_of(model)
        self.key: Key = None
        for name in ("reach", "chunk", "step", "state_bytes"):
            if callable(getattr(model, name, None)):
                setattr(self, name, getattr(model, name))

    def __call__(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """The model's answer to tokens (B, L[, D]) with lengths (B,)."""
        return asked(lambda: self._answer(tokens, lengths), tokens)

    def _answer(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        output = call(self.model, self.form, tokens, lengths, tokens.shape[1])
        if isinstance(output, Tensor) and output.ndim > 0:
            return output
        if self.key is None:
            self.key = choose([output], [lambda part: _rows(part, len(tokens))])
            self.reals = self.key in REALS
        return as_tensor(take(output, self.key))


class Bound(Wrapped):
    """A method or partial of a module, which has to be seen through it."""

    def __init__(self, owner: nn.Module, called: Callable[..., Any]) -> None:
        super().__init__(owner)
        self.function = Function(called)
        self.declare(called)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """The method's answer."""
        answer = self.function(self.placed(tokens), lengths)
        self.reals = self.function.reals
        return answer.to(tokens.device)


class TokensOnly(Wrapped):
    """An adapted module that is not told lengths, with a signature that says so."""

    def __init__(self, predict: Wrapped) -> None:
        super().__init__(predict.model)
        self.predict = [predict]  # in a list, so that the model is not listed twice
        self.declare(predict)

    def forward(self, tokens: Tensor) -> Tensor:
        """The model's answer to whole rows (B, L[, D])."""
        answer: Tensor = self.predict[0](tokens, torch.full(tokens.shape[:1], tokens.shape[1]))
        return answer


def owner_of(model: object) -> nn.Module | None:
    """The module behind a bound method or a partial of either."""
    behind = getattr(model, "func", None) or getattr(model, "__self__", None)
    if isinstance(behind, nn.Module):
        return behind
    return owner_of(behind) if callable(behind) else None


def _rows(part: Tensor, rows: int) -> bool:
    return part.ndim in (2, 3) and part.shape[0] == rows
