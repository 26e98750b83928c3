"""Which n-grams drive the classes of a TextCNN, read off its own sum, without a gradient.

Idea     one pass over the texts; every logit is taken apart exactly (see `decompose`), and the
         contributions W_cj p_j are summed by n-gram over all texts, for and against each class
Value    the width up to which windows carry half of all absolute contributions
Units    contributions in units of the logit; widths in tokens
Limits   a contribution common to all classes moves no probability: classes are read beside each
         other. Padding counts where the model itself pools over windows that see it
Source   see `decompose` and `threshold`
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from howfar.core.errors import DataError, UsageError
from howfar.core.protocols import Predict
from howfar.core.seeds import Seeds
from howfar.measure.curve import Curve, curve_of
from howfar.measure.fragments.find import Found, take_apart, taking
from howfar.measure.fragments.gather import Fragment, Tally, strength
from howfar.measure.fragments.options import FragmentsOptions
from howfar.measure.fragments.threshold import Threshold, threshold
from howfar.measure.stats import MIN_SEQUENCES, Bootstrap, interval
from howfar.measure.watch import quiet


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragments:
    """What a TextCNN's classes are made of.

    value: smallest width with which windows up to it carry half of all absolute contributions;
    None: every contribution is zero. low, high: its interval. curve: share by width.
    supporting, opposing: a class's n-grams with the largest sums, for and against it.
    thresholds: one a filter. bias: what a class gets without any text.
    error: largest difference between a logit and its sum, relative to the largest logit.
    pool, activation, windows: how the model was read.
    """

    value: int | None
    low: int | None
    high: int | None
    censored: bool
    curve: Curve
    supporting: tuple[tuple[Fragment, ...], ...]
    opposing: tuple[tuple[Fragment, ...], ...]
    thresholds: tuple[Threshold, ...]
    bias: tuple[float, ...]
    error: float
    pool: str
    activation: str
    windows: str
    num_sequences: int
    passes: int
    warnings: tuple[str, ...]


def fragments(
    predict: Predict,
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    labels: Tensor | None = None,
    names: Sequence[str] | None = None,
    options: FragmentsOptions | None = None,
) -> Fragments:
    """Find the n-grams that drive the classes of a TextCNN.

    Args:
        predict: an nn.Module that answers (B, C), or (B, 1, C): embedding, one layer of
            convolutions side by side, max or mean over time, a linear head.
        tokens: integer (N, L).
        lengths: (N,) real tokens a row.
        labels: (N,) classes for the thresholds; None: those the model predicts.
        names: the token behind each id.
        options: see `FragmentsOptions`.

    Raises:
        UsageError: E-MODEL where the model is no such sum, saying why; E-SHAPE.
        DataError: E-OUTPUT where it answers NaN or infinity.
    """
    options = options or FragmentsOptions()
    if tokens.ndim != 2 or tokens.is_floating_point() or not tokens.numel():
        message = f"tokens must be integer (N, L), got {tokens.dtype} {tuple(tokens.shape)}."
        raise UsageError("E-SHAPE", message, "fragments are made of token ids.")
    num = len(tokens)
    lengths = torch.full((num,), tokens.shape[1]) if lengths is None else lengths
    if lengths.shape != (num,) or (labels is not None and labels.shape != (num,)):
        raise UsageError("E-SHAPE", f"lengths and labels must be ({num},).", "one a text.")
    gathered = _Gathered()
    for start in range(0, num, options.batch):
        part = slice(start, start + options.batch)
        gathered.add(_asked(predict, tokens[part], lengths[part]), tokens[part])
    return _result(gathered, labels, dict(enumerate(names)) if names else None, options)


class _Gathered:
    """Everything kept over batches."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.found: list[Found] = []
        self.strength: dict[int, list[np.ndarray]] = {}  # width -> (B,) each
        self.scores: list[Tensor] = []  # (B, F) pooled
        self.answers: list[Tensor] = []
        self.error = self.size = 0.0

    def add(self, found: Found, tokens_BL: Tensor) -> None:
        whole = found.decomposition
        if not bool(found.answer.isfinite().all()):
            message = "The model's output is not a number, or infinite."
            raise DataError("E-OUTPUT", message, "check the model for overflow.")
        here: dict[int, np.ndarray] = {}
        for part in whole.parts:
            self.tally.add(part, tokens_BL)
            width = part.filters.width
            here[width] = here.get(width, 0.0) + strength(part)
        for width, strength_B in here.items():
            self.strength.setdefault(width, []).append(strength_B)
        self.scores.append(torch.cat([part.pooled for part in whole.parts], 1))
        self.answers.append(found.answer)
        self.error = max(self.error, float((whole.logits - found.answer).abs().max()))
        self.size = max(self.size, float(found.answer.abs().max()))
        self.found.append(found)


def _asked(predict: Predict, tokens: Tensor, lengths: Tensor) -> Found:
    with torch.no_grad(), quiet(predict, hooks=True), taking(predict) as taken:
        answer = predict(tokens, lengths)
    return take_apart(taken, answer, tokens.shape[1], lengths)


def _result(
    gathered: _Gathered,
    labels: Tensor | None,
    names: dict[int, str] | None,
    options: FragmentsOptions,
) -> Fragments:
    last = gathered.found[-1]
    answers_NC = torch.cat(gathered.answers)
    truth_N = answers_NC.argmax(1) if labels is None else labels
    curve, value, low, high = _widths(gathered.strength, options)
    num, classes = answers_NC.shape
    said = [] if value is not None else ["no contribution: every filter answers zero"]
    if num < MIN_SEQUENCES:
        said.append(f"no interval: {num} sequences, at least {MIN_SEQUENCES} are needed")
    if last.pool == "mean":
        said.append("mean pooling: thresholds are of means over windows, not of n-grams")
    tally, top = gathered.tally, options.top
    return Fragments(
        value=value,
        low=low,
        high=high,
        censored=False,
        curve=curve,
        supporting=tuple(tally.top(label, top, 1, names) for label in range(classes)),
        opposing=tuple(tally.top(label, top, -1, names) for label in range(classes)),
        thresholds=_thresholds(gathered, truth_N, options),
        bias=tuple(last.decomposition.bias.tolist()),
        error=gathered.error / max(gathered.size, 1e-30),
        pool=last.pool,
        activation=last.activation,
        windows=" or ".join(dict.fromkeys(found.windows for found in gathered.found)),
        num_sequences=num,
        passes=1,
        warnings=tuple(said),
    )


def _thresholds(
    gathered: _Gathered, truth_N: Tensor, options: FragmentsOptions
) -> tuple[Threshold, ...]:
    parts = gathered.found[-1].decomposition.parts
    head_CF = gathered.found[-1].head
    widths = [part.filters.width for part in parts for _ in range(part.pooled.shape[1])]
    scores_NF = torch.cat(gathered.scores).double().numpy()
    truth = truth_N.numpy()
    return tuple(
        threshold(
            scores_NF[:, place],
            truth == int(head_CF[:, place].argmax()),
            label=int(head_CF[:, place].argmax()),
            width=width,
            purity=options.purity,
        )
        for place, width in enumerate(widths)
    )


def _widths(
    strength: dict[int, list[np.ndarray]], options: FragmentsOptions
) -> tuple[Curve, int | None, int | None, int | None]:
    """Share of the absolute contributions by width, and the width that half of them ends at."""
    widths = sorted(strength)
    raw_NK = np.stack([np.concatenate(strength[width]) for width in widths], axis=1)
    rng = Seeds(options.seed).numpy("fragments bootstrap")
    bootstrap = Bootstrap((1, len(raw_NK)), options.resamples, rng)
    sums_RK = np.stack([bootstrap.means(raw_NK[None, :, k]) for k in range(len(widths))], axis=1)
    tiny = np.finfo(float).tiny
    share_RK = sums_RK / np.maximum(sums_RK.sum(1, keepdims=True), tiny)
    point_K = raw_NK.sum(0) / max(raw_NK.sum(), tiny)
    low_K, high_K = interval(share_RK, options.ci)
    few = len(raw_NK) < MIN_SEQUENCES
    curve = curve_of(
        widths,
        point_K,
        point_K if few else low_K,
        point_K if few else high_K,
        raw_NK[None],
        axis="width",
        unit="share of absolute contributions",
        matrix_unit="logit",
        design="decomposition",
        passes=1,
    )
    if raw_NK.sum() <= 0:
        return curve, None, None, None
    value = _half(widths, point_K[None])[0]
    if few:
        return curve, int(value), None, None
    low, high = interval(_half(widths, share_RK), options.ci)
    return curve, int(value), int(np.floor(low)), int(np.ceil(high))


def _half(widths: Sequence[int], share_RK: np.ndarray) -> np.ndarray:
    reached_RK = share_RK.cumsum(1) >= 0.5 - 1e-12
    return np.asarray(np.array(widths)[reached_RK.argmax(1)])
