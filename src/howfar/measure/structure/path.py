"""Path length: how many layers, and how many operations one after the other, join two places.

Idea     a layer is a matrix of steps C[t, s]: operations it needs to carry something from s to t,
         infinite where it cannot. Layers compose by (min, +): the first l with (C_l ... C_1)[t, s]
         finite is the number of layers, its entry the number of operations

             attention 1; over a window of w tokens ceil(d / (w-1)) layers; convolution of k taps
             ceil(d / ((k-1) dilation)); recurrence 1 layer and d + 1 operations, one a token;
             pooling 1
Check    `first_layer`: swap x_s in a module and see which layer's state at t changes first
Units    layers; operations
Source   Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, table 1
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from howfar.core.errors import UsageError
from howfar.core.protocols import Predict
from howfar.measure.structure.support import exact
from howfar.measure.watch import captured, quiet

Link: TypeAlias = Callable[[int], np.ndarray]  # length -> steps (L, L), target by source


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """layers: how many are needed; operations: one after the other, through these layers."""

    layers: int
    operations: int


def attention(*, causal: bool = True, window: int | None = None) -> Link:
    """Every token at once, or the last `window` with its own; not causal: as many on each side."""
    reach = np.inf if window is None else window - 1
    return lambda length: _steps(length, lambda lag: abs(lag) <= reach, causal=causal)


def convolution(kernel: int, *, dilation: int = 1, causal: bool = True) -> Link:
    """`kernel` taps, `dilation` apart: ending at the token, or centred on it."""
    first = 0 if causal else -((kernel - 1) // 2) * dilation
    taps = np.array([first + tap * dilation for tap in range(kernel)])
    return lambda length: _steps(length, lambda lag: np.isin(lag, taps), causal=False)


def recurrence(*, bidirectional: bool = False) -> Link:
    """A state carried from token to token: d + 1 operations over d tokens."""

    def steps(length: int) -> np.ndarray:
        lag = _lags(length)
        open_TS = np.ones_like(lag, dtype=bool) if bidirectional else lag >= 0
        return np.where(open_TS, abs(lag) + 1.0, np.inf)

    return steps


def pooling() -> Link:
    """Every place sees every place, as after a maximum or mean over the text."""
    return attention(causal=False)


def shortest(
    links: Sequence[Link], source: int, target: int, *, length: int | None = None
) -> Path | None:
    """Fewest layers that join two places, running through `links` and then the last again.

    Args:
        links: one a layer, in order.
        source: place of the input.
        target: place of the output.
        length: tokens; None: just enough for both places.

    Returns:
        None where no number of layers joins them.
    """
    if not links or min(source, target) < 0:
        message = f"{len(links)} layers from place {source} to {target}: nothing to follow."
        raise UsageError("E-OPTION", message, "one link or more, and places from 0.")
    length = max(source, target) + 1 if length is None else length
    cost_T = np.full(length, np.inf)
    cost_T[source] = 0
    seen: set[bytes] = set()
    layer = 0
    while True:
        steps_TS = links[min(layer, len(links) - 1)](length)
        cost_T = (steps_TS + cost_T[None, :]).min(1)
        layer += 1
        if np.isfinite(cost_T[target]):
            return Path(layers=layer, operations=int(cost_T[target]))
        mark = np.isfinite(cost_T).tobytes()
        if layer >= len(links) and mark in seen:
            return None
        seen.add(mark)


def first_layer(
    predict: Predict,
    tokens: Tensor,
    source: int,
    target: int,
    *,
    layers: Sequence[str] | None = None,
) -> tuple[int | None, tuple[str, ...]]:
    """The first layer whose state at `target` changes when the token at `source` does.

    Args:
        predict: an nn.Module.
        tokens: integer (N, L), or real (N, L) or (N, L, D): each text gets its neighbour's token.
        source: place that is swapped.
        target: place that is looked at; a state without places counts as a whole.
        layers: module names in order; None: the children of the first ModuleList or Sequential
            with two or more.

    Returns:
        its number from 1 (None: no layer) and the names looked at.

    Raises:
        UsageError: E-MODULE for unknown names or a module without a list of layers; E-SHAPE.
    """
    double, inputs = exact(predict, tokens)
    names = tuple(layers) if layers is not None else _names(double)
    length = tokens.shape[1]
    if len(tokens) < 2 or not 0 <= min(source, target) <= max(source, target) < length:
        message = f"Places {source} and {target} in {len(tokens)} texts of {length} tokens."
        raise UsageError("E-SHAPE", message, "two texts or more, and places inside them.")
    changed = inputs.clone()
    changed[:, source] = inputs[:, source].roll(1, 0)
    lengths = torch.full((len(tokens),), length)
    with torch.no_grad(), quiet(double, hooks=True), captured(double, names) as states:
        double(inputs, lengths)
        double(changed, lengths)
    for number, name in enumerate(names, 1):
        calls = states[name]
        half = len(calls) // 2
        pairs = zip(calls[:half], calls[half:], strict=True)
        if any(bool((_at(a, target, length) != _at(b, target, length)).any()) for a, b in pairs):
            return number, names
    return None, names


def _names(predict: Predict) -> tuple[str, ...]:
    known = predict.named_modules() if isinstance(predict, nn.Module) else ()
    for name, module in known:
        children = list(module.named_children())
        if isinstance(module, nn.ModuleList | nn.Sequential) and len(children) > 1:
            return tuple(f"{name}.{child}" if name else child for child, _ in children)
    message = "The model keeps no ModuleList or Sequential of layers."
    raise UsageError("E-MODULE", message, "layers=('first', 'second'), from model.named_modules().")


def _at(state: Tensor, target: int, length: int) -> Tensor:
    """The state at one place: of (B, L, D) or (B, D, L), else all of it."""
    if state.ndim > 1 and state.shape[1] == length:
        return state[:, target]
    if state.ndim > 2 and state.shape[2] == length:
        return state[:, :, target]
    return state


def _lags(length: int) -> np.ndarray:
    place_L = np.arange(length)
    return np.asarray(place_L[:, None] - place_L[None, :])


def _steps(
    length: int, within: Callable[[np.ndarray], np.ndarray | bool], *, causal: bool
) -> np.ndarray:
    lag_TS = _lags(length)
    open_TS = within(lag_TS) & (lag_TS >= 0) if causal else within(lag_TS)
    return np.where(open_TS, 1.0, np.inf)
