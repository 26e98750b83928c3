"""Which fragment of one text a model's answer hangs on: swap each window, see what moves.

Idea     x^[i,i+w) is the text with the tokens of one window taken from a donor text, the rest kept

             effect(i) = mean over donors of D(f(x), f(x^[i,i+w)))
             support(i, c) = mean over donors of f_c(x) - f_c(x^[i,i+w))

         On a model that adds up single tokens, `support` of a window is the sum over its tokens.
         Any model, any depth: nothing inside is looked at
Units    effect in bits for logits, squared distance for reals; support in units of the output
Limits   a fragment that stands twice in a text, or whose work another can do, moves little alone
Source   our definition, the general form of the n-gram contributions in `decompose`
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from howfar.core.errors import UsageError
from howfar.core.protocols import Predict
from howfar.core.seeds import Seeds
from howfar.measure import probe
from howfar.measure.curve import Curve, curve_of
from howfar.measure.fragments.gather import spelled
from howfar.measure.fragments.options import SwapFragmentsOptions
from howfar.measure.stats import MIN_SEQUENCES, Bootstrap, interval

_DONORS = 64
_UNITS = {"js": "bits", "kl": "nats"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Swapped:
    """One window of the text. place: of its first token. support: one number an output."""

    place: int
    tokens: tuple[int, ...] | None
    text: str
    effect: float
    low: float | None
    high: float | None
    support: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FragmentSwap:
    """The windows of one text, ranked.

    value: tokens from the strongest window's first to the target, both counted: what a model must
    keep to see that fragment whole. None: no window moves the output. low, high: its interval.
    ranked: windows by effect, strongest first. curve: effect by place; its sequences are donors.
    """

    value: int | None
    low: int | None
    high: int | None
    censored: bool
    ranked: tuple[Swapped, ...]
    curve: Curve
    noise_floor: float
    num_sequences: int
    passes: int
    warnings: tuple[str, ...]


def fragment_swap(
    predict: Predict,
    tokens: Tensor,
    *,
    text: int = 0,
    lengths: Tensor | None = None,
    names: Sequence[str] | None = None,
    options: SwapFragmentsOptions | None = None,
) -> FragmentSwap:
    """Rank the windows of one text by how much swapping them moves the answer.

    Args:
        predict: `predict(tokens, lengths)`; of an answer a position, the text's last is read.
        tokens: integer (N, L), or real (N, L) or (N, L, D); the other rows are donors.
        text: which row is asked about.
        lengths: (N,) real tokens a row.
        names: the token behind each id.
        options: see `SwapFragmentsOptions`.

    Raises:
        UsageError: shapes or options that do not fit. DataError: the model answers NaN.
    """
    options = options or SwapFragmentsOptions()
    seqs = probe.sequences(tokens, lengths, "last")
    num, length = len(seqs.tokens), int(seqs.lengths[text]) if 0 <= text < len(tokens) else 0
    if not 0 <= text < num or length < options.width:
        message = f"text={text} of {num}, {length} tokens: no window of {options.width} fits."
        raise UsageError("E-SHAPE", message, "another text, or a smaller width.")
    places = range(0, length - options.width + 1, options.step)
    asked = probe.ask(predict, seqs)
    clean_1V, other_PKV = _answers(asked, seqs, text, places, options)
    kind = probe.divergence_kind(options.divergence, seqs.tokens, clean_1V.shape[1])
    effect_KP = np.stack([probe.diverge(kind, clean_1V, other_KV) for other_KV in other_PKV], -1)
    support_PV = (clean_1V - other_PKV.mean(1)).tolist()
    return _result(
        effect_KP,
        support_PV,
        _spelled(seqs.tokens[text], places, options.width, names),
        _Setting(
            places=places,
            length=length,
            floor=probe.resolution(kind, clean_1V, asked.eps),
            unit=_UNITS.get(kind, "squared distance"),
            passes=-(-(len(places) * effect_KP.shape[0] + 1) // num),
            options=options,
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setting:
    places: range
    length: int
    floor: float
    unit: str
    passes: int
    options: SwapFragmentsOptions


def _answers(
    asked: probe.Asked,
    seqs: probe.Sequences,
    text: int,
    places: range,
    options: SwapFragmentsOptions,
) -> tuple[Tensor, Tensor]:
    """The clean answer (1, V) and those with each window from each donor, (P, K, V)."""
    num = len(seqs.tokens)
    count = min(options.donors or _DONORS, num - 1)
    rng = Seeds(options.seed).numpy("fragment donors")
    others = np.array([row for row in range(num) if row != text])
    donor_K = np.sort(rng.permutation(others)[:count])
    donor_tokens = _given(seqs, donor_K)
    own = seqs.tokens[text]
    found = []
    for place in places:
        rows = own[None].repeat(count, *[1] * own.ndim)
        rows[:, place : place + options.width] = donor_tokens[:, place : place + options.width]
        found.append(rows)
    # The clean text runs in a batch of the same shape as the changed ones.
    stacked = torch.cat([own[None].repeat(count, *[1] * own.ndim), *found])
    same = seqs.lengths[text].repeat(len(stacked))
    part = probe.Sequences(stacked, same, same - 1)
    answers_RV = probe.answers(asked, part, options.batch)
    return answers_RV[:1], answers_RV[count:].reshape(len(places), count, -1)


def _given(seqs: probe.Sequences, donor_K: np.ndarray) -> Tensor:
    """The donors' tokens; a shorter one is repeated to cover the row."""
    rows = torch.from_numpy(donor_K)
    part = probe.Sequences(seqs.tokens[rows], seqs.lengths[rows], seqs.targets[rows])
    return probe.donor_tokens(part, np.arange(len(donor_K)))


def _spelled(
    own: Tensor, places: range, width: int, names: Sequence[str] | None
) -> list[tuple[tuple[int, ...] | None, str]]:
    if own.is_floating_point():
        return [(None, f"places {place} .. {place + width - 1}") for place in places]
    known = dict(enumerate(names)) if names else None
    windows = [tuple(own[place : place + width].tolist()) for place in places]
    return [(ids, spelled(ids, known)) for ids in windows]


def _result(
    effect_KP: np.ndarray,
    support_PV: list[list[float]],
    said: list[tuple[tuple[int, ...] | None, str]],
    setting: _Setting,
) -> FragmentSwap:
    options, places = setting.options, setting.places
    donors, count = effect_KP.shape
    few = donors < MIN_SEQUENCES
    rng = Seeds(options.seed).numpy("fragment bootstrap")
    bootstrap = Bootstrap((1, donors), options.resamples, rng)
    means_RP = np.stack([bootstrap.means(effect_KP[None, :, p]) for p in range(count)], axis=1)
    low_P, high_P = interval(means_RP, options.ci)
    mean_P = effect_KP.mean(0)
    moves = bool(mean_P.max() > 3 * setting.floor)
    ranked = [
        Swapped(
            place=places[p],
            tokens=said[p][0],
            text=said[p][1],
            effect=float(mean_P[p]),
            low=None if few else float(low_P[p]),
            high=None if few else float(high_P[p]),
            support=tuple(support_PV[p]),
        )
        for p in np.argsort(-mean_P, kind="stable")
    ]
    kept_R = setting.length - np.array(places)[means_RP.argmax(1)]
    low, high = interval(kept_R, options.ci)
    warnings = [] if moves else ["no influence: no window moves the output"]
    if few:
        warnings.append(f"no interval: {donors} donors, at least {MIN_SEQUENCES} are needed")
    sure = moves and not few
    return FragmentSwap(
        value=setting.length - ranked[0].place if moves else None,
        low=int(np.floor(low)) if sure else None,
        high=int(np.ceil(high)) if sure else None,
        censored=False,
        ranked=tuple(ranked),
        curve=curve_of(
            places,
            mean_P,
            mean_P if few else low_P,
            mean_P if few else high_P,
            effect_KP[None],
            axis="place",
            unit=setting.unit,
            noise_floor=setting.floor,
            design=f"windows of {options.width}",
            passes=setting.passes,
        ),
        noise_floor=setting.floor,
        num_sequences=donors,
        passes=setting.passes,
        warnings=tuple(warnings),
    )
