"""Interaction reach: how far apart two tokens may stand and still be treated jointly.

Idea     a pooled classifier has no "last position", so the question is not how far back it looks
         but whether it relates two words: what adding up single words cannot explain,

             Delta_ij f = f(x^ij) - f(x^i) - f(x^j) + f(x),

         where x^i has a span at i replaced by another sequence's tokens
         I(d) = E |Delta_i,i+d f|^2 / E |f(x^i) - f(x)|^2, on centred logits
         I_eps = largest d whose lower bound exceeds the noise floor and eps * max_d I(d)
Winners  under a maximum over time all windows compete, which is joint treatment in the sense of
         the formula but no relation between two words: I(d) shows a floor at every lag. So the
         measure is repeated with the winners of the clean text held fixed. What is left is
         `relation`; what went is `competition`
Lags     two an octave, and the edge found by bisection. In windows of 128 tokens or less every
         other lag is tried on few sequences first, so that an isolated one is found
Units    lag d in tokens between the two spans' first tokens; I(d) is a ratio
Limits   in longer windows a grid of lags steps over an isolated one: lags="all", or name them
Source   our own definition; the second difference is the pairwise interaction of ANOVA
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from howfar.core.errors import UsageError
from howfar.core.protocols import Predict
from howfar.measure import probe
from howfar.measure.curve import Curve
from howfar.measure.interaction.doubt import Doubt, Reading
from howfar.measure.interaction.options import InteractionOptions
from howfar.measure.interaction.pairs import Pairs
from howfar.measure.stats import MIN_SEQUENCES, log_grid

FAINT = 0.01  # of a single swap's effect: less is real, but hardly a relation of two words
SCREEN_WINDOW = 128  # tokens; every lag is tried on few sequences up to here
SCREEN_LAGS = 4  # strongest and furthest lags of the screening that are then measured


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractionReach:
    """One measured interaction reach, as a lag in tokens.

    value: I_eps, or None: no interaction found. censored: it holds at the longest lag tried.
    low, high: percentile interval of the largest lag above the threshold over bootstrap samples.
    furthest: largest lag whose lower bound is above the noise floor alone.
    relation, with its interval and censoring: the same with the winners of a maximum over time
    held fixed; held: its curve; competition: the curve less the held one. All None where nothing
    could be held, and `pooling` says what is held, or why nothing is.
    """

    value: int | None
    low: int | None
    high: int | None
    censored: bool
    furthest: int | None
    window: int
    curve: Curve
    relation: int | None
    relation_low: int | None
    relation_high: int | None
    relation_censored: bool
    held: Curve | None
    competition: Curve | None
    pooling: str
    noise_floor: float
    num_sequences: int
    passes: int
    warnings: tuple[str, ...]


def interaction_reach(
    predict: Predict | Sequence[Predict],
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    options: InteractionOptions | None = None,
) -> InteractionReach:
    """Measure the interaction reach of a callable, or of several trained alike.

    Args:
        predict: `predict(tokens, lengths) -> (B, C)`; of a (B, L, V) output the last is read.
        tokens: integer (N, L), or real (N, L) or (N, L, D); rows are each other's donors.
        lengths: (N,) real tokens a row.
        options: see `InteractionOptions`.

    Raises:
        UsageError: shapes or options that do not fit. DataError: the model answers NaN.
    """
    options = options or InteractionOptions()
    models = list(predict) if isinstance(predict, Sequence) else [predict]
    seqs = probe.sequences(tokens, lengths, "last")
    # A lag that only a few rows are long enough for would have an interval of those few.
    enough = min(len(seqs.tokens), MIN_SEQUENCES)
    room = int(seqs.lengths.sort(descending=True).values[enough - 1])
    longest = room - options.span
    if options.lags == "all":
        wanted: Sequence[int] = range(options.span, longest + 1)
    elif options.lags is None or isinstance(options.lags, str):
        wanted = log_grid(longest, dense=8) if longest >= 0 else ()
    else:
        wanted = options.lags
    lags = [lag for lag in wanted if options.span <= lag <= longest]
    if not lags:
        message = f"{enough} rows have {room} tokens or more: no lag fits."
        raise UsageError("E-SHAPE", message, "longer rows, or smaller lags.")
    pairs = Pairs(models, seqs, options)
    if options.lags is None and room <= SCREEN_WINDOW:
        pairs.profile()
    for lag in lags:
        pairs.measure(lag)
    if options.lags is None:
        if room <= SCREEN_WINDOW:
            _isolated(pairs, longest)
        _fill(pairs)
    return _summary(pairs)


def _isolated(pairs: Pairs, longest: int) -> None:
    """Measure the lags off the grid that few sequences tell apart from nothing."""
    rest = [lag for lag in range(pairs.options.span, longest + 1) if lag not in pairs.joint]
    if not rest:
        return
    found_K = pairs.screen(rest)
    known = [joint.sum() / max(pairs.fits[lag].sum(), 1) for lag, joint in pairs.joint.items()]
    strongest = max(float(found_K.max()), max(known) / len(pairs.models))
    seen = np.flatnonzero(found_K > max(pairs.floor, pairs.options.eps * strongest))
    best = seen[np.argsort(found_K[seen])[::-1][:SCREEN_LAGS]]
    for place in sorted({*seen[-SCREEN_LAGS:].tolist(), *best.tolist()}):
        pairs.measure(rest[place])


def _fill(pairs: Pairs) -> None:
    """Bisect between the furthest lag that holds and the next one tried, free and held."""
    for which in (pairs.joint, pairs.held):
        while which:
            lags = sorted(which)
            holds_K = Doubt(pairs).read(which).holds
            if not holds_K.any() or holds_K[-1]:
                break
            last = int(np.flatnonzero(holds_K)[-1])
            if lags[last + 1] - lags[last] <= 1:
                break
            pairs.measure((lags[last] + lags[last + 1]) // 2)


def _summary(pairs: Pairs) -> InteractionReach:
    doubt = Doubt(pairs)
    free = doubt.read(pairs.joint)
    held = doubt.read(pairs.held) if pairs.holding and doubt.influence else None
    return InteractionReach(
        value=free.value,
        low=free.low,
        high=free.high,
        censored=free.value == free.lags[-1],
        furthest=free.furthest,
        window=free.lags[-1],
        curve=doubt.curve(free, "pairs"),
        relation=held.value if held else None,
        relation_low=held.low if held else None,
        relation_high=held.high if held else None,
        relation_censored=held is not None and held.value == held.lags[-1],
        held=doubt.curve(held, "pairs, winners held") if held else None,
        competition=doubt.difference(free, held) if held else None,
        pooling=pairs.pooling,
        noise_floor=doubt.floor,
        num_sequences=len(pairs.seqs.tokens),
        passes=pairs.passes,
        warnings=tuple(_said(pairs, doubt, free, held)),
    )


def _said(pairs: Pairs, doubt: Doubt, free: Reading, held: Reading | None) -> list[str]:
    tokens = pairs.seqs.tokens
    said = [] if doubt.influence else ["no influence"]
    if bool((tokens == tokens[:1]).all()):
        said = ["every sequence equals its donor: nothing was replaced"]
    if free.value is not None and max(free.point) < FAINT:
        said.append(
            f"faint: two tokens together add at most {max(free.point):.1%} of what one of them does"
        )
    if 4 * pairs.noise > pairs.floor:
        said.append("equal calls give different answers: the noise floor stands for them")
    num = len(pairs.seqs.tokens)
    if num < MIN_SEQUENCES:
        said.append(f"no interval: {num} sequences, at least {MIN_SEQUENCES} are needed")
    if held and free.value is not None and (held.value or 0) < free.value:
        left = f"ends at lag {held.value}" if held.value is not None else "is not found"
        said.append(
            "competition for the maximum over time: with its winners held fixed, at "
            f"{pairs.options.pairs} pairs a text and lag, the joint treatment {left}, "
            f"not at lag {free.value}"
        )
    return said
