"""Memory capacity: how much of the past of its input a stream of states still holds.

Idea      MC_k = the squared correlation of u_{t-k} with the best linear readout of the state x_t,
          fitted on the first part of the stream and scored on the rest; MC = sum_k MC_k.
          For an independent input MC is at most D, the number of state variables, whatever made the
          states; n cells of a delay line have exactly n; a generic linear reservoir has D
Noise     on m held-out positions a lag of which nothing is held shows about 1 / m. What stays
          under a threshold that chance passes once in 100,000 lags counts as nothing
Bound     in the sample the sum is at most D; held out it may pass D by what m positions leave open
Source    Jaeger 2001, https://www.ai.rug.nl/minds/uploads/STMEchoStatesTechRep.pdf; the threshold:
          Dambre, Verstraeten, Schrauwen & Massar 2012, https://doi.org/10.1038/srep00514
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from howfar.core.errors import DataError, UsageError

Reals = NDArray[np.float64]

PASSED = 19.5114  # chi squared, one degree of freedom: passed with probability 1e-5


@dataclass(frozen=True, slots=True)
class Capacity:
    """What was measured.

    Attributes:
        lags: k = 0 .. longest, positions back.
        each: MC_k in 0 .. 1, one a lag; 0 where it cannot be told from chance.
        states: D, the most that the sum can be.
        held_out: positions it was scored on.
    """

    lags: tuple[int, ...]
    each: tuple[float, ...]
    states: int
    held_out: int

    @property
    def total(self) -> float:
        """MC, in numbers remembered."""
        return math.fsum(self.each)


def memory_capacity(
    states: Reals, inputs: Reals, *, longest: int, held_out: float = 0.5
) -> Capacity:
    """Measure the memory capacity of states driven by an independent input.

    Args:
        states: (T, D), x_t after it has read u_t; start-up transients left out by the caller.
        inputs: (T,), u_t, independent and of one law.
        longest: the largest lag asked, at least 0; take it beyond where MC_k has died away.
        held_out: share of the positions, the last ones, that the readout is scored on.

    Raises:
        UsageError: E-OPTION where an argument is out of its range, E-SHAPE where they do not fit.
        DataError: E-TOO-SHORT where fewer positions are left to fit than states + 2, or to score
            than 10; E-SHAPE for values that are not finite or an input that never changes.
    """
    x_TD, u_T = np.asarray(states, dtype=np.float64), np.asarray(inputs, dtype=np.float64)
    _check_options(longest, held_out)
    _check_shapes(x_TD, u_T)
    positions = len(u_T) - longest
    scored = int(held_out * positions)
    fitted = positions - scored
    if scored < 10 or fitted < x_TD.shape[1] + 2:
        message = (
            f"{len(u_T)} positions are too few for {x_TD.shape[1]} states and a lag of {longest}: "
            f"{max(fitted, 0)} would be left to fit and {max(scored, 0)} to score."
        )
        raise DataError("E-TOO-SHORT", message, "a longer stream, or a smaller longest lag")
    past_TK = np.lib.stride_tricks.sliding_window_view(u_T, longest + 1)[:, ::-1]
    x_TD = x_TD[longest:]
    inner_D, inner_K = x_TD[:fitted].mean(0), past_TK[:fitted].mean(0)
    readout_DK = np.linalg.lstsq(x_TD[:fitted] - inner_D, past_TK[:fitted] - inner_K)[0]
    squared_K = _correlation((x_TD[fitted:] - inner_D) @ readout_DK, past_TK[fitted:]) ** 2
    squared_K[squared_K * scored < PASSED] = 0.0
    each = tuple(float(value) for value in squared_K)
    return Capacity(tuple(range(longest + 1)), each, x_TD.shape[1], scored)


def _correlation(a_TK: Reals, b_TK: Reals) -> Reals:
    """Of column with column, 0 where one of them is constant: (K,)."""
    a_TK, b_TK = a_TK - a_TK.mean(0), b_TK - b_TK.mean(0)
    size_K = np.sqrt((a_TK**2).sum(0) * (b_TK**2).sum(0))
    shared_K = (a_TK * b_TK).sum(0)
    return np.asarray(np.divide(shared_K, size_K, out=np.zeros_like(size_K), where=size_K > 0))


def _check_options(longest: int, held_out: float) -> None:
    if longest < 0:
        raise UsageError("E-OPTION", f"longest={longest} is out of range.", "0 or more")
    if not 0 < held_out < 1:
        raise UsageError("E-OPTION", f"held_out={held_out} is out of range.", "such as 0.5")


def _check_shapes(x_TD: Reals, u_T: Reals) -> None:
    if x_TD.ndim != 2 or u_T.ndim != 1 or len(x_TD) != len(u_T) or not x_TD.shape[1]:
        message = f"States (T, D) and inputs (T,) are needed, got {x_TD.shape} and {u_T.shape}."
        raise UsageError("E-SHAPE", message, "one row of states a position")
    if not (np.isfinite(x_TD).all() and np.isfinite(u_T).all()):
        raise DataError("E-SHAPE", "States or inputs are not finite.", "look for a state that grew")
    if len(u_T) and u_T.min() == u_T.max():
        message = "The input never changes, so nothing about its past can be told."
        raise DataError("E-SHAPE", message, "an independent random input")
