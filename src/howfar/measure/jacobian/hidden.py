"""How a state depends on an earlier one: norms of dh_t / dh_{t-k}, a product of step Jacobians.

Idea     P_k = J_t J_{t-1} ... J_{t-k+1}; the spectral norm is the largest factor by which a small
         difference of h_{t-k} can arrive, the Frobenius norm gathers all directions
         small states: the product itself. Large ones: Frobenius from random u, E |P^T u|^2; the
         largest singular value by power iteration, P forwards and P^T backwards in turn
Shapes   inputs (N, L[, D]), state (N, S) -> norms (N, K) at lags k
Units    norms; means over sequences are geometric, as the rates of a product of matrices are
Limits   about the state alone: what the output reads of it is `gradient_reach`'s question
Source   Pascanu, Mikolov & Bengio 2013, https://arxiv.org/abs/1211.5063
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from howfar.core.errors import UsageError, in_range
from howfar.core.seeds import Seeds
from howfar.measure.curve import Curve, curve_of
from howfar.measure.jacobian.iterate import spectral, squared_frobenius
from howfar.measure.jacobian.step import Call, Step
from howfar.measure.jacobian.tangent import advance, begin, can_push, jacobian, still
from howfar.measure.stats import MIN_SEQUENCES, Bootstrap, crossing, interval, log_grid

SMALL = 256  # states up to this size are multiplied out


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenOptions:
    """How to measure.

    lags: those to measure (None: 0 .. 8, then two an octave, up to 64 or the first step).
    eps: the norm, relative to lag 0, that counts as gone. exact: multiply the Jacobians out (None:
    states up to 256). probes: random vectors of the Frobenius norm; iterations: at most, of the
    power iteration, to a relative tolerance. ci: level of the intervals.
    """

    lags: tuple[int, ...] | None = None
    eps: float = 0.05
    exact: bool | None = None
    probes: int = 16
    iterations: int = 100
    tolerance: float = 1e-6
    ci: float = 0.95
    seed: int = 0
    resamples: int = 1000

    def __post_init__(self) -> None:
        checks = {
            "lags": self.lags is None or (len(self.lags) > 0 and min(self.lags) >= 0),
            "eps": 0 < self.eps < 1,
            "probes": self.probes >= 1,
            "iterations": self.iterations >= 1,
            "tolerance": self.tolerance > 0,
            "ci": 0 < self.ci < 1,
            "resamples": self.resamples >= 1,
        }
        in_range(self, checks, "`help(howfar.measure.jacobian.hidden_jacobian)` says more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenJacobian:
    """Norms of dh_t / dh_{t-k} at the last t.

    value: smallest lag from which the spectral norm stays at or under eps of its start, 1; None and
    `censored`: beyond the lags measured. curve: spectral norms; frobenius: Frobenius norms.
    exact: multiplied out, or iterated. state_size: S.
    """

    value: int | None
    low: int | None
    high: int | None
    censored: bool
    curve: Curve
    frobenius: Curve
    exact: bool
    state_size: int
    num_sequences: int
    warnings: tuple[str, ...]


def hidden_jacobian(
    step: Step | Call,
    inputs: Tensor,
    *,
    start: Tensor | None = None,
    options: HiddenOptions | None = None,
) -> HiddenJacobian:
    """Measure how the last state depends on earlier ones.

    Args:
        step: (x, state) -> state on flat states, or a `Step` (see `recurrent_step`).
        inputs: (N, L) ids or reals, or (N, L, D); every row of L real tokens.
        start: (S,) or (N, S) state before the first input; None: the step's own start, which uses
            the first input up.
        options: see `HiddenOptions`.

    Raises:
        UsageError: shapes or options that do not fit. DataError: states that are not finite.
    """
    options = options or HiddenOptions()
    with still(step):
        state_NS, inputs = begin(step, inputs, start)
        length, size = inputs.shape[1], state_NS.shape[1]
        lags = sorted({0, *(options.lags or log_grid(min(length, 64), dense=8))})
        if lags[-1] > length:
            message = f"{length} steps do not reach back {lags[-1]}."
            raise UsageError("E-OPTION", message, "longer rows, or smaller lags.")
        states = [state_NS]
        for j in range(length):
            states.append(advance(step, inputs[:, j], states[-1]))
        last = lags[-1]
        trail = [(inputs[:, length - k], states[length - k]) for k in range(1, last + 1)]
        generator = Seeds(options.seed).torch("hidden jacobian")
        exact = size <= SMALL if options.exact is None else options.exact
        exact = exact or (last > 0 and not can_push(step, *trail[0], generator))
        if exact:
            norms = _multiplied(step, trail, lags, state_NS)
        else:
            squares_NK = squared_frobenius(step, trail, lags, options.probes, generator)
            limits = options.iterations, options.tolerance
            largest_NK, settled = spectral(step, trail, lags, limits, generator)
            norms = largest_NK, squares_NK.sqrt(), settled
    return _result(lags, norms, options, exact=exact, size=size)


def _multiplied(
    step: Step | Call, trail: Sequence[tuple[Tensor, Tensor]], lags: Sequence[int], first: Tensor
) -> tuple[Tensor, Tensor, bool]:
    """Spectral and Frobenius norms (N, K) of the products themselves."""
    rows, size = first.shape
    product_NSS = torch.eye(size, dtype=torch.float64).repeat(rows, 1, 1)
    log_N = torch.zeros(rows, dtype=torch.float64)
    found = []
    for k in range(lags[-1] + 1):
        if k > 0:
            product_NSS = product_NSS @ jacobian(step, *trail[k - 1])
            norm_N = torch.linalg.matrix_norm(product_NSS)
            # Scaled at every step: long products leave the range of numbers long before their log.
            safe_N = torch.where(norm_N > 0, norm_N, 1.0)
            product_NSS = product_NSS / safe_N[:, None, None]
            log_N = log_N + safe_N.log()
        if k in lags:
            both = [torch.linalg.matrix_norm(product_NSS, ord=kind) for kind in (2, "fro")]
            found.append(torch.stack(both) * log_N.exp())
    spectral_NK, frobenius_NK = torch.stack(found, -1)
    return spectral_NK, frobenius_NK, True


def _result(
    lags: Sequence[int],
    norms: tuple[Tensor, Tensor, bool],
    options: HiddenOptions,
    *,
    exact: bool,
    size: int,
) -> HiddenJacobian:
    spectral_NK, frobenius_NK, settled = norms
    num = len(spectral_NK)
    rng = Seeds(options.seed).numpy("hidden jacobian bootstrap")
    bootstrap = Bootstrap((1, num), options.resamples, rng)
    curve, sample_RK = _curve(lags, spectral_NK.numpy(), "spectral norm", bootstrap, options)
    frobenius, _ = _curve(lags, frobenius_NK.numpy(), "Frobenius norm", bootstrap, options)
    value = crossing(lags, np.array(curve.mean), options.eps)
    said, low, high = [], None, None
    if num >= MIN_SEQUENCES:
        beyond = lags[-1] + 1
        ends = [crossing(lags, ratio_K, options.eps) for ratio_K in sample_RK]
        end_R = np.array([beyond if end is None else end for end in ends])
        tail = (1 - options.ci) / 2
        low = int(np.quantile(end_R, tail, method="lower"))
        high = int(np.quantile(end_R, 1 - tail, method="higher"))
        low, high = (end if end < beyond else None for end in (low, high))
    else:
        said.append(f"no interval: {num} sequences, at least {MIN_SEQUENCES} are needed")
    if not settled:
        said.append("the power iteration did not settle: spectral norms may be too small")
    return HiddenJacobian(
        value=value,
        low=low,
        high=high,
        censored=value is None,
        curve=curve,
        frobenius=frobenius,
        exact=exact,
        state_size=size,
        num_sequences=num,
        warnings=tuple(said),
    )


def _curve(
    lags: Sequence[int],
    norm_NK: np.ndarray,
    unit: str,
    bootstrap: Bootstrap,
    options: HiddenOptions,
) -> tuple[Curve, np.ndarray]:
    """Geometric means with their interval, and those of every sample (R, K)."""
    tiny = np.finfo(float).tiny
    log_NK = np.log(np.maximum(norm_NK, tiny))
    sample_RK = np.stack([bootstrap.means(log_N[None]) for log_N in log_NK.T], -1)
    low_K, high_K = np.exp(interval(sample_RK, options.ci))
    gone_K = (norm_NK == 0).any(0)
    mean_K = np.where(gone_K, 0.0, np.exp(log_NK.mean(0)))
    curve = curve_of(
        lags,
        mean_K,
        np.where(gone_K, 0.0, low_K),
        np.where((norm_NK == 0).all(0), 0.0, high_K),
        norm_NK[None],
        axis="lag",
        unit=unit,
    )
    return curve, np.exp(sample_RK)
