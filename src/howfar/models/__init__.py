"""Model families by name: each is one file, one line in `MODELS`, one set of settings.

Idea     `build("gru", vocabulary=256, outputs=256)` is an embedding, the family's body, a head
Outside  a name `package.module:attr` is imported: a callable that takes the keywords of `build`
         and returns a `Model`
"""

import dataclasses
import importlib
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Generator

from howfar.core.errors import UsageError, closest, shown
from howfar.models import elman, gru, lstm, tcn, textcnn, transformer
from howfar.models.blocks import Body, Sizes, Stack, positive
from howfar.models.model import Model

__all__ = ["MODELS", "Body", "Family", "Model", "Sizes", "Stack", "build", "families", "fit_width"]

WIDEST = 2**16
CLOSE_ENOUGH = 0.05


@dataclass(frozen=True, slots=True)
class Family:
    """What one file of this room offers."""

    name: str
    kind: str  # "convolutional", "recurrent" or "attention"
    summary: str
    reach: str
    state: str
    source: str
    settings: type[Any]
    build_body: Callable[..., Body]
    narrowest: Callable[[Any], int] = lambda _: 1  # smallest width under these settings


MODELS: dict[str, Family] = {
    "textcnn": Family(
        name="textcnn",
        kind="convolutional",
        summary="filters over short windows, and the strongest answer of each",
        reach="the widest window; unbounded with the running maximum of the causal form",
        state="the last window and one maximum a filter",
        source="https://arxiv.org/abs/1408.5882",
        settings=textcnn.TextCnnSettings,
        build_body=textcnn.build_body,
        narrowest=lambda settings: len(settings.kernels),
    ),
    "tcn": Family(
        name="tcn",
        kind="convolutional",
        summary="dilated convolutions, the dilation doubling from block to block",
        reach="1 + 2 (kernel - 1) (2^depth - 1) tokens",
        state="(kernel - 1) * dilation vectors a convolution",
        source="https://arxiv.org/abs/1803.01271",
        settings=tcn.TcnSettings,
        build_body=tcn.build_body,
    ),
    "elman": Family(
        name="elman",
        kind="recurrent",
        summary="one tanh layer that reads its own last answer",
        reach="unbounded",
        state="one vector a layer",
        source="https://doi.org/10.1207/s15516709cog1402_1",
        settings=elman.ElmanSettings,
        build_body=elman.build_body,
    ),
    "lstm": Family(
        name="lstm",
        kind="recurrent",
        summary="a cell that adds to itself, behind input, forget and output gates",
        reach="unbounded",
        state="two vectors a layer",
        source="https://doi.org/10.1162/neco.1997.9.8.1735",
        settings=lstm.LstmSettings,
        build_body=lstm.build_body,
    ),
    "gru": Family(
        name="gru",
        kind="recurrent",
        summary="a state that is mixed with its own update by two gates",
        reach="unbounded",
        state="one vector a layer",
        source="https://arxiv.org/abs/1406.1078",
        settings=gru.GruSettings,
        build_body=gru.build_body,
    ),
    "transformer": Family(
        name="transformer",
        kind="attention",
        summary="every position reads every position it may see, with rotary positions",
        reach="unbounded: all visible tokens",
        state="a key and a value a token and layer",
        source="https://arxiv.org/abs/1706.03762",
        settings=transformer.TransformerSettings,
        build_body=transformer.build_body,
    ),
}


def families() -> tuple[Family, ...]:
    """All families, in the order of `MODELS`."""
    return tuple(MODELS.values())


def build(  # noqa: PLR0913 - the settings every family shares, by keyword only
    name: str,
    *,
    vocabulary: int,
    outputs: int,
    width: int = 64,
    depth: int | None = None,
    causal: bool = True,
    embedding: int = 64,
    dropout: float = 0.0,
    generator: Generator | None = None,
    **extras: Any,  # noqa: ANN401 - each family types its own settings
) -> Model:
    """Build a model on the CPU; global random state is neither read nor moved.

    Args:
        name: a key of `MODELS`, or `package.module:attr`.
        vocabulary: ids, V.
        outputs: logits a position (causal) or a sequence.
        width: D; filters for textcnn.
        depth: blocks; None: as the family has it.
        causal: one output a position from the past alone, or one for the whole sequence.
        embedding: E.
        dropout: share dropped, 0 <= dropout < 1.
        generator: source of all parameters; None: a new one with torch's default seed.
        extras: settings of the family, such as `kernel=5`.

    Raises:
        UsageError: E-MODEL for a name, E-SETTING for a setting nobody knows, E-OPTION for a value.
    """
    positive(vocabulary=vocabulary, outputs=outputs, width=width, embedding=embedding)
    if not 0 <= dropout < 1:
        raise UsageError(
            "E-OPTION", f"dropout must be at least 0 and below 1, not {dropout}.", "dropout=0.1"
        )
    generator = torch.Generator() if generator is None else generator
    sizes = Sizes(embedding, width, causal, dropout)
    extras = extras if depth is None else extras | {"depth": depth}
    if name not in MODELS and ":" in name:
        common = dataclasses.asdict(sizes) | {"vocabulary": vocabulary, "outputs": outputs}
        return _from_outside(name, common | {"generator": generator} | extras)
    family = _family(name)
    model = _bare(family, sizes, _settings(family, extras), vocabulary, outputs)
    model.to_empty(device="cpu")
    for tensor in chain(model.parameters(), model.buffers()):
        tensor.detach().fill_(torch.nan)  # one that is never drawn shows at once
    model.draw_all(generator)
    return model


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
    family = _family(name)
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


def _family(name: str) -> Family:
    if name in MODELS:
        return MODELS[name]
    raise UsageError(
        "E-MODEL",
        f"No model is called {shown(name)}. {closest(name, MODELS)}Known: {', '.join(MODELS)}.",
        "a known name, or package.module:attr for your own",
    )


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


def _bare(family: Family, sizes: Sizes, settings: object, vocabulary: int, outputs: int) -> Model:
    """A model without memory: torch's own first draw would move global random state."""
    with torch.device("meta"):
        return Model(
            family.build_body(sizes, settings),
            vocabulary=vocabulary,
            outputs=outputs,
            embedding=sizes.embedding,
            dropout=sizes.dropout,
        )


def _from_outside(name: str, keywords: dict[str, Any]) -> Model:
    module, _, attribute = name.partition(":")
    try:
        builder = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            "E-MODEL", f"Cannot import {shown(name)}: {error}.", "package.module:attr"
        ) from error
    model = builder(**keywords)
    if not isinstance(model, Model):
        raise UsageError(
            "E-MODEL",
            f"{shown(name)} gave {shown(type(model).__name__)}, not a howfar.models.Model.",
            "return Model(body, ...) around your own body",
        )
    return model
