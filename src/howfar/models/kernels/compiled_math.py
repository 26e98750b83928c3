"""exp, sigmoid and tanh of a compiled kernel: in float32 they vectorise, in float64 they are exact.

Idea     exp(x) = 2^n exp(r) with n the nearest whole number to x / log 2 and a polynomial for the
         rest; sigmoid(x) = 1 / (1 + exp(-x)); tanh(x) is an odd polynomial up to 0.625 and
         1 - 2 / (1 + exp(2x)) beyond. No branch, no table, no call: the compiler makes them parts
         of a vector loop. The polynomials interpolate in Chebyshev's points
Shapes   one number in, one number out, of the same kind
Limits   float32: 3 units in the last place, NaN stays NaN, exp is held between exp(-87) and
         exp(88), as large as float32 goes; float64: the system's functions, not vectorised
Source   Cody & Waite 1980, Software manual for the elementary functions, chapters 6 and 13
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

LOWEST, HIGHEST = np.float32(-87.0), np.float32(88.0)
PER_LOG_2 = np.float32(1 / math.log(2))
# log 2 in two parts: the first has few digits, so that n times it is exact
LOG_2_HIGH, LOG_2_LOW = np.float32(0.693359375), np.float32(math.log(2) - 0.693359375)
# added to a small number it leaves the nearest whole number in the last bits
ROUND = np.float32(1.5 * 2**23)
# from the bits of n + ROUND to the exponent of 2^n
EXPONENT = np.int32(127 - int(ROUND.view(np.int32)))
MANTISSA = np.int32(23)
E2, E3, E4, E5, E6 = (
    np.float32(x) for x in (0.5, 0.16666576266, 0.041666556150, 0.0083631789312, 0.0013926184038)
)
T3, T5, T7, T9, T11 = (
    np.float32(x)
    for x in (-0.33333328366, 0.13332769275, -0.053850907832, 0.020997179672, -0.0060967141762)
)
OPTIONS: Any = {"fastmath": {"contract"}, "error_model": "numpy"}
ZERO, ONE, TWO, SWITCH = (np.float32(x) for x in (0, 1, 2, 0.625))


def exp(x: Any) -> Any:  # noqa: ANN401
    """The exponential function."""
    return math.exp(x)


def sigmoid(x: Any) -> Any:  # noqa: ANN401
    """1 / (1 + exp(-x))."""
    return 1 / (1 + math.exp(-x))


def tanh(x: Any) -> Any:  # noqa: ANN401
    """The hyperbolic tangent."""
    return math.tanh(x)


@overload(exp, strict=False, jit_options=OPTIONS)
def _exp(x: types.Type) -> Callable[..., object]:
    if x != types.float32:
        return lambda x: math.exp(x)

    def exp32(x: np.float32) -> np.float32:
        x = LOWEST if x < LOWEST else x
        x = HIGHEST if x > HIGHEST else x
        shifted = x * PER_LOG_2 + ROUND
        n = shifted - ROUND
        r = (x - n * LOG_2_HIGH) - n * LOG_2_LOW
        rest = ONE + (r + r * r * (E2 + r * (E3 + r * (E4 + r * (E5 + r * E6)))))
        power = np.int32(np.int32(np.float32(shifted).view(np.int32) + EXPONENT) << MANTISSA)
        return rest * np.int32(power).view(np.float32)

    return exp32


@overload(sigmoid, strict=False, jit_options=OPTIONS)
def _sigmoid(x: types.Type) -> Callable[..., object]:
    if x != types.float32:
        return lambda x: 1 / (1 + math.exp(-x))

    def sigmoid32(x: np.float32) -> np.float32:
        small = ONE / (ONE + exp(-x))
        return ZERO if x < -HIGHEST else small  # exp is held: without this 6e-39 would be left

    return sigmoid32


@overload(tanh, strict=False, jit_options=OPTIONS)
def _tanh(x: types.Type) -> Callable[..., object]:
    if x != types.float32:
        return lambda x: math.tanh(x)

    def tanh32(x: np.float32) -> np.float32:
        s = x * x
        near = x + x * s * (T3 + s * (T5 + s * (T7 + s * (T9 + s * T11))))
        size = abs(x)
        far = ONE - TWO / (ONE + exp(TWO * size))
        far = -far if x < 0 else far
        return near if size < SWITCH else far

    return tanh32
