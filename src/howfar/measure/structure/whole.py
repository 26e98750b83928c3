"""Structural reach: what could matter, said three ways: by arithmetic, by swapping, as declared.

Idea     the receptive field of the layers (`field`), the numeric support (`support`) and what the
         model says of itself (`core.protocols.Reaching`) must agree; where they do not, one of
         them is wrong, and that is a warning. Beside them the effective field (`effective`)
Reads    a model with one output a token: the past of its last output and the future of its first.
         A model with one output a text: every token can matter, there is no side and no reach
Units    kept tokens: past + 1
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from howfar.core.errors import UsageError, in_range
from howfar.core.protocols import Predict, Reaching
from howfar.core.seeds import Seeds
from howfar.measure.curve import Curve, curve_of
from howfar.measure.stats import wilson
from howfar.measure.structure.effective import Effective, EffectiveOptions, effective_field
from howfar.measure.structure.field import Field, Step, receptive_field
from howfar.measure.structure.sides import Sides, disagreements
from howfar.measure.structure.support import Support, support


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureOptions:
    """How to look.

    texts, length: how many texts to draw and how long, where none are given. donors: other texts
    a text. tolerance: changes up to this count as none. effective: measure that field too;
    probes: random cotangents for it. embedding: its module's name, where it is no `nn.Embedding`.
    """

    texts: int = 16
    length: int = 64
    donors: int = 2
    tolerance: float = 0.0
    effective: bool = True
    probes: int = 4
    embedding: str | None = None
    ci: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        checks = {
            "texts": self.texts >= 2,
            "length": self.length >= 1,
            "donors": self.donors >= 1,
            "tolerance": self.tolerance >= 0,
            "probes": self.probes >= 1,
            "ci": 0 < self.ci < 1,
        }
        in_range(self, checks, "`help(howfar.structure)` says more.")


SAME = "every sequence equals its donor: nothing was replaced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """What could matter to an output.

    value: the numeric support in kept tokens; None: no influence, one output a text, or
    (`censored`) as much as `window`, the longest that could be seen. past, future: tokens before
    and after an output's own that move it; *_censored: as many as there were.
    field: by arithmetic, None where `unread` says why. declared: what the model says, None where
    it says nothing or (`declared_unbounded`) no bound. effective: None where it was not measured.
    curve: share of texts whose answer moves at all when only k tokens are kept.
    """

    value: int | None
    low: int | None
    high: int | None
    censored: bool
    window: int
    past: int | None
    past_censored: bool
    future: int | None
    future_censored: bool
    field: Field | None
    unread: str
    declared: int | None
    declared_unbounded: bool
    effective: Effective | None
    curve: Curve
    num_sequences: int
    passes: int
    warnings: tuple[str, ...]


def structure(
    predict: Predict,
    tokens: Tensor | None = None,
    *,
    layers: Step | Sequence[Step] | None = None,
    options: StructureOptions | None = None,
) -> Structure:
    """Say what could matter to a model's outputs, and check it.

    Args:
        predict: any callable on tokens; a module is copied to float64.
        tokens: integer (N, L), or real (N, L) or (N, L, D), full rows; None: random ids for a
            module with an `nn.Embedding`.
        layers: the stack as modules, `Layer`s and `Branches`; None: the module itself, where it
            is an `nn.Sequential`.
        options: see `StructureOptions`.

    Raises:
        UsageError: E-SHAPE, E-OPTION, E-MODULE. DataError: the model answers NaN.
    """
    options = options or StructureOptions()
    tokens = _drawn(predict, options) if tokens is None else tokens
    last = _support(predict, tokens, -1, options)
    first = _support(predict, tokens, 0, options) if last.outputs else last
    field, unread = _field(predict, layers)
    sides = Sides(last, first, tokens.shape[1])
    declared = predict.reach(tokens.shape[1]) if isinstance(predict, Reaching) else None
    unbounded = isinstance(predict, Reaching) and declared is None
    effective, said = _effective(predict, tokens, field, sides, options)
    return Structure(
        value=sides.kept,
        low=None,
        high=None,
        censored=sides.past_censored,
        window=tokens.shape[1],
        past=sides.past,
        past_censored=sides.past_censored,
        future=sides.future,
        future_censored=sides.future_censored,
        field=field,
        unread=unread,
        declared=declared,
        declared_unbounded=unbounded,
        effective=effective,
        curve=_curve(last, tokens.shape[1], options.ci),
        num_sequences=len(tokens),
        passes=last.passes + (first.passes if first is not last else 0),
        warnings=(
            "no interval: a support is the furthest found, not a mean",
            *([SAME] if bool((tokens == tokens[:1]).all()) else sides.said()),
            *disagreements(sides, field, declared, unbounded=unbounded),
            *said,
        ),
    )


def _support(predict: Predict, tokens: Tensor, output: int, options: StructureOptions) -> Support:
    return support(
        predict,
        tokens,
        output=output,
        donors=options.donors,
        tolerance=options.tolerance,
        seed=options.seed,
    )


def _field(predict: Predict, layers: Step | Sequence[Step] | None) -> tuple[Field | None, str]:
    if layers is not None:
        return receptive_field(layers), ""
    if not isinstance(predict, nn.Sequential):
        return None, "only an nn.Sequential, or the layers as given, can be read by arithmetic"
    try:
        return receptive_field(predict), ""
    except UsageError as error:
        return None, error.message


def _effective(
    predict: Predict,
    tokens: Tensor,
    field: Field | None,
    sides: Sides,
    options: StructureOptions,
) -> tuple[Effective | None, list[str]]:
    """The effective field of the middle output, or of the last where nothing after it is seen."""
    if not options.effective or not sides.influence:
        return None, []
    one_sided = sides.future == 0 or not sides.last.outputs
    span = field.span if field is not None else None
    if span is None and sides.past is not None and sides.future is not None:
        span = 1 + sides.past + sides.future
    try:
        found = effective_field(
            predict,
            tokens,
            output=-1 if one_sided else None,
            span=span,
            options=EffectiveOptions(
                embedding=options.embedding,
                probes=options.probes,
                ci=options.ci,
                seed=options.seed,
            ),
        )
    except (UsageError, RuntimeError) as error:  # a stranger's callable may stop gradients
        return None, [f"no effective field: {error}"]
    return found, [] if found else ["no effective field: every gradient is zero"]


def _curve(last: Support, length: int, ci: float) -> Curve:
    """Share of texts that move, by kept tokens; (1, N, K) 0 or 1."""
    kept = sorted(length - swapped for swapped in last.moved)
    moved_NK = np.stack([last.moved[length - k] for k in kept], axis=1).astype(float)
    bounds = [wilson(int(column.sum()), len(column), ci) for column in moved_NK.T]
    return curve_of(
        kept,
        moved_NK.mean(0),
        np.array([low for low, _ in bounds]),
        np.array([high for _, high in bounds]),
        moved_NK[None],
        axis="kept tokens",
        unit="share of texts that move",
        design="swap",
        passes=last.passes,
    )


def _drawn(predict: Predict, options: StructureOptions) -> Tensor:
    """Random ids for a module with an embedding."""
    modules = predict.modules() if isinstance(predict, nn.Module) else ()
    for module in modules:
        if isinstance(module, nn.Embedding):
            generator = Seeds(options.seed).torch("structure tokens")
            shape = (options.texts, options.length)
            return torch.randint(module.num_embeddings, shape, generator=generator)
    message = "Without an nn.Embedding it cannot be told what the model reads."
    raise UsageError("E-SHAPE", message, "give some tokens.")
