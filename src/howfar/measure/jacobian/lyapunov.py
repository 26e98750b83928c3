"""Lyapunov spectrum: at which rates small differences of the state grow or die out.

Idea     Q_0 = I, Q_j R_j = J_j Q_{j-1} with J_j the Jacobian of step j;
         lambda_i = mean over steps of ln |R_j,ii|, after a warm-up
Shapes   inputs (N, L[, D]), state (N, S) -> exponents (N, M), largest first
Units    per token; horizon = -1 / lambda_1 tokens: what is left after it is 1/e
Limits   rates of an endless run, estimated from n steps: off by about 1/n where directions are not
         orthogonal. The horizon is about the state, not about what the output makes of it
Source   Benettin et al. 1980, https://doi.org/10.1007/BF02128236; for recurrent networks Vogt et
         al. 2022, https://doi.org/10.3389/fams.2022.818799 (here with c in the state of an LSTM)
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from howfar.core.errors import UsageError, in_range
from howfar.core.seeds import Seeds
from howfar.measure.curve import Curve, curve_of
from howfar.measure.jacobian.step import Call, Step
from howfar.measure.jacobian.tangent import advance, begin, can_push, jacobian, push, still
from howfar.measure.stats import MIN_SEQUENCES, Bootstrap, interval


@dataclass(frozen=True, slots=True, kw_only=True)
class LyapunovOptions:
    """How to measure.

    exponents: how many, the largest ones (None: all). warmup: steps before the mean begins (None:
    a tenth of them). ci: level of the intervals.
    """

    exponents: int | None = None
    warmup: int | None = None
    ci: float = 0.95
    seed: int = 0
    resamples: int = 1000

    def __post_init__(self) -> None:
        checks = {
            "exponents": self.exponents is None or self.exponents >= 1,
            "warmup": self.warmup is None or self.warmup >= 0,
            "ci": 0 < self.ci < 1,
            "resamples": self.resamples >= 1,
        }
        in_range(self, checks, "`help(howfar.measure.jacobian.lyapunov)` says more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LyapunovSpectrum:
    """Exponents, and the horizon read off the largest.

    value: the horizon in whole tokens, rounded up; None and `censored`: no horizon within the steps
    measured. horizon: -1 / lambda_1, None where lambda_1 is not negative; horizon_low and _high
    from its interval (high None: it reaches 0). exponents, exponents_low, exponents_high: per
    token, largest first. curve: the same by index, its matrix per sequence. steps: averaged over.
    state_size: S.
    """

    value: int | None
    low: int | None
    high: int | None
    censored: bool
    curve: Curve
    exponents: tuple[float, ...]
    exponents_low: tuple[float, ...] | None
    exponents_high: tuple[float, ...] | None
    horizon: float | None
    horizon_low: float | None
    horizon_high: float | None
    steps: int
    state_size: int
    num_sequences: int
    warnings: tuple[str, ...]


def lyapunov(
    step: Step | Call,
    inputs: Tensor,
    *,
    start: Tensor | None = None,
    options: LyapunovOptions | None = None,
) -> LyapunovSpectrum:
    """Measure the Lyapunov spectrum of a recurrence driven by real inputs.

    Args:
        step: (x, state) -> state on flat states, or a `Step` (see `recurrent_step`).
        inputs: (N, L) ids or reals, or (N, L, D); every row of L real tokens.
        start: (S,) or (N, S) state before the first input; None: the step's own start, which uses
            the first input up.
        options: see `LyapunovOptions`.

    Raises:
        UsageError: shapes or options that do not fit. DataError: states that are not finite.
    """
    options = options or LyapunovOptions()
    with still(step):
        state_NS, inputs = begin(step, inputs, start)
        size, length = state_NS.shape[1], inputs.shape[1]
        count = min(options.exponents or size, size)
        warmup = length // 10 if options.warmup is None else options.warmup
        if warmup >= length:
            message = f"{length} steps leave none after a warm-up of {warmup}."
            raise UsageError("E-OPTION", message, "longer rows, or a shorter warm-up.")
        generator = Seeds(options.seed).torch("lyapunov push")
        advance(step, inputs[:, 0], state_NS)  # a step that does not fit is refused here
        twice = count < size and can_push(step, inputs[:, 0], state_NS, generator)
        q_NSM = torch.eye(size, count, dtype=torch.float64).repeat(len(inputs), 1, 1)
        if count < size:
            # Unit vectors may be blind to the directions that grow; random ones are not.
            q_NSM = torch.linalg.qr(torch.randn(q_NSM.shape, generator=generator).double())[0]
        total_NM = torch.zeros(len(inputs), count, dtype=torch.float64)
        for j in range(length):
            x = inputs[:, j]
            after_NS = advance(step, x, state_NS)
            moved_NSM = (
                push(step, x, state_NS, q_NSM) if twice else jacobian(step, x, state_NS) @ q_NSM
            )
            state_NS = after_NS
            q_NSM, r_NMM = torch.linalg.qr(moved_NSM)
            if j >= warmup:
                total_NM += r_NMM.diagonal(dim1=-2, dim2=-1).abs().log()
    mean_NM = (total_NM / (length - warmup)).numpy()
    mean_NM = mean_NM[:, np.argsort(-mean_NM.mean(0), kind="stable")]
    return _result(mean_NM, length - warmup, size, options)


def _result(
    mean_NM: np.ndarray, steps: int, size: int, options: LyapunovOptions
) -> LyapunovSpectrum:
    num = len(mean_NM)
    rng = Seeds(options.seed).numpy("lyapunov bootstrap")
    bootstrap = Bootstrap((1, num), options.resamples, rng)
    mean_M = mean_NM.mean(0)
    low_M, high_M = mean_M.copy(), mean_M.copy()
    for i in np.flatnonzero(np.isfinite(mean_M)):
        low_M[i], high_M[i] = interval(bootstrap.means(mean_NM[None, :, i]), options.ci)
    sure = num >= MIN_SEQUENCES
    horizon = _horizon(mean_M[0])
    low, high = (_horizon(low_M[0]), _horizon(high_M[0])) if sure else (None, None)
    said = []
    if horizon is None:
        said.append("no horizon: differences of the state do not die out")
    elif horizon > steps:
        said.append(f"the horizon of {horizon:.0f} tokens is beyond the {steps} steps measured")
    if not sure:
        said.append(f"no interval: {num} sequences, at least {MIN_SEQUENCES} are needed")
    return LyapunovSpectrum(
        value=_within(horizon, steps),
        low=_within(low, steps),
        high=_within(high, steps),
        censored=_within(horizon, steps) is None,
        curve=curve_of(
            range(1, len(mean_M) + 1),
            mean_M,
            low_M,
            high_M,
            mean_NM[None],
            axis="exponent",
            unit="1 / token",
        ),
        exponents=tuple(map(float, mean_M)),
        exponents_low=tuple(map(float, low_M)) if sure else None,
        exponents_high=tuple(map(float, high_M)) if sure else None,
        horizon=horizon,
        horizon_low=low,
        horizon_high=high,
        steps=steps,
        state_size=size,
        num_sequences=num,
        warnings=tuple(said),
    )


def _horizon(exponent: float) -> float | None:
    """-1 / exponent; 0 where differences vanish at once."""
    return float(-1 / exponent) if exponent < 0 else None


def _within(horizon: float | None, steps: int) -> int | None:
    if horizon is None or horizon > steps:
        return None
    return max(1, int(np.ceil(horizon - 1e-9)))
