"""Attention by distance: how far back the weights of a model lie, layer by layer and head by head.

Idea     A_ts, rows of each head's weights, added up by lag d = t - s
             mean distance   E_t sum_s A_ts |t - s|, against t / 2 of uniform causal attention
             entropy         E_t of -sum_s A_ts ln A_ts, at most ln(t + 1)
             reach           min{k : share of the mass at lags >= k is at most eps}
         Sinks (the first position and special tokens) draw attention whatever they hold, and would
         stand for the farthest token: the reach leaves them out, and is given with them as well
Units    kept tokens for reaches: 1 is the position itself; positions for distances; nats
Limits   attention is not influence: values, the residual and later layers decide what comes of it.
         `weighted` counts the length of what is added, ||A_ts W_O v_s||, where values are to be had
         a mean over heads hides heads: `layers` has them one by one
         models that look ahead are given two reaches, one a side
Doubt    percentile bootstrap over sequences
Source   Vaswani et al. 2017, https://arxiv.org/abs/1706.03762 (attention); Abnar & Zuidema 2020,
         https://arxiv.org/abs/2005.00928 (rollout); Kobayashi et al. 2020,
         https://arxiv.org/abs/2004.10102 (value weighting). The reach is our own definition
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from howfar.core.errors import UsageError
from howfar.core.protocols import Predict
from howfar.core.seeds import Seeds
from howfar.measure.attention.gather import (
    Gather,
    Gathered,
    Take,
    Weights,
    from_model,
    from_weights,
)
from howfar.measure.attention.layers import LayerAttention, layers_of, reach_of
from howfar.measure.attention.options import AttentionOptions
from howfar.measure.curve import Curve, curve_of
from howfar.measure.stats import MIN_SEQUENCES, Bootstrap, interval, log_grid

DENSE = 64  # lags of the curve that stand for themselves; two an octave beyond
TOGETHER = 50  # bootstrap samples in memory at once


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionReach:
    """Where the attention of a model lies, averaged over layers, heads and queries.

    value: reach into the past without sinks; None: all of it is on sinks or ahead. low, high: its
    interval. with_sinks, without_self: the same with sinks, and without the position itself too.
    weighted: by ||A W_O v||, sinks included; None where a layer's values were not seen.
    ahead_share: of the mass; ahead: reach into the future in tokens, None for causal attention.
    mean_distance, uniform_ratio (1: as uniform attention), entropy_nats, effective (e^entropy),
    sink_share, self_share: means over layers and heads. layers: head by head, in order of calls.
    rollout: all layers multiplied out, as one of one head; None where rows are too long for it.
    curve: share of all attention at each lag, without sinks; mean of the lags up to the next point.
    """

    value: int | None
    low: int | None
    high: int | None
    censored: bool
    with_sinks: int | None
    without_self: int | None
    weighted: int | None
    causal: bool
    ahead: int | None
    ahead_share: float
    mean_distance: float
    uniform_ratio: float
    entropy_nats: float
    effective: float
    sink_share: float
    self_share: float
    layers: tuple[LayerAttention, ...]
    rollout: LayerAttention | None
    window: int
    curve: Curve
    num_sequences: int
    warnings: tuple[str, ...]


def attention_reach(
    predict: Predict | None,
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    weights: Weights | None = None,
    options: AttentionOptions | None = None,
) -> AttentionReach:
    """Measure where the attention of a model lies.

    Args:
        predict: `predict(tokens, lengths)`, any callable that computes attention by
            `scaled_dot_product_attention`, `nn.MultiheadAttention` or a softmax over T x T.
        tokens: integer (N, L), or real (N, L) or (N, L, D).
        lengths: (N,) real tokens a row, padding on the right; rows are cut to theirs.
        weights: instead of `predict`, `weights(tokens, lengths)` -> (B, H, T, T) of every layer.
        options: see `AttentionOptions`.

    Raises:
        UsageError: E-ATTENTION where no attention is seen; shapes or options that do not fit.
        DataError: weights that are no numbers.
    """
    if weights is not None:
        run = from_weights(weights)
    elif predict is not None:
        run = from_model(predict)
    else:
        raise UsageError("E-OPTION", "Neither a model nor weights are given.", "weights=...")
    return measured(run, tokens, lengths, options or AttentionOptions())


def measured(
    run: Callable[[Tensor, Tensor, Take], int],
    tokens: Tensor,
    lengths: Tensor | None,
    options: AttentionOptions,
) -> AttentionReach:
    """Gather all rows and read the numbers off them."""
    lengths = _checked(tokens, lengths)
    found = Gather(run, tokens, lengths, options).all()
    layers = layers_of(found.tally, found.uniform, found.rows, options.eps)
    rolled = layers_of(found.rolled, found.uniform, found.rolled.rows, options.eps)
    bare_NK = _array(found.bare, found.order)
    past_NK, ahead_NK = _array(found.past, found.order), _array(found.ahead, found.order)
    weighted_NK = _array(found.weighted, found.order)
    doubt = _Doubt(bare_NK, options)
    value = reach_of(bare_NK.sum(0), options.eps)
    low, high = doubt.limits(value)
    content_K = bare_NK.sum(0)[1:]
    beside = reach_of(content_K, options.eps)
    complete = rolled and not found.not_rolled
    return AttentionReach(
        value=value,
        low=low,
        high=high,
        censored=False,
        with_sinks=reach_of(past_NK.sum(0), options.eps),
        without_self=None if beside is None else beside + 1,
        weighted=reach_of(weighted_NK.sum(0), options.eps) if len(weighted_NK) else None,
        causal=found.causal,
        ahead=None if found.causal else reach_of(ahead_NK.sum(0)[1:], options.eps),
        ahead_share=_mean(layers, "ahead_share"),
        mean_distance=_mean(layers, "mean_distance"),
        uniform_ratio=_mean(layers, "uniform_ratio"),
        entropy_nats=_mean(layers, "entropy_nats"),
        effective=_mean(layers, "effective"),
        sink_share=_mean(layers, "sink_share"),
        self_share=_mean(layers, "self_share"),
        layers=layers,
        rollout=rolled[0] if complete else None,
        window=bare_NK.shape[1],
        curve=doubt.curve(),
        num_sequences=found.rows,
        warnings=tuple(_warnings(found, layers, lengths, value, options)),
    )


class _Doubt:
    """Bootstrap of the mass by lag: (N, K) without sinks."""

    def __init__(self, bare_NK: np.ndarray, options: AttentionOptions) -> None:
        rng = Seeds(options.seed).numpy("attention bootstrap")
        self.bare_NK, self.options = bare_NK, options
        bootstrap = Bootstrap((1, len(bare_NK)), options.resamples, rng)
        self.share_RN = bootstrap.sequences_RN / len(bare_NK)

    def limits(self, value: int | None) -> tuple[int | None, int | None]:
        """Percentiles of the reach over bootstrap samples."""
        if len(self.bare_NK) < MIN_SEQUENCES or value is None:
            return None, None
        found = []
        for part_RN in np.array_split(self.share_RN, max(1, len(self.share_RN) // TOGETHER)):
            found += [reach_of(mass_K, self.options.eps) for mass_K in part_RN @ self.bare_NK]
        reaches = np.array([value if reach is None else reach for reach in found])
        tail = (1 - self.options.ci) / 2
        low = int(np.quantile(reaches, tail, method="lower"))
        high = int(np.quantile(reaches, 1 - tail, method="higher"))
        return min(low, value), max(high, value)

    def curve(self) -> Curve:
        """Mass a lag, averaged from each grid point up to the next."""
        last = self.bare_NK.shape[1] - 1
        x = log_grid(last, dense=DENSE)
        width_K = np.diff([*x, last + 1])
        mean_NK = np.add.reduceat(self.bare_NK, x, axis=1) / width_K
        low_K, high_K = interval(self.share_RN @ mean_NK, self.options.ci)
        return curve_of(
            x,
            mean_NK.mean(0),
            low_K,
            high_K,
            mean_NK[None],
            axis="lag",
            unit="share of attention",
            design="attention weights without sinks",
            passes=1.0,
        )


def _array(rows: Sequence[np.ndarray], order: Sequence[int]) -> np.ndarray:
    """Rows of different length as one (N, K) in the order of the sequences; (0, 0) for none."""
    if not rows:
        return np.zeros((0, 0))
    array_NK = np.zeros((len(rows), max(len(row) for row in rows)))
    for place, row in zip(np.argsort(np.argsort(order)), rows, strict=True):
        array_NK[place, : len(row)] = row
    return array_NK


def _mean(layers: Sequence[LayerAttention], name: str) -> float:
    """Mean over layers of the mean over heads."""
    return float(np.mean([np.mean(getattr(layer, name)) for layer in layers]))


def _checked(tokens: Tensor, lengths: Tensor | None) -> Tensor:
    if tokens.ndim not in (2, 3) or tokens.shape[0] < 1 or tokens.shape[1] < 2:
        message = f"tokens must be (N, L) or (N, L, D) with L >= 2, got {tuple(tokens.shape)}."
        raise UsageError("E-SHAPE", message, "rows of two tokens or more.")
    num, length = tokens.shape[:2]
    if lengths is None:
        return torch.full((num,), length)
    if lengths.shape != (num,) or int(lengths.min()) < 1 or int(lengths.max()) > length:
        message = f"lengths must be {num} numbers in 1 .. {length}."
        raise UsageError("E-SHAPE", message, "leave out empty sequences.")
    if int(lengths.max()) < 2:
        raise UsageError("E-SHAPE", "No row has two tokens.", "longer rows.")
    return lengths


def _warnings(
    found: Gathered,
    layers: Sequence[LayerAttention],
    lengths: Tensor,
    value: int | None,
    options: AttentionOptions,
) -> list[str]:
    said, longest = [], int(lengths.max())
    if value is None:
        said.append("no attention to the past: all of it is on sinks, or ahead")
    elif found.causal and value > found.shortest_view:
        said.append(
            f"the reach is more than the {found.shortest_view} positions that all queries see: "
            "longer rows may give a longer one"
        )
    if found.rows < MIN_SEQUENCES:
        said.append(f"no interval: {found.rows} sequences, at least {MIN_SEQUENCES} are needed")
    if found.rows < len(lengths):
        said.append(f"{len(lengths) - found.rows} rows of one token are left out")
    sizes = {layer.length for layer in layers}
    if len(sizes) > 1:
        said.append("layers have different numbers of positions: lags are not of one unit")
    elif longest not in sizes:
        size = sizes.pop()
        said.append(f"attention is over {size} positions for {longest} tokens: lags count those")
    if found.left_out:
        said.append(f"{found.left_out} calls of attention were not of a sequence to itself")
    if {layer.weighted_by for layer in layers} - {"W_O v"} and found.weighted:
        said.append("weighted by the values alone where the map behind them was not seen")
    if found.not_rolled:
        said.append(
            f"no rollout: rows of more than {options.rollout} positions, or of several sizes"
        )
    return said
