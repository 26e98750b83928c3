"""From a family's name and sizes to a model, drawn from a generator.

Idea     `build("gru", vocabulary=256, outputs=256)` is an embedding, the family's body, a head;
         `build_seq2seq` has an encoder and a decoder of the family; `fit_width` finds the width
         that gives a body so many parameters
Outside  a name `package.module:attr` is imported: a callable that takes the keywords of `build`
         and returns a `Model`
"""

import dataclasses
import importlib
from bisect import bisect_left
from itertools import chain
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Generator

from howfar.core.errors import UsageError, closest, shown
from howfar.models import seq2seq
from howfar.models.blocks import Sizes, positive
from howfar.models.catalogue import MODELS, named
from howfar.models.family import Family
from howfar.models.model import Model
from howfar.models.seq2seq import Seq2Seq

Built = TypeVar("Built", Model, Seq2Seq)
WIDEST = 2**16
CLOSE_ENOUGH = 0.05


def build(  # noqa: PLR0913 - the settings every family shares, by keyword only
    name: str,
    *,
    vocabulary: int,
    outputs: int,
    width: int = 64,
    depth: int | None = None,
    causal: bool = True,
    pooled: bool | Literal["last"] | None = None,
    embedding: int = 64,
    dropout: float = 0.0,
    channels: int = 0,
    generator: Generator | None = None,
    **extras: Any,  # noqa: ANN401 - each family types its own settings
) -> Model:
    """Build a model on the CPU; global random state is neither read nor moved.

    Args:
        name: a key of `MODELS`, or `package.module:attr`.
        vocabulary: ids, V; 0 where `channels` is given.
        outputs: logits a position or a sequence.
        width: D; filters for textcnn.
        depth: blocks; None: as the family has it.
        causal: whether a position knows nothing of later ones.
        pooled: one output a sequence, or one a position; None: a position if causal. "last": one a
            sequence, read at its last real position (of a causal model).
        embedding: E.
        dropout: share dropped, 0 <= dropout < 1.
        channels: the model reads this many real numbers a position, not ids.
        generator: source of all parameters; None: a new one with torch's default seed.
        extras: settings of the family, such as `kernel=5`.

    Raises:
        UsageError: E-MODEL for a name, E-SETTING for a setting nobody knows, E-OPTION for a value.
    """
    positive(outputs=outputs, width=width, embedding=embedding)
    _read(vocabulary, channels)
    last = _last(pooled, causal)
    whole = None if pooled is None or last else bool(pooled)
    _share(dropout)
    generator = torch.Generator() if generator is None else generator
    sizes = Sizes(embedding, width, causal, dropout, whole)
    extras = extras if depth is None else extras | {"depth": depth}
    if name not in MODELS and ":" in str(name):
        common = dataclasses.asdict(sizes) | {"vocabulary": vocabulary, "outputs": outputs}
        common |= {"channels": channels} if channels else {}
        if pooled is None:  # a builder need not know it
            del common["pooled"]
        return _from_outside(name, common | {"generator": generator} | extras)
    family = named(name)
    model = _bare(
        family, sizes, _settings(family, extras), vocabulary, outputs, last=last, channels=channels
    )
    return _filled(model, generator)


def build_seq2seq(  # noqa: PLR0913 - the settings every family shares, by keyword only
    name: str,
    *,
    source_vocabulary: int,
    vocabulary: int,
    outputs: int | None = None,
    width: int = 64,
    depth: int | None = None,
    embedding: int = 64,
    dropout: float = 0.0,
    attention: str | None = None,
    generator: Generator | None = None,
    **extras: Any,  # noqa: ANN401 - each family types its own settings
) -> Seq2Seq:
    """Build an encoder and a decoder of one family; see `howfar.models.seq2seq`.

    Args:
        name: a key of `MODELS`.
        source_vocabulary: ids of the source.
        vocabulary: ids of the target.
        outputs: logits a target position; None: `vocabulary`.
        width: D of both sides.
        depth: blocks of each side; None: as the family has it.
        embedding: E of both sides.
        dropout: share dropped, 0 <= dropout < 1.
        attention: "cross" (in every block) or "additive" (Bahdanau's, recurrent families); None:
            additive for recurrent families, cross for all others.
        generator: source of all parameters; None: a new one with torch's default seed.
        extras: settings of the family, for both sides; an encoder that can read in both
            directions does.

    Raises:
        UsageError: as `build`.
    """
    outputs = vocabulary if outputs is None else outputs
    positive(source_vocabulary=source_vocabulary, vocabulary=vocabulary, outputs=outputs)
    positive(width=width, embedding=embedding)
    _share(dropout)
    family = named(name)
    settings = _settings(family, extras if depth is None else extras | {"depth": depth})
    model = seq2seq.assemble(
        family.build_body,
        settings,
        Sizes(embedding, width, True, dropout),
        attention=_attention(family, attention),
        source_vocabulary=source_vocabulary,
        vocabulary=vocabulary,
        outputs=outputs,
    )
    return _filled(model, generator)


def fit_width(  # noqa: PLR0913 - the settings of `build`, by keyword only
    name: str,
    parameters: int,
    *,
    vocabulary: int = 1,
    outputs: int = 1,
    depth: int | None = None,
    causal: bool = True,
    embedding: int = 64,
    dropout: float = 0.0,
    **extras: Any,  # noqa: ANN401 - each family types its own settings
) -> int:
    """The width whose body (no embedding, no head) has the number of parameters nearest to asked.

    Args:
        name: a key of `MODELS`.
        parameters: wanted in the body.
        vocabulary: as for `build`; does not matter to the body.
        outputs: as for `build`; does not matter to the body.
        depth: as for `build`.
        causal: as for `build`.
        embedding: as for `build`.
        dropout: as for `build`.
        extras: settings of the family.

    Raises:
        UsageError: E-WIDTH if none comes within 5 %; else as `build`.
    """
    positive(parameters=parameters, embedding=embedding)
    family = named(name)
    settings = _settings(family, extras if depth is None else extras | {"depth": depth})

    def size(width: int) -> int:
        sizes = Sizes(embedding, width, causal, dropout)
        return _bare(family, sizes, settings, vocabulary, outputs).count()["body"]

    # at width = embedding the projection falls away and the size dips; without it, size only grows
    widths = [w for w in range(family.narrowest(settings), WIDEST) if w != embedding]
    place = bisect_left(widths, parameters, key=size)
    near = {*widths[max(place - 1, 0) : place + 1], embedding}
    near = {width for width in near if width >= family.narrowest(settings)}
    best = min(near, key=lambda width: (abs(size(width) - parameters), width))
    if abs(size(best) - parameters) > CLOSE_ENOUGH * parameters:
        raise UsageError(
            "E-WIDTH",
            f"No width gives the body of {name} about {parameters:,} parameters;"
            f" the nearest, {best}, gives {size(best):,}.",
            "ask for more parameters, less depth or a smaller embedding",
        )
    return best


def _settings(family: Family, extras: dict[str, Any]) -> object:
    known = [field.name for field in dataclasses.fields(family.settings)]
    for name in extras:
        if name not in known:
            raise UsageError(
                "E-SETTING",
                f"{family.name} has no setting {shown(name)}. {closest(name, known)}"
                f"Known: {', '.join(known)}.",
                "leave it out, or use a known one",
            )
    return family.settings(**extras)


def check_family(name: str, extras: dict[str, Any]) -> None:
    """Refuse a family, or a setting of one, that `build` or `build_seq2seq` would refuse.

    Raises:
        UsageError: E-MODEL, E-SETTING, E-OPTION.
    """
    family = named(name)
    _settings(family, {each: value for each, value in extras.items() if each != "attention"})


def _bare(  # noqa: PLR0913 - the last two by keyword only
    family: Family,
    sizes: Sizes,
    settings: object,
    vocabulary: int,
    outputs: int,
    *,
    last: bool = False,
    channels: int = 0,
) -> Model:
    """A model without memory: torch's own first draw would move global random state."""
    with torch.device("meta"):
        return Model(
            family.build_body(sizes, settings),
            vocabulary=vocabulary,
            outputs=outputs,
            embedding=sizes.embedding,
            dropout=sizes.dropout,
            pooled="last" if last else sizes.pooled,
            channels=channels,
        )


def _last(pooled: object, causal: object) -> bool:
    """Whether the last position answers; refuses flags that are none."""
    last = isinstance(pooled, str) and pooled == "last"
    for name, flag in (("causal", causal), ("pooled", last or (pooled is not None and pooled))):
        if not isinstance(flag, bool):
            message = f"{name} must be true or false, not {shown(flag)}."
            raise UsageError("E-OPTION", message, f"{name}=True")
    if last and not causal:
        message = 'pooled="last" is of causal models: it reads the last position alone.'
        raise UsageError("E-OPTION", message, "causal=True")
    return last


def _read(vocabulary: int, channels: int) -> None:
    """A model reads ids or numbers, not both."""
    if not channels:
        positive(vocabulary=vocabulary)
        return
    positive(channels=channels)
    if vocabulary:
        message = f"A model of {channels} numbers a position reads no ids, vocabulary={vocabulary}."
        raise UsageError("E-OPTION", message, "vocabulary=0")


def _attention(family: Family, attention: str | None) -> str:
    if attention is None:
        return "additive" if family.kind == "recurrent" else "cross"
    if attention not in {"additive", "cross"}:
        raise UsageError(
            "E-OPTION", f"attention cannot be {shown(attention)}.", "additive or cross"
        )
    if attention == "additive" and family.kind != "recurrent":
        raise UsageError(
            "E-OPTION",
            f"{family.name} cannot ask before every step, as recurrent families do.",
            "attention=cross",
        )
    return attention


def _share(dropout: object) -> None:
    number = isinstance(dropout, int | float) and not isinstance(dropout, bool)
    if not number or not 0 <= cast("float", dropout) < 1:
        raise UsageError(
            "E-OPTION",
            f"dropout must be at least 0 and below 1, not {shown(dropout)}.",
            "dropout=0.1",
        )


def _filled(model: Built, generator: Generator | None) -> Built:
    """Memory and values for a model without: all drawn from the generator."""
    model.to_empty(device="cpu")
    for tensor in chain(model.parameters(), model.buffers()):
        tensor.detach().fill_(torch.nan)  # one that is never drawn shows at once
    if generator is not None and not isinstance(generator, Generator):
        message = f"generator must be a torch.Generator, not {shown(generator)}."
        raise UsageError("E-OPTION", message, "torch.Generator().manual_seed(0)")
    model.draw_all(torch.Generator() if generator is None else generator)
    return model


def _from_outside(name: str, keywords: dict[str, Any]) -> Model:
    module, _, attribute = name.partition(":")
    try:
        builder = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            "E-MODEL", f"Cannot import {shown(name)}: {error}.", "package.module:attr"
        ) from error
    try:
        model = builder(**keywords)
    except TypeError as error:
        raise UsageError(
            "E-MODEL",
            f"{shown(name)} does not take what a builder is given: {error}.",
            "a callable that takes the keywords of howfar.build",
        ) from error
    if not isinstance(model, Model):
        raise UsageError(
            "E-MODEL",
            f"{shown(name)} gave {shown(type(model).__name__)}, not a howfar.models.Model.",
            "return Model(body, ...) around your own body",
        )
    return model
