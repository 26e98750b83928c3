"""Gradient reach: how many of the last tokens hold the output's local sensitivity.

Idea     with J the Jacobian of the output at t by the input (an embedding) d tokens earlier,

             g2(d) = E tr(J Sigma J^T),   rho(k) = sum_{d >= k} g2(d) / sum_d g2(d)
             G_eps = min{k : rho(k') <= eps for all k' >= k}

         for one forward pass and one backward pass a probe. For linear models of independent
         inputs rho is the curve of swap reach exactly
Units    G in kept tokens: 1 is the target's own token alone. Lag d = kept tokens - 1
         The half-life is that of the amplitude, the root of g2; g2 itself falls twice as fast
Limits   local sensitivity, not use: a saturated path has no gradient and is used all the same, a
         steep one is rarely met and outweighs the rest; trained recurrent networks spread their
         gradient over lags that a swap shows to be without effect. Print it beside swap reach
Source   our definition, after Hochreiter 1991 and Pascanu, Mikolov & Bengio 2013,
         https://arxiv.org/abs/1211.5063
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from howfar.core.errors import UsageError
from howfar.core.protocols import Predict
from howfar.measure import probe
from howfar.measure.curve import Curve, curve_of
from howfar.measure.gradient.backward import Gradients, whole
from howfar.measure.gradient.chunked import in_chunks, piece_length
from howfar.measure.gradient.cotangents import Cotangents, centred, cotangents
from howfar.measure.gradient.decay import DecayFit, fit_decay
from howfar.measure.gradient.door import Door
from howfar.measure.gradient.doubt import Doubt, Spread
from howfar.measure.gradient.options import GradientOptions
from howfar.measure.stats import MIN_SEQUENCES

UNLIKE = 0.1  # the share of the output's variance below which a linear reading misses most of it
ROUNDING = 100  # times the rounding of one product: what sums and transforms may add to it


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientReach:
    """One measured gradient reach, in kept tokens.

    value: G_eps, or None: no gradient, or (`censored`) more than `window`. low, high: its
    interval; None with a warning for few sequences; high None: beyond the window.
    ladder: G at each level. curve: share of the squared gradient by lag; its matrix holds g2 of
    every sequence. tail: rho by kept tokens. fit: the law of the amplitude's decay, None with
    fewer than 6 lags above the rounding; half_life: tokens in which the amplitude halves.
    linear_share: sum of g2 over the output's variance: 1 for a linear model of independent inputs,
    near 0 where the output moves and the gradient does not (None: not in comparable units).
    other_side: share of the whole squared gradient on the side of the target not measured.
    output: what was differentiated. window: the largest k told from "all of the window".
    """

    value: int | None
    low: int | None
    high: int | None
    censored: bool
    window: int
    ladder: dict[float, int | None]
    curve: Curve
    tail: Curve
    half_life: float | None
    fit: DecayFit | None
    linear_share: float | None
    other_side: float
    output: str
    side: str
    num_sequences: int
    passes: float
    warnings: tuple[str, ...]


def gradient_reach(
    predict: Predict,
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    targets: Tensor | str = "last",
    options: GradientOptions | None = None,
) -> GradientReach:
    """Measure the gradient reach of a model.

    Args:
        predict: `predict(tokens, lengths) -> outputs`; for integer tokens an nn.Module that
            embeds them.
        tokens: integer (N, L), or real (N, L) or (N, L, D).
        lengths: (N,) real tokens a row; padding on the right.
        targets: "last" or (N,) positions, from which lags count; the output is read there if
            there is one a position.
        options: see `GradientOptions`.

    Raises:
        UsageError: shapes or options that do not fit; no embedding; outputs without a graph.
        DataError: outputs or gradients that are not finite.
    """
    options = options or GradientOptions()
    with torch.inference_mode(False):
        seqs = _usable(probe.sequences(tokens, lengths, targets))
        door = Door(predict, seqs, options.sigma, options.embedding, options.batch)
        asked, how = door.asked, _how(door, seqs, options)
        size = piece_length(asked, seqs, options.chunk) if options.side == "past" else None
        if size is None:
            found = whole(asked, seqs, door, how, options)
        else:
            found = in_chunks(asked, seqs, door, how, options, size)
    if not found.connected and not _constant(found.answers):
        message = "The model's output moves, but has no way back to its input."
        raise UsageError("E-GRADIENT", message, "no torch.no_grad, detach or numpy in the model.")
    return _Summary(asked.dtype, seqs, door, how, found, options).result()


def _usable(seqs: probe.Sequences) -> probe.Sequences:
    """Tensors made in inference mode cannot take part in a graph; copies of them can."""
    parts = (seqs.tokens, seqs.lengths, seqs.targets)
    return probe.Sequences(*(part.clone() if part.is_inference() else part for part in parts))


def _how(door: Door, seqs: probe.Sequences, options: GradientOptions) -> Cotangents:
    width = door.width
    kind = options.output
    if kind == "auto":
        kind = probe.divergence_kind("auto", seqs.tokens, width)
        kind = "centred" if kind == "js" else "plain"
    if kind != "plain" and width == 1:
        message = f'output="{kind}" is about the logits of several classes; the model gives one.'
        raise UsageError("E-OPTION", message, 'output="plain".')
    return cotangents(kind, width, options.probes)


def _constant(answer_NV: Tensor) -> bool:
    return bool((answer_NV == answer_NV[:1]).all())


class _Summary:
    """Reads the result off the energies."""

    def __init__(
        self,
        dtype: torch.dtype,
        seqs: probe.Sequences,
        door: Door,
        how: Cotangents,
        found: Gradients,
        options: GradientOptions,
    ) -> None:
        self.seqs, self.door, self.how = seqs, door, how
        self.found, self.options = found, options
        self.num = len(seqs.tokens)
        self.enough = self.num >= MIN_SEQUENCES
        energy_NL = found.energy.numpy()
        self.squared_NK = _by_lag(energy_NL, seqs, options.side)
        self.here = float(np.nansum(self.squared_NK))
        place_1L = np.arange(energy_NL.shape[1])[None]
        real_NL = place_1L < seqs.lengths.numpy()[:, None]
        later_NL = place_1L > seqs.targets.numpy()[:, None]
        earlier_NL = place_1L < seqs.targets.numpy()[:, None]
        beside = energy_NL[real_NL & (later_NL if options.side == "past" else earlier_NL)].sum()
        total = self.here + beside
        self.other_side = float(beside / total) if total > 0 else 0.0
        self.padding = float(energy_NL[~real_NL].sum())
        self.noise = float((8 * torch.finfo(dtype).eps) ** 2)

    def result(self) -> GradientReach:
        options, num_lags = self.options, self.squared_NK.shape[1]
        doubt = None
        if self.here > 0:
            doubt = Doubt(
                self.squared_NK, resamples=options.resamples, ci=options.ci, seed=options.seed
            )
        levels = sorted({0.5, *options.levels, options.eps}, reverse=True)
        reached = {eps: doubt.reach(eps) if doubt else num_lags for eps in levels}
        ladder = {eps: k if k < num_lags else None for eps, k in reached.items()}
        value = ladder[options.eps]
        low = high = None
        if doubt and self.enough:
            ends = doubt.limits(options.eps)
            low = min(ends[0], reached[options.eps])
            high = max(ends[1], reached[options.eps])
            low, high = (end if end < num_lags else None for end in (low, high))
        fit = self._fit(doubt) if doubt else None
        linear = self._linear_share()
        return GradientReach(
            value=value,
            low=low,
            high=high,
            censored=doubt is not None and value is None,
            window=num_lags - 1,
            ladder=ladder,
            curve=self._curve("lag", doubt.shares() if doubt else None, self.squared_NK),
            tail=self._curve("kept tokens", doubt.tails() if doubt else None, self._tails()),
            half_life=fit.half_life if fit else None,
            fit=fit,
            linear_share=linear,
            other_side=self.other_side,
            output=self.how.kind,
            side=options.side,
            num_sequences=self.num,
            passes=self.found.passes + self.door.passes,
            warnings=tuple(self._warnings(doubt, fit, linear)),
        )

    def _tails(self) -> np.ndarray:
        squared_NK = np.nan_to_num(self.squared_NK)
        return np.asarray(np.cumsum(squared_NK[:, ::-1], axis=1)[:, ::-1])

    def _curve(self, axis: str, spread: Spread | None, matrix_NK: np.ndarray) -> Curve:
        nothing = np.zeros(0)
        spread = spread or Spread(nothing, nothing, nothing)
        return curve_of(
            range(len(spread.mean)),
            spread.mean,
            spread.low,
            spread.high,
            matrix_NK[None],
            axis=axis,
            unit="share of the squared gradient",
            matrix_unit="nats, times 2" if self.how.kind == "fisher" else "squared output",
            noise_floor=self.noise,
            design=self.how.kind,
            passes=self.found.passes + self.door.passes,
        )

    def _fit(self, doubt: Doubt) -> DecayFit | None:
        g_K, sample_RK, variance_K = doubt.amplitude()
        fit = fit_decay(
            np.arange(len(g_K)),
            g_K,
            variance_K=variance_K,
            noise=float(np.sqrt(self.noise) * g_K.max()),
            samples_RK=sample_RK if self.enough else None,
            ci=self.options.ci,
        )
        return fit.scaled(doubt.scale()) if fit else None

    def _linear_share(self) -> float | None:
        answer_NV = self.found.answers
        if self.how.kind == "fisher" or self.options.sigma != "data" or self.num < 2:
            return None
        if not bool(answer_NV.isfinite().all()):
            return None
        answer_NV = centred(answer_NV) if self.how.kind == "centred" else answer_NV
        variance = float(answer_NV.var(0).sum())
        return float(self.found.energy.sum()) / self.num / variance if variance > 0 else None

    def _warnings(
        self, doubt: Doubt | None, fit: DecayFit | None, linear: float | None
    ) -> list[str]:
        said = []
        if doubt is None:
            still = self.door.root is not None and not bool(self.door.root.any())
            said.append(
                "no gradient: the inputs do not vary over the data"
                if still
                else "no gradient: it is zero at every lag; the output may depend on its input "
                "all the same, which a swap shows"
            )
        elif linear is not None and linear < UNLIKE:
            said.append(
                f"the gradient accounts for {linear:.1%} of the output's variance: "
                "it is local, and the model saturates or is steep elsewhere; trust the swap reach"
            )
        if self.other_side > ROUNDING * self.noise:
            other = "past" if self.options.side == "future" else "future"
            share = f"{100 * self.other_side:.3g}%"
            said.append(f"{share} of the squared gradient lies in the {other}")
        if self.padding > ROUNDING * self.noise * self.here:
            said.append("padding moves the output: the model reads beyond the lengths")
        if fit is not None and fit.note:
            said.append(fit.note)
        elif fit is None and doubt is not None:
            said.append("no fit of the decay: fewer than 6 lags above the rounding")
        if not self.enough:
            said.append(f"no interval: {self.num} sequences, at least {MIN_SEQUENCES} are needed")
        lasts = self.seqs.lengths if self.options.side == "future" else self.seqs.targets
        if int(lasts.min()) < int(lasts.max()):
            said.append("rows differ in length: shorter rows show no gradient beyond their own")
        return said


def _by_lag(energy_NL: np.ndarray, seqs: probe.Sequences, side: str) -> np.ndarray:
    """(N, K) by distance from the target, itself included; NaN beyond the row."""
    target_N1 = seqs.targets.numpy()[:, None]
    if side == "past":
        lag_1K = np.arange(seqs.window)[None]
        place_NK = target_N1 - lag_1K
    else:
        room_N = seqs.lengths - seqs.targets
        lag_1K = np.arange(int(room_N.max()))[None]
        place_NK = target_N1 + lag_1K
    inside_NK = (place_NK >= 0) & (place_NK < seqs.lengths.numpy()[:, None])
    last = energy_NL.shape[1] - 1
    value_NK = np.take_along_axis(energy_NL, np.clip(place_NK, 0, last), axis=1)
    return np.where(inside_NK, value_NK, np.nan)
