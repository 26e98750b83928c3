"""Interaction reach: how far apart two tokens may stand and still be treated jointly.

Idea     a pooled classifier has no "last position", so the question is not how far back it looks
         but whether it relates two words: what adding up single words cannot explain,

             Delta_ij f = f(x^ij) - f(x^i) - f(x^j) + f(x),

         where x^i has a span at i replaced by another sequence's tokens
         I(d) = E |Delta_i,i+d f|^2 / E |f(x^i) - f(x)|^2, on centred logits
         I_eps = largest d whose lower bound exceeds the noise floor and eps * max_d I(d)
Units    lag d in tokens between the two spans' first tokens; I(d) is a ratio
Limits   a grid of lags steps over an isolated one between its points: name `lags` to look there
         max pooling shows a floor at every lag: the candidates for the maximum compete, which is
         joint treatment in the sense of the formula but no relation between two words
Source   our own definition; the second difference is the pairwise interaction of ANOVA
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from howfar.core.errors import DataError, UsageError
from howfar.core.protocols import Predict
from howfar.core.seeds import Seeds
from howfar.measure import probe
from howfar.measure.curve import Curve
from howfar.measure.stats import MIN_SEQUENCES, Bootstrap, interval, log_grid


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractionOptions:
    """How to measure. `lags`: None for two an octave; `pairs`: pairs a sequence and lag."""

    eps: float = 0.05
    span: int = 1
    pairs: int = 1
    lags: tuple[int, ...] | None = None
    ci: float = 0.95
    seed: int = 0
    resamples: int = 1000
    batch: int = 64

    def __post_init__(self) -> None:
        checks = {
            "eps": 0 < self.eps < 1,
            "ci": 0 < self.ci < 1,
            "span": self.span >= 1,
            "pairs": self.pairs >= 1,
            "lags": self.lags is None or (len(self.lags) > 0 and min(self.lags) >= self.span),
        }
        for name, fine in checks.items():
            if not fine:
                message = f"{name}={getattr(self, name)!r} is out of range."
                raise UsageError("E-OPTION", message, "`help(howfar.interaction)` says more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractionReach:
    """One measured interaction reach, as a lag in tokens.

    value: I_eps, or None: no interaction found. censored: it holds at the longest lag tried.
    low, high: percentile interval of the largest lag above the threshold over bootstrap samples.
    furthest: largest lag whose lower bound is above the noise floor alone.
    """

    value: int | None
    low: int | None
    high: int | None
    censored: bool
    furthest: int | None
    window: int
    curve: Curve
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
    """
    options = options or InteractionOptions()
    models = list(predict) if isinstance(predict, Sequence) else [predict]
    seqs = probe.sequences(tokens, lengths, "last")
    # A lag that only a few rows are long enough for would have an interval of those few.
    enough = min(len(seqs.tokens), MIN_SEQUENCES)
    room = int(seqs.lengths.sort(descending=True).values[enough - 1])
    longest = room - options.span
    lags = [d for d in options.lags or log_grid(longest, dense=8) if options.span <= d <= longest]
    if not lags:
        message = f"{enough} rows have {room} tokens or more: no lag fits."
        raise UsageError("E-SHAPE", message, "longer rows, or smaller lags.")
    return _Pairs(models, seqs, options).summary(lags)


class _Pairs:
    def __init__(
        self, models: Sequence[Predict], seqs: probe.Sequences, options: InteractionOptions
    ) -> None:
        self.models = [probe.ask(model, seqs) for model in models]
        self.seqs, self.options = seqs, options
        self.clean = [_finite(probe.answers(model, seqs, options.batch)) for model in self.models]
        again = [_finite(probe.answers(model, seqs, options.batch)) for model in self.models]
        self.centre = not seqs.tokens.is_floating_point() and self.clean[0].shape[1] > 1
        self.noise = max(
            float((c - a).square().sum(-1).mean()) for c, a in zip(self.clean, again, strict=True)
        )
        step = max(
            8 * model.eps * float(c.abs().amax())
            for model, c in zip(self.models, self.clean, strict=True)
        )
        # Four rounded terms make one difference: 8 units in the last place of the largest output,
        # and twice the noise of a repeat, which is a difference of two.
        self.floor = 2 * self.noise + step**2 * self.clean[0].shape[1]
        self.joint: dict[int, np.ndarray] = {}  # lag -> (S, N) squared second difference
        self.fits: dict[int, np.ndarray] = {}  # lag -> (N,) rows long enough for it
        self.single = np.zeros((len(models), len(seqs.tokens)))
        self.tried = np.zeros(len(seqs.tokens))
        self.passes = 2 * len(models)

    def measure(self, lag: int) -> None:
        """Fill in one lag: three forward passes a pair."""
        if lag in self.joint:
            return
        rng = Seeds(self.options.seed).numpy(f"interaction {lag}")
        room_N = self.seqs.lengths.numpy() - lag - self.options.span + 1
        fits_N = room_N >= 1
        joint = np.zeros_like(self.single)
        for _ in range(self.options.pairs):
            way = probe.donors(len(self.seqs.tokens), 1, rng)[0]
            given = probe.donor_tokens(self.seqs, way)
            first_N = (rng.random(len(room_N)) * np.maximum(room_N, 1)).astype(np.int64)
            near, far = self._span(first_N, fits_N), self._span(first_N + lag, fits_N)
            for s, model in enumerate(self.models):
                moved = [self._moved(model, s, mask, given) for mask in (near, far, near | far)]
                self.passes += 3
                second = moved[2] - moved[0] - moved[1]
                joint[s] += second.square().sum(-1).numpy() * fits_N / self.options.pairs
                for one in moved[:2]:
                    self.single[s] += one.square().sum(-1).numpy() * fits_N / 2
            self.tried += fits_N
        self.joint[lag], self.fits[lag] = joint, fits_N

    def _span(self, first_N: np.ndarray, fits_N: np.ndarray) -> Tensor:
        place_L = torch.arange(self.seqs.tokens.shape[1])[None, :]
        first = torch.from_numpy(first_N)[:, None]
        inside = (place_L >= first) & (place_L < first + self.options.span)
        return inside & torch.from_numpy(fits_N)[:, None]

    def _moved(self, model: probe.Asked, s: int, mask: Tensor, given: Tensor) -> Tensor:
        swapped = probe.where_tokens(mask, given, self.seqs.tokens)
        part = probe.Sequences(swapped, self.seqs.lengths, self.seqs.targets)
        moved_NV = _finite(probe.answers(model, part, self.options.batch)) - self.clean[s]
        return moved_NV - moved_NV.mean(-1, keepdim=True) if self.centre else moved_NV

    def summary(self, lags: Sequence[int]) -> InteractionReach:
        for lag in lags:
            self.measure(lag)
        if self.options.lags is None:
            self._fill()
        lags = sorted(self.joint)
        if float(self.single.sum()) / max(self.tried.sum(), 1) <= 3 * self.floor:
            return self._result(lags, np.zeros((1, len(lags))), np.zeros(len(lags)), "no influence")
        means_RK, point_K = self._ratios(lags)
        return self._result(lags, means_RK, point_K, "")

    def _fill(self) -> None:
        """Bisect between the furthest lag that holds and the next one tried."""
        while True:
            lags = sorted(self.joint)
            means_RK, point_K = self._ratios(lags)
            holds = self._holds(interval(means_RK, self.options.ci)[0], point_K)
            if not holds.any() or holds[-1]:
                return
            last = int(np.flatnonzero(holds)[-1])
            if lags[last + 1] - lags[last] <= 1:
                return
            self.measure((lags[last] + lags[last + 1]) // 2)

    def _ratios(self, lags: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """I(d) of every bootstrap sample (R, K) and of the data (K,)."""
        rng = Seeds(self.options.seed).numpy("interaction bootstrap")
        bootstrap = Bootstrap(self.single.shape, self.options.resamples, rng)
        tiny = np.finfo(float).tiny
        models = np.ones((len(self.models), 1))
        single_R = bootstrap.means(self.single) / np.maximum(
            bootstrap.means(models * self.tried), tiny
        )
        columns, point = [], []
        single = self.single.mean() / max(float((models * self.tried).mean()), tiny)
        for lag in lags:
            fits_SN = models * self.fits[lag]
            here_R = np.maximum(bootstrap.means(fits_SN), tiny)
            columns.append(bootstrap.means(self.joint[lag]) / here_R / np.maximum(single_R, tiny))
            mean = self.joint[lag].mean() / max(float(fits_SN.mean()), tiny)
            point.append(mean / max(single, tiny))
        self.ratio_floor = self.floor / max(single, tiny)
        return np.stack(columns, axis=1), np.array(point)

    def _holds(self, bound_K: np.ndarray, point_K: np.ndarray) -> np.ndarray:
        threshold = max(self.ratio_floor, self.options.eps * float(point_K.max()))
        return np.asarray(bound_K > threshold)

    def _result(
        self, lags: Sequence[int], means_RK: np.ndarray, point_K: np.ndarray, trouble: str
    ) -> InteractionReach:
        if trouble:
            self.ratio_floor = 0.0
        low_K, high_K = interval(means_RK, self.options.ci)
        holds = self._holds(low_K, point_K)
        above = low_K > self.ratio_floor
        value = int(lags[np.flatnonzero(holds)[-1]]) if holds.any() else None
        num = len(self.seqs.tokens)
        few = num < MIN_SEQUENCES
        said = [trouble] if trouble else []
        if 4 * self.noise > self.floor:
            said.append("equal calls give different answers: the noise floor stands for them")
        if few:
            said.append(f"no interval: {num} sequences, at least {MIN_SEQUENCES} are needed")
        low, high = (None, None) if few or value is None else self._limits(lags, means_RK, value)
        return InteractionReach(
            value=value,
            low=low,
            high=high,
            censored=value == lags[-1],
            furthest=int(lags[np.flatnonzero(above)[-1]]) if above.any() else None,
            window=int(lags[-1]),
            curve=Curve(
                axis="lag",
                unit="share of a single swap's effect",
                x=tuple(lags),
                mean=tuple(float(x) for x in point_K),
                low=tuple(float(x) for x in low_K),
                high=tuple(float(x) for x in high_K),
                matrix=np.stack([self._squared(lag) for lag in lags], axis=-1),
                matrix_unit="squared second difference",
                noise_floor=float(self.ratio_floor),
                design="pairs",
                passes=self.passes,
            ),
            noise_floor=float(self.ratio_floor),
            num_sequences=num,
            passes=self.passes,
            warnings=tuple(said),
        )

    def _squared(self, lag: int) -> np.ndarray:
        """(S, N) squared second differences; NaN for rows too short for the lag."""
        return np.where(self.fits[lag], self.joint[lag], np.nan)

    def _limits(self, lags: Sequence[int], means_RK: np.ndarray, value: int) -> tuple[int, int]:
        """Percentiles of each bootstrap sample's own furthest lag above its threshold."""
        threshold_R = np.maximum(self.ratio_floor, self.options.eps * means_RK.max(1))
        holds_RK = means_RK > threshold_R[:, None]
        grid = np.array([0, *lags])
        furthest_R = grid[(holds_RK * (np.arange(len(lags)) + 1)).max(1)]
        low, high = interval(furthest_R, self.options.ci)
        return min(int(np.floor(low)), value), max(int(np.ceil(high)), value)


def _finite(answer_NV: Tensor) -> Tensor:
    if bool(answer_NV.isinf().any()):
        message = "The model's outputs are infinite: differences of them have no value."
        raise DataError("E-OUTPUT", message, "finite logits.")
    return answer_NV
