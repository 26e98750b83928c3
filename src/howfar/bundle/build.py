"""From settings to a model: with drawn weights, or without memory for those that a file brings.

Idea     a model on the meta device knows the name, shape and type of every weight and holds none of
         them: what a file must bring, and how many bytes that is, is known before any is taken
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.overrides import TorchFunctionMode

from howfar.bundle.settings import Settings
from howfar.core.errors import HowfarError, StoreError, UsageError, shown
from howfar.models import MODELS, Model, Sizes, build, build_seq2seq, named
from howfar.models.seq2seq import assemble

Expected = dict[str, tuple[tuple[int, ...], torch.dtype]]
GIB = 2**30
MAX_MODEL_BYTES = 16 * GIB


class _Undrawn(TorchFunctionMode):
    """Nothing is initialised: on the meta device that loads torch's compiler, a second's work."""

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401 - as torch says
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """The tensor as it is in place of `torch.nn.init`; all else as ever."""
        given = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return given.get("tensor", args[0] if args else None)
        return func(*args, **given)


def model_of(settings: Settings, generator: Generator | None = None) -> nn.Module:
    """A `Model`, or a `Seq2Seq` for that aim, with weights drawn from `generator`, on the CPU.

    Raises:
        UsageError: as `howfar.build`.
    """
    extras: dict[str, Any] = dict(settings.extras)
    common: dict[str, Any] = {
        "vocabulary": settings.vocabulary,
        "outputs": settings.outputs,
        "width": settings.width,
        "depth": settings.depth,
        "embedding": settings.embedding,
        "dropout": settings.dropout,
        "generator": generator,
    }
    if settings.aim == "seq2seq":
        return build_seq2seq(
            settings.family,
            source_vocabulary=_source(settings),
            **common,
            **extras,
        )
    return build(settings.family, causal=settings.causal, **_pooling(settings), **common, **extras)


def bare(settings: Settings, *, trust_code: bool = False) -> nn.Module:
    """The same model on the meta device: every shape, no memory.

    Args:
        settings: as read from a bundle.
        trust_code: a family `package.module:attr` may be imported; its model takes memory.

    Raises:
        StoreError: E-UNSAFE for a family from outside that is not trusted, E-CONFIG for settings
            that give no model.
    """
    try:
        if settings.family not in MODELS:
            return _from_outside(settings, trust_code)
        with torch.device("meta"), _Undrawn():
            return _family_model(settings)
    except UsageError as wrong:
        message = f"The settings of this bundle give no model: {wrong.message}"
        raise StoreError("E-CONFIG", message, wrong.hint) from wrong
    except HowfarError:
        raise
    except (TypeError, ValueError, RuntimeError, OverflowError) as wrong:
        text = " ".join(str(wrong).split())
        message = f"The settings of this bundle give no model: {shown(text, 200)}."
        raise StoreError("E-CONFIG", message, "the folder that howfar wrote, untouched") from wrong


def expected(model: nn.Module) -> Expected:
    """What a file of weights must hold: name -> shape and type."""
    return {name: (tuple(t.shape), t.dtype) for name, t in model.state_dict().items()}


def check_size(size: int, most: int = MAX_MODEL_BYTES) -> None:
    """Refuse a model before memory is taken for it.

    Raises:
        StoreError: E-TOO-LARGE above `most` bytes.
    """
    if size > most:
        message = (
            f"This model would take {size / GIB:,.1f} GiB, more than the {most / GIB:,.1f} allowed."
        )
        raise StoreError("E-TOO-LARGE", message, "max_model_bytes, where you trust the bundle")


def size_of(wanted: Expected) -> int:
    """Bytes of these weights; whole numbers of Python, which no shape can overflow."""
    return sum(math.prod(shape) * kind.itemsize for shape, kind in wanted.values())


def filled(model: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """The model with these weights, in eval mode; their memory is taken over, not copied."""
    model.load_state_dict(dict(weights), strict=True, assign=True)
    return model.eval()


def _family_model(settings: Settings) -> nn.Module:
    family = named(settings.family)
    extras: dict[str, Any] = dict(settings.extras)
    attention = extras.pop("attention", None) if settings.aim == "seq2seq" else None
    own = family.settings(**extras, **({} if settings.depth is None else {"depth": settings.depth}))
    pooling = _pooling(settings)
    sizes = Sizes(settings.embedding, settings.width, settings.causal, settings.dropout, **pooling)
    if settings.aim == "seq2seq":
        usual = "additive" if family.kind == "recurrent" else "cross"
        return assemble(
            family.build_body,
            own,
            dataclasses.replace(sizes, causal=True),
            attention=str(attention or usual),
            source_vocabulary=_source(settings),
            vocabulary=settings.vocabulary,
            outputs=settings.outputs,
        )
    return Model(
        family.build_body(sizes, own),
        vocabulary=settings.vocabulary,
        outputs=settings.outputs,
        embedding=settings.embedding,
        dropout=settings.dropout,
        **pooling,
    )


def _pooling(settings: Settings) -> dict[str, Any]:
    """The keyword `pooled`, where it does not follow from `causal`."""
    if settings.pooled == (not settings.causal):
        return {}
    return {"pooled": settings.pooled}


def _source(settings: Settings) -> int:
    if settings.source_vocabulary is None:
        raise UsageError("E-OPTION", "seq2seq needs source_vocabulary.", "the source's tokeniser")
    return settings.source_vocabulary


def _from_outside(settings: Settings, trust_code: bool) -> nn.Module:
    if ":" not in settings.family:
        named(settings.family)  # says which families there are
    if not trust_code:
        message = (
            f"This bundle's family is {shown(settings.family)}: code from outside howfar, which "
            "is not run unasked."
        )
        raise StoreError("E-UNSAFE", message, "trust_code=True (--trust-code), if you trust it")
    return model_of(settings)
