"""Context length that pays: how many of the last tokens a model needs to predict as well as ever.

Idea     give the model the last c tokens alone, truncated, and compare the loss at the same
         targets with that of the full context

             extra(c) = E_t [ nll(label_t | last c tokens) - nll(label_t | full context) ]
             ECL      = min{c : upper bound of extra(c') < tolerance for all c' >= c}
             ECL_eps  = min{c : extra(c') <= eps * extra(0) for all c' >= c}

         the first is a test of non-inferiority: "not worse by more than the tolerance", where "not
         significantly worse" would find short contexts with few data. extra(0): the prefix alone,
         or without a prefix the model's average prediction for other rows
Units    tokens of context; nats a target; rows count alike, however many targets they have
Doubt    percentile bootstrap over sequences, or over the groups (documents) they belong to. `value`
         stands near the upper end of its interval by definition, and falls with more data
Limits   truncation is not what the model was trained on: positions are counted anew, a beginning
         of text is missing (`prefix`), short windows may be new to it. Swap reach has no such
         shift, and the two answer different questions: what moves the output, what pays
         a grid of lengths steps over a bump between its points: name `grid` to look there
Source   Khandelwal et al. 2018, https://arxiv.org/abs/1805.04623 (loss against context length);
         non-inferiority and the share of the gain are our own choice
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from howfar.core.errors import UsageError
from howfar.core.protocols import Predict
from howfar.core.seeds import Seeds
from howfar.measure.context.options import ContextOptions
from howfar.measure.context.targets import Targets, find_targets
from howfar.measure.context.windows import Windows
from howfar.measure.curve import Curve, curve_of
from howfar.measure.stats import MIN_SEQUENCES, Bootstrap, interval, log_grid


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextReach:
    """One measured context length.

    value: ECL by non-inferiority, tokens; 0: all of them together bring less than the tolerance;
    None: no benefit from context, or (`censored`) no less than `window`, the full context.
    low, high: percentile interval of the length from which the mean itself stays below the
    tolerance, widened to hold `value`; None for few sequences, high None: beyond the window.
    share_value: ECL_eps. mean_value: ECL read off the means alone, without their doubt.
    best: the length with the smallest loss, shorter than the window where far context hurts.
    curve: extra nats over the full context by context length. full_nats, zero_nats: mean loss
    with the full context and without any. num_targets: M; passes: cost in passes of full context.
    """

    value: int | None
    low: int | None
    high: int | None
    censored: bool
    share_value: int | None
    mean_value: int | None
    best: int
    window: int
    curve: Curve
    full_nats: float
    zero_nats: float
    num_sequences: int
    num_targets: int
    passes: float
    warnings: tuple[str, ...]


def context_curve(
    predict: Predict | Sequence[Predict],
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    labels: Tensor | None = None,
    groups: Tensor | None = None,
    options: ContextOptions | None = None,
) -> ContextReach:
    """Measure the loss against the length of context of a callable, or of several trained alike.

    Args:
        predict: `predict(tokens, lengths) -> (B, L, V)` or `(B, C)` logits; windows of any length.
        tokens: integer (N, L), or real (N, L) or (N, L, D).
        lengths: (N,) real tokens a row, padding on the right; None: all.
        labels: (N, L) classes, negative where nothing is asked; (N,) at the last token; None: the
            next token.
        groups: (N,) whole numbers: rows of one document are resampled together.
        options: see `ContextOptions`.

    Raises:
        UsageError: shapes or options that do not fit. DataError: the model answers NaN.
    """
    options = options or ContextOptions()
    models = list(predict) if isinstance(predict, Sequence) else [predict]
    targets = find_targets(tokens, lengths, labels, options)
    if groups is not None and tuple(groups.shape) != (len(tokens),):
        message = f"groups must be ({len(tokens)},), got {tuple(groups.shape)}."
        raise UsageError("E-SHAPE", message, "one number a row.")
    windows = [Windows(model, targets, options) for model in models]
    return _Lengths(windows, targets, groups, options).summary()


class _Lengths:
    """Extra loss by context length: rows (S, N) and bootstrap samples."""

    def __init__(
        self,
        windows: Sequence[Windows],
        targets: Targets,
        groups: Tensor | None,
        options: ContextOptions,
    ) -> None:
        self.windows, self.targets, self.options = windows, targets, options
        rows, self.row_M = np.unique(targets.row.numpy(), return_inverse=True)
        self.per_row_N = np.bincount(self.row_M)
        given = np.arange(len(rows)) if groups is None else groups.cpu().numpy()[rows]
        self.group_N = np.unique(given, return_inverse=True)[1]
        self.num_groups = int(self.group_N.max()) + 1
        rng = Seeds(options.seed).numpy("context bootstrap")
        self.bootstrap = Bootstrap((len(windows), self.num_groups), options.resamples, rng)
        self.rows_R = self.bootstrap.means(self._grouped(np.ones((len(windows), len(rows)))))
        self.window = targets.window
        self.full = self._by_row(self.window)
        self.columns: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        inside = [c for c in options.grid or log_grid(self.window) if 0 < c <= self.window]
        for c in (0, *inside, self.window):
            self.at(c)

    def at(self, c: int) -> tuple[np.ndarray, np.ndarray]:
        """Extra nats at a length: rows (S, N), and the mean of every bootstrap sample (R,)."""
        if c not in self.columns:
            extra_SN = self._by_row(c) - self.full
            mean_R = self.bootstrap.means(self._grouped(extra_SN)) / self.rows_R
            self.columns[c] = extra_SN, mean_R
        return self.columns[c]

    def _by_row(self, c: int) -> np.ndarray:
        nats = [np.bincount(self.row_M, model.losses(c)) for model in self.windows]
        return np.stack(nats) / self.per_row_N

    def _grouped(self, values_SN: np.ndarray) -> np.ndarray:
        return np.stack(
            [np.bincount(self.group_N, row, minlength=self.num_groups) for row in values_SN]
        )

    @property
    def lengths(self) -> list[int]:
        return sorted(self.columns)

    @property
    def sure(self) -> bool:
        return self.num_groups >= MIN_SEQUENCES

    def mean(self, c: int) -> float:
        return float(self.at(c)[0].mean())

    def upper(self, c: int) -> float:
        """The upper bound of the extra loss; few sequences have none, and the mean stands in."""
        return float(interval(self.at(c)[1], self.options.ci)[1]) if self.sure else self.mean(c)

    def _best(self, rounding: float) -> int:
        """The shortest length measured that none is better than."""
        least = min(self.mean(c) for c in self.lengths) + rounding
        return next(c for c in self.lengths if self.mean(c) <= least)

    def _gain(self, best: int) -> float:
        """What the best length brings over none; its lower bound where there is one."""
        if not self.sure:
            return self.mean(0) - self.mean(best)
        return float(interval(self.at(0)[1] - self.at(best)[1], self.options.ci)[0])

    def first(self, worse: Callable[[int], bool]) -> int | None:
        """The smallest length from which `worse` never holds; None: only at the window itself."""
        last = max((c for c in self.lengths if c < self.window and worse(c)), default=-1)
        found = next(c for c in self.lengths if c > last)
        while self.options.exact and found - last > 1:
            middle = (found + last) // 2
            if worse(middle):
                last = middle
            else:
                found = middle
        # At the window itself nothing is left out by construction, which shows nothing.
        return found if found < self.window else None

    def summary(self) -> ContextReach:
        tolerance = self.options.tolerance_nats
        rounding = max(model.rounding for model in self.windows)
        gain = self.mean(0)
        helped = self._gain(self._best(rounding)) > rounding
        value = mean_value = share_value = low = high = None
        if helped:
            value = self.first(lambda c: self.upper(c) >= tolerance)
            mean_value = self.first(lambda c: self.mean(c) >= tolerance)
            missing = max(self.options.eps * gain, rounding)
            share_value = self.first(lambda c: self.mean(c) > missing)
            low, high = self._limits(value) if self.sure else (None, None)
        curve, best = self._curve(), self._best(rounding)
        return ContextReach(
            value=value,
            low=low,
            high=high,
            censored=helped and value is None,
            share_value=share_value if gain > rounding else None,
            mean_value=mean_value,
            best=best,
            window=self.window,
            curve=curve,
            full_nats=float(self.full.mean()),
            zero_nats=float(self.full.mean()) + gain,
            num_sequences=len(self.per_row_N),
            num_targets=len(self.row_M),
            passes=curve.passes,
            warnings=tuple(self._warnings(best, value, helped=helped)),
        )

    def _limits(self, value: int | None) -> tuple[int | None, int | None]:
        """Percentiles over bootstrap samples of where their mean falls below the tolerance."""
        low, high = self._percentiles()
        for c in np.linspace(low - 1, min(high, self.window - 1), 6).round():
            self.at(int(max(c, 0)))
        low, high = self._percentiles()
        point = self.window if value is None else value
        low, high = min(low, point), max(high, point)
        return (None if low >= self.window else low), (None if high >= self.window else high)

    def _percentiles(self) -> tuple[int, int]:
        lengths = np.array(self.lengths)
        worse_KR = np.stack([self.at(c)[1] for c in self.lengths]) >= self.options.tolerance_nats
        place_R = (worse_KR * np.arange(1, len(lengths) + 1)[:, None]).max(0)
        found_R = np.append(lengths, self.window)[place_R]
        tail = (1 - self.options.ci) / 2
        low = np.quantile(found_R, tail, method="lower")
        return int(low), int(np.quantile(found_R, 1 - tail, method="higher"))

    def _curve(self) -> Curve:
        x = self.lengths
        mean_K = np.array([self.mean(c) for c in x])
        low_K, high_K = interval(np.stack([self.at(c)[1] for c in x], 1), self.options.ci)
        without = "the prefix alone" if self.options.prefix else "the model's average prediction"
        return curve_of(
            x,
            mean_K,
            low_K,
            high_K,
            np.stack([self.at(c)[0] for c in x], axis=-1),
            axis="context tokens",
            unit="nats",
            noise_floor=max(model.noise for model in self.windows),
            design=f"truncation; 0 tokens: {without}",
            passes=sum(model.passes for model in self.windows),
        )

    def _warnings(self, best: int, value: int | None, *, helped: bool) -> list[str]:
        targets, tolerance = self.targets, self.options.tolerance_nats
        said = []
        if not helped:
            said.append("no benefit from context: no length of it is shown to lower the loss")
        elif value == 0:
            said.append(f"all context together brings less than {tolerance} nats")
        # A loss that is lower without the far tokens, beyond doubt where there is an interval.
        if helped and best and self.upper(best) < -tolerance:
            said.append(f"far context hurts: {best} tokens cost {-self.mean(best):.3f} nats less")
        shorter = [c for c in self.lengths if 0 < c < self.window]
        lost = [c for c in shorter if self._lost(c) > tolerance]
        if lost:
            said.append(
                f"with the last {lost[-1]} tokens the loss is above that without any: such short "
                "windows may be new to the model, and a prefix may help"
            )
        if max(m.noise - m.rounding for m in self.windows) > 0.1 * tolerance:
            said.append("equal calls give different answers: part of the extra loss is noise")
        if not self.sure:
            said.append(
                f"no interval: {self.num_groups} sequences, at least {MIN_SEQUENCES} are needed"
            )
        if targets.left_out:
            said.append(f"{targets.left_out} rows have no target and are left out")
        if targets.ragged:
            said.append("rows differ in length: shorter ones lose nothing beyond their own start")
        return said + self._trained()

    def _lost(self, c: int) -> float:
        """By how much a length is worse than none; the lower bound where there is one."""
        if not self.sure:
            return self.mean(c) - self.mean(0)
        return float(interval(self.at(c)[1] - self.at(0)[1], self.options.ci)[0])

    def _trained(self) -> list[str]:
        known, longest = self.options.trained_length, self.window + len(self.options.prefix)
        if known is None or longest <= known:
            return []
        return [f"beyond the trained length: {longest} tokens asked, {known} trained on"]
