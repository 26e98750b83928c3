"""Single-token influence: how far a change of one token is felt, lag by lag.

Idea     put another token in the place of one, the source s, and see how much each output moves:

             I(d) = E D(f(x)_{s+d}, f(x with another token at s)_{s+d})
             tail(k) = sum_{d >= k} I(d) / sum_{d >= 0} I(d),   reach = min{k : tail(k) <= eps}

         one changed row gives every lag; from the target's side each lag would take its own
Units    reach in kept tokens: 1 is the newest token alone; lag d = kept tokens - 1
Limits   one token at a time: what several tokens say alike is not seen (swap reach sees it), and a
         single odd token may move nearby outputs more than data ever do. The tail is a share of
         what falls into the window behind the last source: `censored` where its last eighth still
         counts. Lags before the source (a model that reads ahead) are summed on their own
Source   Khandelwal et al. 2018, https://arxiv.org/abs/1805.04623, change tokens at a distance; the
         tail rule is ours. For linear models of independent inputs tail(k) is r(k) of swap reach
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from howfar.core.errors import DataError, UsageError
from howfar.core.protocols import Predict
from howfar.core.seeds import Seeds
from howfar.measure import probe
from howfar.measure.curve import Curve, curve_of
from howfar.measure.influence.effects import Effects, measure, places
from howfar.measure.influence.options import InfluenceOptions
from howfar.measure.stats import MIN_SEQUENCES, Bootstrap, interval

TIE = 1e-9  # a tail of exactly eps must not be missed by its rounding
SAMPLES = 64  # bootstrap samples at a time: bounds memory for long windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Influence:
    """One measured single-token influence, its reach in kept tokens.

    value: the reach, or None: no influence, or (`censored`) it may go on beyond the window. low,
    high: its interval; None with a warning for few sequences; high None: beyond the window.
    ladder: the reach at each level. detectable: kept tokens up to which the lower bound of I(d) is
    above the noise floor. total: sum of I(d), exactly 0 where nothing moves. window: lags measured.
    curve: I(d), with (S, N, K) effects. tail: tail(k) by kept tokens; empty without influence.
    worse: extra loss by lag, None without labels.
    ahead: the same reach before the source, in tokens ahead of the target: None where nothing moves
    there. ahead_curve: I by tokens ahead, None for a streaming model. ahead_share: its part of all.
    replaced: share of the sources whose substitute was another token. noise_floor: of I(d).
    """

    value: int | None
    low: int | None
    high: int | None
    censored: bool
    ladder: dict[float, int | None]
    detectable: int | None
    total: float
    window: int
    curve: Curve
    tail: Curve
    worse: Curve | None
    ahead: int | None
    ahead_curve: Curve | None
    ahead_share: float
    sources: tuple[int, ...]
    replaced: float
    noise_floor: float
    num_sequences: int
    passes: float
    warnings: tuple[str, ...]


def influence_reach(
    predict: Predict | Sequence[Predict],
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    labels: Tensor | None = None,
    sources: int | Sequence[int] = 1,
    options: InfluenceOptions | None = None,
) -> Influence:
    """Measure how far a change of one token is felt, by a callable or several trained alike.

    Args:
        predict: `predict(tokens, lengths) -> (B, L, V)` or (B, L), or a sequence of such; one that
            streams (`chunk`) is asked for the past of each source once.
        tokens: integer (N, L), or real (N, L) or (N, L, D); rows are each other's donors.
        lengths: (N,) real tokens a row; padding on the right.
        labels: (N, L) classes a position, for the extra loss by lag.
        sources: positions to change, one at a time, or how many, spread evenly; 1: the middle.
        options: see `InfluenceOptions`.

    Raises:
        UsageError: shapes or options that do not fit; a model with one answer a row.
        DataError: the model answers NaN, or otherwise at each call.
    """
    options = options or InfluenceOptions()
    models = list(predict) if isinstance(predict, Sequence) else [predict]
    seqs = probe.sequences(tokens, lengths, "last")
    length = int(seqs.lengths.min())
    if length < 2:
        raise UsageError("E-SHAPE", "Influence needs 2 tokens a row.", "leave out shorter rows.")
    where = places(sources, length)
    effects = measure(models, seqs, where, labels, options)
    return _Summary(effects, seqs, where, options).result()


class _Summary:
    """Reads the result off the effects."""

    def __init__(
        self,
        effects: Effects,
        seqs: probe.Sequences,
        sources: tuple[int, ...],
        options: InfluenceOptions,
    ) -> None:
        self.effects, self.seqs, self.sources, self.options = effects, seqs, sources, options
        models, self.num, self.window = effects.past.shape
        rng = Seeds(options.seed).numpy("influence bootstrap")
        self.bootstrap = Bootstrap((models, self.num), options.resamples, rng)
        self.mean_K = effects.past.mean((0, 1))
        self.ahead_K = effects.ahead.mean((0, 1))
        self.total = float(self.mean_K.sum())
        self.felt = bool(self.mean_K.max() > 3 * effects.floor)
        # noise adds up over lags: it must not be taken for a tail
        self.noisy = effects.noise > effects.floor - effects.noise
        noise = effects.noise * self.window
        if self.noisy and noise >= options.eps * self.total:
            share = noise / max(self.total, noise)
            message = f"Equal calls give answers that differ by {share:.0%} of the influence."
            raise DataError("E-NOISE", message, "switch dropout off, and let calls share no state.")
        # beyond the window a tail as heavy as its last eighth could go on
        self.last = self.window - max(1, self.window // 8)

    def result(self) -> Influence:
        """The numbers of `Influence`."""
        effects, options = self.effects, self.options
        reached = _reached(self.mean_K, options.eps) if self.felt else None
        means_RK = self._means(effects.past)
        bounds = interval(means_RK, options.ci)
        value = self._within(reached)
        low, high = self._limits(means_RK, reached)
        seen = np.flatnonzero(bounds[0] > effects.floor)
        levels = sorted({*options.levels, options.eps}, reverse=True)
        ladder = {eps: _reached(self.mean_K, eps) if self.felt else None for eps in levels}
        before = float(self.ahead_K.sum())
        ahead_felt = bool(self.ahead_K.size and self.ahead_K.max() > 3 * effects.floor)
        return Influence(
            value=value,
            low=low,
            high=high,
            censored=self.felt and value is None,
            ladder={eps: self._within(found) for eps, found in ladder.items()},
            detectable=int(seen[-1]) + 1 if self.felt and self._sure and seen.size else None,
            total=self.total,
            window=self.window,
            curve=self._curve(effects.past, self.mean_K, bounds, range(self.window)),
            tail=self._tail(means_RK),
            worse=self._worse(),
            ahead=_reached(self.ahead_K, options.eps) if ahead_felt else None,
            ahead_curve=self._ahead() if self.ahead_K.size else None,
            ahead_share=before / (before + self.total) if ahead_felt else 0.0,
            sources=self.sources,
            replaced=effects.replaced,
            noise_floor=effects.floor,
            num_sequences=self.num,
            passes=effects.passes,
            warnings=tuple(self._warnings(ahead_felt)),
        )

    @property
    def _sure(self) -> bool:
        return bool(self.num >= MIN_SEQUENCES)

    def _within(self, found: int | None) -> int | None:
        return found if found is not None and found <= self.last else None

    def _limits(self, means_RK: np.ndarray, reached: int | None) -> tuple[int | None, int | None]:
        """Percentiles of the reach over the samples that feel anything; None: beyond the window."""
        if reached is None or not self._sure:
            return None, None
        found_R = np.array([_reached(mean_K, self.options.eps) for mean_K in means_RK])
        found_R = found_R[found_R > 0]
        tail = (1 - self.options.ci) / 2
        low = min(int(np.quantile(found_R, tail, method="lower")), reached)
        high = max(int(np.quantile(found_R, 1 - tail, method="higher")), reached)
        return self._within(low), self._within(high)

    def _means(self, values_SNK: np.ndarray) -> np.ndarray:
        """The mean by lag in every bootstrap sample: (R, K)."""
        weight_RS, weight_RN = self.bootstrap.models_RS, self.bootstrap.sequences_RN
        size = values_SNK.shape[0] * values_SNK.shape[1]
        means_RK = np.zeros((len(weight_RN), values_SNK.shape[2]))
        for first in range(0, len(means_RK), SAMPLES):
            some = slice(first, first + SAMPLES)
            for s, values_NK in enumerate(values_SNK):
                means_RK[some] += weight_RS[some, s, None] * (weight_RN[some] @ values_NK) / size
        return means_RK

    def _curve(
        self,
        values_SNK: np.ndarray,
        mean_K: np.ndarray,
        bounds: tuple[np.ndarray, np.ndarray],
        lags: Sequence[int],
        axis: str = "lag",
    ) -> Curve:
        unit = {"js": "bits", "kl": "nats"}.get(self.effects.kind, "squared distance")
        return curve_of(
            lags,
            mean_K,
            bounds[0],
            bounds[1],
            values_SNK,
            axis=axis,
            unit=unit,
            noise_floor=self.effects.floor,
            design=f"{self.options.substitute} token",
            passes=self.effects.passes,
        )

    def _ahead(self) -> Curve:
        bounds = interval(self._means(self.effects.ahead), self.options.ci)
        tokens = range(1, len(self.ahead_K) + 1)
        return self._curve(self.effects.ahead, self.ahead_K, bounds, tokens, "tokens ahead")

    def _worse(self) -> Curve | None:
        worse = self.effects.worse
        if worse is None:
            return None
        low_K, high_K = interval(self._means(worse), self.options.ci)
        return curve_of(
            range(self.window), worse.mean((0, 1)), low_K, high_K, worse, axis="lag", unit="nats"
        )

    def _tail(self, means_RK: np.ndarray) -> Curve:
        """tail(k), k = 0 .. W - 1."""
        lags = range(self.window if self.felt else 0)
        share_K = _tails(self.mean_K)[: len(lags)]
        low_K, high_K = interval(_tails(means_RK)[:, : len(lags)], self.options.ci)
        return curve_of(
            lags,
            share_K,
            low_K,
            high_K,
            np.cumsum(self.effects.past[..., ::-1], axis=-1)[..., ::-1],
            axis="kept tokens",
            unit="share of the influence",
            matrix_unit="sum of influence",
        )

    def _warnings(self, ahead_felt: bool) -> list[str]:
        effects, said = self.effects, []
        if effects.replaced == 0:
            said.append("every source equals its substitute: nothing was replaced")
        elif not self.felt:
            said.append(
                f"no influence: a change of one token moves no output within {self.window} tokens; "
                "what several tokens say alike shows in swap reach only"
            )
        if self.noisy:
            said.append("equal calls give different answers: a share of the influence is noise")
        if self.options.substitute == "donor" and self.options.donors > 1:
            said.append("sequences share donors, which the interval leaves out: it is too narrow")
        if not self._sure:
            said.append(f"no interval: {self.num} sequences, at least {MIN_SEQUENCES} are needed")
        if int(self.seqs.lengths.min()) < int(self.seqs.lengths.max()):
            length = int(self.seqs.lengths.min())
            said.append(f"rows differ in length: the first {length} tokens of each are measured")
        longest = int(self.seqs.lengths.max())
        if self.window < longest - 1:
            said.append(
                f"effects {self.window} or more tokens on were not looked at: name an earlier "
                f"place, such as sources=(2,), to see further in rows of {longest}"
            )
        if ahead_felt:
            said.append("outputs before the source move too: the model reads ahead")
        return said


def _tails(means_K: np.ndarray) -> np.ndarray:
    """Share of the influence at lag k or more, along the last axis; 0 where there is none."""
    sums_K = np.cumsum(means_K[..., ::-1], axis=-1)[..., ::-1]
    return np.asarray(sums_K / np.maximum(sums_K[..., :1], np.finfo(float).tiny))


def _reached(mean_K: np.ndarray, eps: float) -> int:
    """Smallest k with tail(k) <= eps; the number of lags where only the end of the window is."""
    return int((_tails(mean_K) > eps * (1 + TIE)).sum())
