"""Retention: what each layer and each time step still holds of the tokens before it.

Idea     a linear probe is trained to read the token d back, x_(t-d), from the state z = h_t of a
         layer; how well it does on sequences it never saw is what the state still holds

             tokens   I_V(d) = H_V(x_(t-d)) - CE(x_(t-d) | z)   bits, a lower bound of information
             reals    R2(d) = 1 - |x_(t-d) - probe(z)|^2 / |x_(t-d) - mean|^2

         for every layer and lag: kept here, lost there
         reach of a layer = largest d whose lower bound is above eps of the entropy (or of 1), and
         above the control
Control  the same probe for another sequence's tokens at the same place: what position alone tells,
         and what a probe takes for knowledge where there is none
Split    by sequence; every number is from sequences no probe has seen; bootstrap over these
Limits   decodable is not used: a state may hold what nothing reads; swap reach says what is used.
         A token that can be guessed from newer ones is decodable without being kept: give `recent`,
         at least as many tokens as are likely kept. What only a nonlinear probe could read is not
         counted. Memory capacity of a linear net with many units is ill-conditioned: read the curve
Source   memory capacity: Jaeger 2001; V-information: Xu et al. 2020,
         https://arxiv.org/abs/2002.10689; controls: Hewitt & Liang 2019,
         https://arxiv.org/abs/1909.03368
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from howfar.core.errors import DataError
from howfar.core.protocols import Predict
from howfar.core.seeds import Seeds
from howfar.measure import probe
from howfar.measure.curve import curve_of
from howfar.measure.retention.data import Data, classes
from howfar.measure.retention.layers import Found, find
from howfar.measure.retention.options import RetentionOptions
from howfar.measure.retention.result import Retention, losses
from howfar.measure.retention.rows import Row, Rows
from howfar.measure.retention.states import States, Times, collect, raw, times
from howfar.measure.stats import MIN_SEQUENCES, Bootstrap, interval


def retention(
    predict: Predict,
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    layers: Sequence[str] | States | None = None,
    targets: str | Tensor = "auto",
    options: RetentionOptions | None = None,
) -> Retention:
    """Measure what every layer of a model holds of earlier tokens.

    Args:
        predict: an nn.Module `predict(tokens, lengths)`; anything where `layers` is a function.
        tokens: integer (N, L), or real (N, L) or (N, L, D).
        lengths: (N,) real tokens a row, padding on the right.
        layers: None: found in the model, see `howfar.measure.retention.layers`; or names of its
            modules; or a function (tokens, lengths) -> {name: states (B, T, D), or (B, D)}.
        targets: at which times t: "spread" over the sequence, "last", "auto" (last where the last
            layer has one state a sequence, else spread), or positions (N,) or (N, P).
        options: see `RetentionOptions`.

    Raises:
        UsageError: shapes, layers or lags that do not fit. DataError: states that are not numbers.
    """
    options = options or RetentionOptions()
    seqs = probe.sequences(tokens, lengths, "last")
    found: Found | None = None
    source: tuple[Predict, Found] | States
    if callable(layers):
        source = layers
    else:
        found = find(predict, seqs, layers)
        source = (predict, found)
    chosen = times(seqs, targets, found, options)
    states = collect(source, seqs, chosen, options.batch)
    return _Measurement(seqs, chosen, states, options, targets).summary(found)


@dataclass(slots=True)
class _Measurement:
    seqs: probe.Sequences
    chosen: Times
    states: dict[str, Tensor]
    options: RetentionOptions
    targets: str | Tensor

    def summary(self, found: Found | None) -> Retention:
        said = list(self.chosen.warnings)
        rows = Rows(self._data(said), self.options)
        self._drop_whole(found, said)
        measured = []
        for name in list(self.states):
            state_NPD = self.states.pop(name)
            measured.append(rows.measure(name, state_NPD))
        self._enough(rows, measured, said)
        return self._result(rows, measured, said)

    def _drop_whole(self, found: Found | None, said: list[str]) -> None:
        """One state a sequence says nothing about times within it."""
        whole = {layer.name for layer in found.layers if layer.whole} if found else set()
        if self.chosen.at.shape[1] > 1 and whole and len(whole) < len(self.states):
            for name in whole:
                del self.states[name]
            said.append(f'{", ".join(whole)}: one state a sequence; targets="last" looks at it')

    def _data(self, said: list[str]) -> Data:
        tokens, lags = self.seqs.tokens, self.chosen.lags
        target = raw(tokens, self.chosen, lags)
        recent = raw(tokens, self.chosen, range(self.options.recent))
        order = Seeds(self.options.seed).numpy("retention split").permutation(len(target))
        test = max(1, min(len(order) - 1, round(self.options.held_out * len(order))))
        train_N = np.ones(len(order), dtype=bool)
        train_N[order[:test]] = False
        control = self._exchanged(train_N)
        if tokens.is_floating_point():
            if tokens.ndim == 2:
                target, control, recent = target[..., None], control[..., None], recent[..., None]
            reals = [x.astype(float) for x in (target, control, recent)]
            return Data(reals[0], reals[1], reals[2], train_N, 0, lags)
        every = np.concatenate([target, control, recent], 2)
        merged, kinds = classes(every, target[train_N], self.options)
        if kinds.other:
            said.append(
                f"{kinds.seen} symbols: the {kinds.count - 1} commonest are told apart, "
                f"the rest ({100 * kinds.share:.1f} % of tokens) is one"
            )
        if kinds.count < 2:
            message = "All tokens are the same: there is nothing to hold."
            raise DataError("E-TOKENS", message, "sequences whose tokens vary.")
        parts = np.split(merged, [len(lags), 2 * len(lags)], axis=2)
        return Data(parts[0], parts[1], parts[2], train_N, kinds.count, lags)

    def _exchanged(self, train_N: np.ndarray) -> np.ndarray:
        """Targets of another sequence on the same side of the split, at the same positions."""
        rng = Seeds(self.options.seed).numpy("retention control")
        donor_N = np.arange(len(train_N))
        for side_N in (np.flatnonzero(train_N), np.flatnonzero(~train_N)):
            donor_N[side_N] = side_N[probe.donors(len(side_N), 1, rng)[0]]
        given = probe.donor_tokens(self._rows(), donor_N)
        return raw(given, replace(self.chosen, rows=torch.arange(len(donor_N))), self.chosen.lags)

    def _rows(self) -> probe.Sequences:
        """The rows that are used."""
        rows = self.chosen.rows
        return probe.Sequences(self.seqs.tokens[rows], self.seqs.lengths[rows], rows)

    def _enough(self, rows: Rows, measured: list[Row], said: list[str]) -> None:
        held_out = int((~rows.data.train).sum())
        if held_out < MIN_SEQUENCES:
            wanted = int(np.ceil(MIN_SEQUENCES / self.options.held_out))
            said.append(
                f"no interval: {held_out} held-out sequences, at least {MIN_SEQUENCES} are needed "
                f"({wanted} sequences in all); `held` goes by the point estimate"
            )
        samples = rows.num_train
        thin = [row for row in measured if samples < 20 * row.width]
        if thin:
            widest = max(thin, key=lambda row: row.width)
            said.append(
                f"{samples} training states for {widest.width} units in {widest.name}: less than "
                f"{20 * widest.width} understate what it holds; more sequences or positions"
            )
        still = [row.name for row in measured if row.moving == 0]
        if still:
            said.append(f"{', '.join(still)}: the states do not vary")
        if bool((rows.entropy == 0).any()):
            said.append("tokens at some lags do not vary: nothing to hold there")

    def _result(self, rows: Rows, measured: list[Row], said: list[str]) -> Retention:
        opts, lags = self.options, self.chosen.lags
        names = tuple(row.name for row in measured)
        few = rows.num_test < MIN_SEQUENCES
        rng = Seeds(opts.seed).numpy("retention bootstrap")
        boot = Bootstrap((1, rows.num_test), opts.resamples, rng)
        weight_RN = boot.sequences_RN / rows.num_test
        point_LK = np.stack([row.point for row in measured])
        control_LK = np.stack([row.control for row in measured])
        samples = [row.resampled(weight_RN) for row in measured]
        limits = [interval(each_RK, opts.ci) for each_RK in samples]
        low_LK, high_LK = (np.stack([pair[side] for pair in limits]) for side in (0, 1))
        bar_LK = np.maximum(opts.eps * rows.entropy, control_LK)
        # With `recent`, what counts is what the states add to these tokens.
        more = opts.recent > 0
        beyond_LK = np.stack([row.added_point for row in measured])
        extra = [row.resampled(weight_RN, added=True) for row in measured] if more else samples
        extra_low_LK, extra_high_LK = (
            np.stack([interval(each_RK, opts.ci)[side] for each_RK in extra]) for side in (0, 1)
        )
        bound_LK = (beyond_LK if more else point_LK) if few else extra_low_LK
        held_LK = (bound_LK > bar_LK) & (rows.entropy > 0)
        maybe_LK = (bound_LK if few else extra_high_LK) > bar_LK
        reaches = [_largest(lags, held_K) for held_K in held_LK]
        ends = [
            (None, None) if few else _ends(lags, each_RK > bar_K, reach, opts.ci)
            for each_RK, bar_K, reach in zip(extra, bar_LK, reaches, strict=True)
        ]
        blank = np.full_like(point_LK, np.nan)
        top = measured[-1]
        return Retention(
            value=reaches[-1],
            low=ends[-1][0],
            high=ends[-1][1],
            censored=reaches[-1] == lags[-1],
            curve=curve_of(
                lags,
                top.point,
                blank[-1] if few else low_LK[-1],
                blank[-1] if few else high_LK[-1],
                top.value[None],
                axis="lag",
                unit=rows.unit,
                matrix_unit=rows.matrix_unit,
                noise_floor=max(0.0, float(top.control.max())),
                design=f"linear probe of {top.name}, held-out sequences",
                passes=1.0,
            ),
            num_sequences=len(rows.data.train),
            warnings=tuple(said),
            layers=names,
            lags=lags,
            unit=rows.unit,
            eps=opts.eps,
            widths=tuple(row.width for row in measured),
            map=point_LK,
            map_low=blank if few else low_LK,
            map_high=blank if few else high_LK,
            control=control_LK,
            entropy=rows.entropy,
            accuracy=np.stack([row.accuracy for row in measured]),
            held=held_LK,
            reach=tuple(reaches),
            reach_low=tuple(low for low, _ in ends),
            reach_high=tuple(high for _, high in ends),
            capacity=tuple(float(row.capacity) for row in measured),
            losses=losses(names, lags, held_LK, maybe_LK),
            predictable=rows.predictable,
            beyond=beyond_LK,
            beyond_low=extra_low_LK if more and not few else blank,
            logistic=np.stack([row.logistic for row in measured]),
            logistic_low=blank
            if few
            else np.stack([row.logistic_limit(weight_RN, opts.ci) for row in measured]),
            compression=np.stack([row.compression for row in measured]),
            num_held_out=rows.num_test,
            num_samples=rows.num_train,
        )


def _largest(lags: Sequence[int], held_K: np.ndarray) -> int | None:
    places = np.flatnonzero(held_K)
    return int(lags[places[-1]]) if places.size else None


def _ends(
    lags: Sequence[int], held_RK: np.ndarray, value: int | None, ci: float
) -> tuple[int | None, int | None]:
    """Percentiles of each bootstrap sample's own largest lag; None below: it holds nothing."""
    if value is None:
        return None, None
    grid = np.array([np.nan, *lags])
    place_R = (held_RK * (np.arange(len(lags)) + 1)).max(1)
    low, high = (
        int(p) for p in np.quantile(place_R, [(1 - ci) / 2, (1 + ci) / 2], method="nearest")
    )
    lowest = None if low == 0 else min(int(grid[low]), value)
    return lowest, max(int(grid[high]) if high else value, value)
