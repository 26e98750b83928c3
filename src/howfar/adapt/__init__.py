"""Any model as `Predict`: functions, modules of any layout, Hugging Face models, torch's layers."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from howfar.adapt.function import Bound, Form, Function, TokensOnly, owner_of
from howfar.adapt.huggingface import Last, Pretrained, Translator, is_pretrained
from howfar.adapt.module import Module
from howfar.adapt.outside import Opened, open_model
from howfar.adapt.recurrent import Encoder, Recurrent
from howfar.adapt.sentence import Pooled, Sentences, is_sentence_transformer
from howfar.adapt.wrapped import Wrapped, unwrapped
from howfar.core.errors import UsageError, shown
from howfar.core.protocols import Predict

__all__ = [
    "Function",
    "Opened",
    "Pooled",
    "Wrapped",
    "adapt",
    "as_it_asks",
    "at_last",
    "open_model",
]


def adapt(
    model: Any,  # noqa: ANN401 - anything that can be called
    tokens: Tensor | None = None,
    *,
    lengths: Tensor | None = None,
    batch_first: bool | None = None,
) -> Predict:
    """Make any model answer `predict(tokens, lengths)`; nothing in the model is changed.

    Args:
        model: a function, an nn.Module, a layer of torch, a Hugging Face model, or the name of a
            model outside: "hf:FOLDER_OR_NAME", "package.module:factory".
        tokens: (N, L[, D]) rows it will be asked; a module is asked a few of them at once to find
            out its layout. None: at its first call.
        lengths: (N,).
        batch_first: of a module: True for rows first, False for time first, None: find out.

    Returns:
        A callable, for modules an `nn.Module` that has the model as its child `model`. Its
        attribute `reals` says that its answers are no logits, `trained_length` what it was made
        for.

    Raises:
        UsageError: E-MODEL for what cannot be called, E-SHAPE, E-LAYOUT. DataError: E-MODEL for a
        model that raises, E-VOCABULARY.
    """
    if isinstance(model, str):
        model = open_model(model).model
    predict = _predict(model, batch_first)
    if tokens is not None and not isinstance(predict, Translator):
        _look(predict, tokens, lengths)
    return predict


def at_last(predict: Predict) -> Predict:
    """The same model answering (B, 1, V) at each row's last token alone, where it can."""
    return Last(predict) if isinstance(predict, Pretrained) and predict.short else predict


def as_it_asks(predict: Predict) -> Callable[..., Any]:
    """The adapted model for who looks at its arguments: without lengths where it takes none."""
    if isinstance(predict, Function):
        return predict.model if predict.key is None else predict
    form = predict.form if isinstance(predict, Module) else None
    form = predict.function.form if isinstance(predict, Bound) else form
    return TokensOnly(predict) if form is not None and form[0] is Form.ALONE else predict  # type: ignore[arg-type]


def _predict(model: Any, batch_first: bool | None) -> Predict:  # noqa: ANN401
    if isinstance(model, (Wrapped, Function)):
        return model
    model = unwrapped(model)
    if isinstance(model, nn.Module):
        return _module(model, batch_first)
    if isinstance(model, type) or not callable(model):
        message = f"A model must be callable, and {shown(model)} is not one."
        raise UsageError("E-MODEL", message, "a function of tokens, or an nn.Module")
    owner = owner_of(model)
    if owner is not None and not isinstance(owner, Wrapped):
        return Bound(owner, model)
    return Function(model)


def _module(model: nn.Module, batch_first: bool | None) -> Predict:
    if is_sentence_transformer(model):
        return Sentences(model)
    if is_pretrained(model):
        return Translator(model) if _decodes(model) else Pretrained(model)
    if type(model) in (nn.RNN, nn.GRU, nn.LSTM):
        return Recurrent(model)  # type: ignore[arg-type]  # just checked
    if type(model) in (nn.TransformerEncoder, nn.TransformerEncoderLayer):
        return Encoder(model)
    # Our own families, and all that declare a reach, have rows first by that protocol.
    first = True if hasattr(model, "reach") and batch_first is None else batch_first
    return Module(model, batch_first=first)


def _look(predict: Predict, tokens: Tensor, lengths: Tensor | None) -> None:
    """Find out a module's layout; ask others for two rows, so that `reals` is known."""
    if lengths is None:
        lengths = torch.full((len(tokens),), tokens.shape[1])
    if isinstance(predict, Module):
        if predict.layout is None:
            predict.look(tokens, lengths)
        return
    with torch.no_grad():
        predict(tokens[:2], lengths[:2])


def _decodes(model: nn.Module) -> bool:
    return "decoder_input_ids" in inspect.signature(model.forward).parameters
