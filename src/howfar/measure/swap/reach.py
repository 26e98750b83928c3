"""Swap reach: how many of the last tokens carry what the input does to the output.

Idea     keep the last k tokens, take everything older from another sequence, and see how much the
         output moves; do it for every k, relative to k = 0 (everything replaced)

             r(k) = sum_i D(f(x_i), f(x_i^(k))) / sum_i D(f(x_i), f(x_i^(0)))
             R_eps = min{k : r(k') <= eps for all k' >= k}, on the non-increasing fit of r

Designs  "paired": the same targets for every k, one forward pass a k, any model;
         "fast": causal models only, one cut s, all k = t - s + 1 from a single further pass
Doubt    percentile bootstrap over sequences (and over models, where several stand for a family). On
         a mixture of two decays 95 % intervals hold the truth in 88 % (32 sequences) to 91 % (128)
         of the paired repeats, and in 95 % or more of the fast ones (bench/coverage.py): effects
         are heavy-tailed, and a sequence that gives to another is not independent of it
Units    reach in kept tokens: a reach of 1 is the newest token alone. Benefit in nats a target
Source   our definition; closed form for linear models: r(k) = sum_{d>=k} g_d^2 / sum_d g_d^2.
         The benefit threshold of 0.01 nats is about the 1 % perplexity of Khandelwal et al. 2018,
         https://arxiv.org/abs/1805.04623
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from howfar.core.errors import DataError, UsageError
from howfar.core.protocols import Predict, Reaching
from howfar.measure import probe
from howfar.measure.curve import Curve
from howfar.measure.stats import MIN_SEQUENCES, crossing, interval
from howfar.measure.swap.doubt import (
    Doubt,
    Effects,
    fill_interval,
    furthest,
    last_measured,
    limits,
    sharpen,
    within,
)
from howfar.measure.swap.fast import Fast
from howfar.measure.swap.options import SwapOptions
from howfar.measure.swap.paired import Paired


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapReach:
    """One measured reach, in kept tokens.

    value: R_eps, or None: no influence, or (`censored`) more than `window`.
    low, high: its interval; None with a warning for few sequences; high None: beyond the window.
    ladder: R at each level asked for. detectable: as far as the lower bound of r stays above the
    noise floor. structural: declared, or the numeric support. useful: beyond it the loss is not
    worse than with all tokens by more than the tolerance (None: no labels). Either is None where
    it is censored, and for few sequences. noise_floor: as a share of the effect at k = 0.
    """

    value: int | None
    low: int | None
    high: int | None
    r50: int | None
    censored: bool
    window: int
    ladder: dict[float, int | None]
    detectable: int | None
    detectable_censored: bool
    structural: int
    useful: int | None
    useful_censored: bool
    per_model: tuple[int | None, ...]
    curve: Curve
    benefit: Curve | None
    noise_floor: float
    num_sequences: int
    design: str
    passes: int
    warnings: tuple[str, ...]


def swap_reach(
    predict: Predict | Sequence[Predict],
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    labels: Tensor | None = None,
    targets: Tensor | str = "last",
    options: SwapOptions | None = None,
) -> SwapReach:
    """Measure the swap reach of a callable, or of several trained alike, taken together.

    Args:
        predict: `predict(tokens, lengths) -> outputs`, or a sequence of such.
        tokens: integer (N, L), or real (N, L) or (N, L, D); rows are each other's donors.
        lengths: (N,) real tokens a row; padding on the right.
        labels: (N, L) classes a position (or (N,) at the target) for the benefit curve.
        targets: "last" or (N,) positions; the paired design reads the output there.
        options: see `SwapOptions`.

    Raises:
        UsageError: shapes or options that do not fit. DataError: the model answers NaN.
    """
    options = options or SwapOptions()
    models = list(predict) if isinstance(predict, Sequence) else [predict]
    seqs = probe.sequences(tokens, lengths, targets)
    if options.design == "fast" and not isinstance(targets, str):
        message = "The fast design reads every position behind its cuts, not chosen targets."
        raise UsageError("E-OPTION", message, 'design="paired", or targets="last".')
    design = Fast if options.design == "fast" else Paired
    effects = design(models, seqs, labels, options)
    return _summary(models, effects, options)


def _summary(models: Sequence[Predict], effects: Effects, options: SwapOptions) -> SwapReach:
    doubt = Doubt(effects, options)
    num = effects.moved[0].shape[1]
    influence = doubt.whole > 3 * effects.floor
    noisy = effects.noise > effects.floor - effects.noise  # more than rounding can make
    if noisy and effects.noise >= options.eps * doubt.whole:
        share = effects.noise / max(doubt.whole, effects.noise)
        message = (
            f"Equal calls give answers that differ by {share:.0%} of the input's whole effect."
        )
        raise DataError("E-NOISE", message, "switch dropout off, and let calls not share state.")
    exact = options.exact and options.design == "paired"
    levels = sorted({0.5, *options.levels, options.eps}, reverse=True)
    sure = num >= MIN_SEQUENCES
    detectable = useful = None
    if influence and sure:
        detectable = furthest(effects, doubt.seen, exact=exact)
    if effects.worse and sure:
        tolerance = options.tolerance_nats
        useful = furthest(effects, lambda k: doubt.useful(k, tolerance), exact=exact)
    if influence and exact:
        fill_interval(effects, doubt, options)
        sharpen(effects, doubt, levels)
    ladder = {eps: within(doubt.crossing(eps), effects) if influence else None for eps in levels}
    value = ladder[options.eps]
    low, high = limits(doubt, effects, options, value) if influence and sure else (None, None)
    structural = options.structural or _structural(models, effects, exact=exact)
    return SwapReach(
        value=value,
        low=low,
        high=high,
        r50=ladder[0.5],
        censored=influence and value is None,
        window=last_measured(effects),
        ladder=ladder,
        detectable=detectable,
        detectable_censored=influence and sure and detectable is None,
        structural=min(structural, effects.window),
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
            *_warnings(effects, options, influence=influence, noisy=noisy),
            *_broken_promise(structural, detectable),
            *_rise(effects, doubt, options, value),
        ),
    )


def _structural(models: Sequence[Predict], effects: Effects, *, exact: bool) -> int:
    """The furthest token that could matter: as declared, else the numeric support."""
    declared = [m.reach(effects.window) for m in models if isinstance(m, Reaching)]
    if len(declared) == len(models):
        return max(effects.window if reach is None else reach for reach in declared)
    moves = furthest(effects, lambda k: bool(effects.at(k).max() > effects.floor), exact=exact)
    return effects.window if moves is None else moves


def _per_model(effects: Effects, eps: float) -> tuple[int | None, ...]:
    kept = sorted(effects.moved)
    moved_KS = np.stack([effects.moved[k].mean(1) for k in kept])
    found = []
    for model_K in moved_KS.T:
        whole = model_K[0]
        seen = whole > 3 * effects.floor
        found.append(within(crossing(kept, model_K / whole, eps), effects) if seen else None)
    return tuple(found)


def _curve(effects: Effects, doubt: Doubt, options: SwapOptions, *, influence: bool) -> Curve:
    kept = tuple(sorted(effects.moved)) if influence else ()  # else a ratio of noise to noise
    bounds = [interval(doubt.ratios(k), options.ci) for k in kept]
    return Curve(
        axis="kept tokens",
        unit="share of the effect",
        x=kept,
        mean=tuple(doubt.ratio(k) for k in kept),
        low=tuple(float(low) for low, _ in bounds),
        high=tuple(float(high) for _, high in bounds),
        matrix=np.stack([effects.moved[k] for k in sorted(effects.moved)], axis=-1),
        matrix_unit={"js": "bits", "kl": "nats"}.get(effects.kind, "squared distance"),
        noise_floor=doubt.floor,
        design=options.design,
        passes=effects.passes,
    )


def _benefit_curve(effects: Effects, doubt: Doubt, options: SwapOptions) -> Curve:
    kept = tuple(sorted(effects.worse))
    bounds = [interval(doubt.bootstrap.means(effects.worse[k]), options.ci) for k in kept]
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


def _warnings(
    effects: Effects, options: SwapOptions, *, influence: bool, noisy: bool
) -> tuple[str, ...]:
    said = []
    num = effects.moved[0].shape[1]
    if all(bool((given == effects.seqs.tokens).all()) for given in effects.given):
        said.append("every sequence equals its donor: nothing was replaced")
    elif not influence:
        said.append("no influence: replacing the whole input does not move the output")
    if noisy:
        said.append("equal calls give different answers: a share of the effect is noise")
    if options.donors > 1:
        said.append("sequences share donors, which the interval leaves out: it is too narrow")
    if num < MIN_SEQUENCES:
        said.append(f"no interval: {num} sequences, at least {MIN_SEQUENCES} are needed")
    if options.trained_length and effects.seqs.window > options.trained_length:
        said.append(
            f"beyond the trained length: {effects.seqs.window} tokens measured, "
            f"{options.trained_length} trained on"
        )
    if int(effects.seqs.lengths.min()) < int(effects.seqs.lengths.max()):
        said.append("rows differ in length: shorter rows show no effect beyond their own start")
    return tuple(said)


def _broken_promise(structural: int, detectable: int | None) -> tuple[str, ...]:
    if detectable is None or detectable <= structural:
        return ()
    return (f"tokens beyond the declared reach of {structural} move the output",)


def _rise(
    effects: Effects, doubt: Doubt, options: SwapOptions, value: int | None
) -> tuple[str, ...]:
    """The fit levels a curve that rises again: say so where the rise is beyond doubt."""
    if value is None:
        return ()
    over = [k for k in sorted(effects.moved) if k >= value]
    over = [k for k in over if interval(doubt.ratios(k), options.ci)[0] > options.eps]
    if not over:
        return ()
    share = doubt.ratio(over[-1])
    return (f"the effect rises again: with {over[-1]} tokens kept it is {share:.0%} of the whole",)
