"""Swap reach: how many of the last tokens carry what the input does to the output.

Idea     keep the last k tokens, take everything older from another sequence, and see how much the
         output moves; do it for every k, relative to k = 0 (everything replaced)

             r(k) = sum_i D(f(x_i), f(x_i^(k))) / sum_i D(f(x_i), f(x_i^(0)))
             R_eps = min{k : r(k') <= eps for all k' >= k}, on the non-increasing fit of r

Designs  "paired": the same targets for every k, one forward pass a k, any model;
         "fast": causal models only, one cut s, all k = t - s + 1 from a single further pass
Sides    "past" and, of a model that reads both ways, "future", its mirror image; of an
         encoder-decoder "self" (the prefix, its source fixed) and "source" (both sides of a centre)
Parts    a class of tokens (`only`) or a milder change (`how`) is measured on the scale of the swap
         of everything, r = C_part(k) / C_swap(0): r(0) is then its share, and reaches compare. Its
         value may be 0: with nothing kept it does less than eps. `own` has its own scale
Doubt    bootstrap over sequences, studentised, with the dependence that shared donors bring; the
         interval of R holds the k at which the data cannot say on which side of eps r(k) is (see
         `doubt`). Several models of one family add the variance between them. How often nominal
         95 % intervals hold the truth: docs/coverage.md
Units    reach in kept tokens: a reach of 1 is the newest token alone. Benefit in nats a target
Source   our definition; closed form for linear models: r(k) = sum_{d>=k} g_d^2 / sum_d g_d^2.
         The benefit threshold of 0.01 nats is about the 1 % perplexity of Khandelwal et al. 2018,
         https://arxiv.org/abs/1805.04623
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from howfar.core.errors import DataError
from howfar.core.protocols import Predict, Reaching
from howfar.measure.curve import Curve
from howfar.measure.stats import MIN_SEQUENCES, crossing
from howfar.measure.swap import notes
from howfar.measure.swap.ahead import looks_ahead
from howfar.measure.swap.doubt import (
    Doubt,
    Effects,
    furthest,
    last_measured,
    limits,
    narrow,
    sharpen,
    within,
)
from howfar.measure.swap.options import SwapOptions
from howfar.measure.swap.result import SwapReach
from howfar.measure.swap.setup import Given, set_up
from howfar.measure.swap.share import is_part, own_reach
from howfar.measure.swap.source import source_share

LEVELS = (0.5, 0.05, 0.01)


def swap_reach(  # noqa: PLR0913 - what a user may give
    predict: Predict | Callable[..., Tensor] | Sequence[Predict | Callable[..., Tensor]],
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    labels: Tensor | None = None,
    targets: Tensor | str = "last",
    only: Tensor | None = None,
    source: Tensor | None = None,
    source_lengths: Tensor | None = None,
    centre: Tensor | None = None,
    options: SwapOptions | None = None,
) -> SwapReach:
    """Measure the swap reach of a callable, or of several trained alike, taken together.

    Args:
        predict: `predict(tokens, lengths) -> outputs`, or a sequence of such; with a source,
            `predict(tokens, lengths, source, source_lengths)`.
        tokens: integer (N, L), or real (N, L) or (N, L, D); rows are each other's donors.
        lengths: (N,) real tokens a row; padding on the right.
        labels: (N, L) classes a position (or (N,) at the target) for the benefit curve.
        targets: "last", "middle" or (N,) positions; the paired design reads the output there.
        only: bool (N, L), the tokens that may be changed (of the source with side="source"); see
            `token_class`. None: all.
        source: of an encoder-decoder, integer (N, W), or real (N, W) or (N, W, D).
        source_lengths: (N,) real tokens a source.
        centre: (N,) source places that kept source tokens surround; None: the most influential.
        options: see `SwapOptions`.

    Raises:
        UsageError: shapes or options that do not fit. DataError: the model answers NaN.
    """
    options = options or SwapOptions()
    models = list(predict) if isinstance(predict, Sequence) else [predict]
    if source is not None and options.side == "past":
        options = replace(options, side="self")
    given = Given(
        tokens=tokens,
        lengths=lengths,
        labels=labels,
        targets=targets,
        only=only,
        source=source,
        source_lengths=source_lengths,
        centre=centre,
    )
    effects = set_up(models, given, options)
    found = _summary(models, effects, options)
    said = found.warnings
    one_sided = options.side in ("past", "self")
    if one_sided and looks_ahead(effects, options.batch):
        said = (*said, notes.ONE_SIDE)
    share = source_share(effects, options)
    return replace(found, warnings=said, source_share=share, passes=effects.passes)


def _summary(models: Sequence[Predict], effects: Effects, options: SwapOptions) -> SwapReach:
    part = is_part(effects)
    doubt = Doubt(effects, options)
    own = own_reach(effects, options) if part and doubt.whole > 3 * effects.floor else None
    num = effects.moved[0].shape[1]
    most = max(float(moved.mean()) for moved in effects.moved.values())
    influence = min(doubt.whole, most) > 3 * effects.floor
    late = notes.without_scale(effects)
    noisy = effects.noise > effects.floor - effects.noise  # more than rounding can make
    if noisy and effects.noise >= options.eps * doubt.whole:
        share = effects.noise / max(doubt.whole, effects.noise)
        message = (
            f"Equal calls give answers that differ by {share:.0%} of the input's whole effect."
        )
        raise DataError("E-NOISE", message, "switch dropout off, and let calls not share state.")
    exact = options.exact and options.design == "paired"
    levels = sorted({*LEVELS, *options.levels, options.eps}, reverse=True)
    sure = num >= MIN_SEQUENCES
    detectable = useful = None
    if influence and sure:
        detectable = furthest(effects, doubt.seen, exact=exact)
    if effects.worse and sure:
        tolerance = options.tolerance_nats
        useful = furthest(effects, lambda k: doubt.useful(k, tolerance), exact=exact)
    if influence and exact:
        sharpen(effects, doubt, levels)
        if sure:
            narrow(effects, doubt, options.eps)
    ladder = {eps: within(doubt.crossing(eps), effects) if influence else None for eps in levels}
    value = ladder[options.eps]
    low, high = limits(doubt, effects, options, value) if influence and sure else (None, None)
    declared = options.structural or _declared(models, effects, options)
    structural = declared or _support(effects, options)
    return SwapReach(
        value=value,
        low=low,
        high=high,
        r50=ladder[0.5],
        censored=bool(influence or late) and value is None,
        window=last_measured(effects),
        ladder=ladder,
        detectable=detectable,
        detectable_censored=influence and sure and detectable is None,
        structural=min(structural, effects.window),
        structural_declared=declared is not None,
        useful=useful,
        useful_censored=bool(effects.worse) and sure and useful is None,
        per_model=_per_model(effects, options.eps) if influence else (None,) * len(models),
        curve=_curve(effects, doubt, options, influence=influence),
        benefit=_benefit_curve(effects, doubt, options) if effects.worse else None,
        noise_floor=doubt.floor,
        num_sequences=num,
        design=options.design,
        passes=effects.passes,
        warnings=(
            *notes.about_effects(effects, options, influence=influence, noisy=noisy),
            *notes.about_parts(own if influence else None, options.eps),
            *notes.broken_promise(structural, detectable),
            *notes.rise(effects, doubt, options, value),
        ),
        side=options.side,
        how=options.how,
        own=own,
    )


def _declared(models: Sequence[Predict], effects: Effects, options: SwapOptions) -> int | None:
    """The furthest token that could matter, as every model declares of the past."""
    declared = [m.reach(effects.window) for m in models if isinstance(m, Reaching)]
    if len(declared) < len(models) or options.side != "past":
        return None
    return max(effects.window if reach is None else reach for reach in declared)


def _support(effects: Effects, options: SwapOptions) -> int:
    """The furthest token whose effect exceeds rounding."""
    exact = options.exact and options.design == "paired"
    moves = furthest(effects, lambda k: bool(effects.at(k).max() > effects.floor), exact=exact)
    return effects.window if moves is None else moves


def _per_model(effects: Effects, eps: float) -> tuple[int | None, ...]:
    kept = sorted(effects.moved)
    moved_KS = np.stack([effects.moved[k].mean(1) for k in kept])
    found = []
    for model_K, whole in zip(moved_KS.T, effects.whole.mean(1), strict=True):
        seen = whole > 3 * effects.floor
        found.append(within(crossing(kept, model_K / whole, eps), effects) if seen else None)
    return tuple(found)


def _curve(effects: Effects, doubt: Doubt, options: SwapOptions, *, influence: bool) -> Curve:
    kept = tuple(sorted(effects.moved)) if influence else ()  # else a ratio of noise to noise
    bounds = [doubt.band(k) for k in kept]
    return Curve(
        axis="kept tokens",
        unit="share of the effect",
        x=kept,
        mean=tuple(doubt.ratio(k) for k in kept),
        low=tuple(float(low) for low, _ in bounds),
        high=tuple(float(high) for _, high in bounds),
        # Kept where there is no influence too: whoever doubts it can look.
        matrix=np.stack([effects.moved[k] for k in sorted(effects.moved)], axis=-1),
        matrix_unit={"js": "bits", "kl": "nats"}.get(effects.kind, "squared distance"),
        noise_floor=doubt.floor,
        design=options.design,
        passes=effects.passes,
    )


def _benefit_curve(effects: Effects, doubt: Doubt, options: SwapOptions) -> Curve:
    kept = tuple(sorted(effects.worse))
    bounds = [doubt.worse(k) for k in kept]
    return Curve(
        axis="kept tokens",
        unit="nats",
        x=kept,
        mean=tuple(float(effects.worse[k].mean()) for k in kept),
        low=tuple(float(low) for low, _ in bounds),
        high=tuple(float(high) for _, high in bounds),
        matrix=np.stack([effects.worse[k] for k in kept], axis=-1),
        design=options.design,
        passes=effects.passes,
    )
