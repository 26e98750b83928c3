"""The law of random ListOps expressions: how long they are, and what they are worth.

Idea      generating functions: G(v, n) = P(value v and n tokens) of a node, from the deepest level
          upwards. Children add their tokens, so that the law of k children is a product of
          polynomials in n, worked out at the points of a Fourier transform on a circle of radius
          below 1: what wraps around from greater n is then smaller by 1e-9
Shapes    G (10, n); at the points of the transform (10, S)
Exact     up to about 1e-9; used for what is said about a task, never for its tokens
Source    Flajolet & Sedgewick 2009, Analytic Combinatorics, part A
"""

from functools import lru_cache
from math import comb

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Points = NDArray[np.complex128]


@lru_cache(maxsize=16)  # every question about chance asks again
def values_by_length(depth: int, arguments: int, longest: int) -> Reals:
    """P(operator, value, n tokens) of an expression that is no lone digit: (4, 10, longest + 1).

    Args:
        depth: levels, that of the deepest digits included.
        arguments: children of an operator at most (at least 2).
        longest: tokens up to which the law is wanted.
    """
    size = 2 << int(longest).bit_length()
    radius_N = 1e-9 ** (np.arange(longest + 1) / size)
    node_VN = np.zeros((10, longest + 1))
    node_VN[:, 1] = 0.1
    rooted_OVN = np.zeros((4, 10, longest + 1))
    shift_S = np.fft.rfft(np.eye(1, 3, 2)[0] * radius_N[2], size)  # the operator and its bracket
    for _ in range(depth - 1):
        at_VS = np.fft.rfft(node_VN * radius_N, size)
        operators = [law(at_VS, arguments) for law in (_min, _max, _med, _sm)]
        share = 1 / (4 * (arguments - 1))
        for place, points_VS in enumerate(operators):
            law_VN = np.fft.irfft(points_VS * shift_S, size)[:, : longest + 1] / radius_N
            rooted_OVN[place] = np.clip(law_VN, 0, None) * share
        node_VN = 0.25 * rooted_OVN.sum(0)
        node_VN[:, 1] += 0.075
    rooted_OVN.setflags(write=False)
    return rooted_OVN


def _powers(at_VS: Points, arguments: int) -> Points:
    out_VS = at_VS * at_VS
    power_VS = out_VS.copy()
    for _ in range(arguments - 2):
        power_VS *= at_VS
        out_VS += power_VS
    return out_VS


def _tails(at_VS: Points) -> Points:
    """Weight of values >= v, for v = 0 .. 10: (11, S)."""
    return np.concatenate([np.cumsum(at_VS[::-1], axis=0)[::-1], np.zeros_like(at_VS[:1])])


def _min(at_VS: Points, arguments: int) -> Points:
    powers = _powers(_tails(at_VS), arguments)
    return powers[:-1] - powers[1:]


def _max(at_VS: Points, arguments: int) -> Points:
    return _min(at_VS[::-1], arguments)[::-1]


def _sm(at_VS: Points, arguments: int) -> Points:
    """Sums modulo 10: a product over the characters of the integers modulo 10."""
    return np.asarray(np.fft.ifft(_powers(np.fft.fft(at_VS, axis=0), arguments), axis=0))


def _med(at_VS: Points, arguments: int) -> Points:
    tail_VS = _tails(at_VS)
    half = arguments // 2
    equal = _raised(at_VS, arguments)
    less = _raised(tail_VS[0] - tail_VS, half)  # of values < v
    more = _raised(tail_VS, half)  # of values >= v
    out_VS = np.zeros_like(at_VS)
    for num in range(2, arguments + 1):
        middle = (num - 1) // 2  # as many at most may be below, and above
        for below in range(middle + 1):
            for above in range(middle + 1):
                ways = comb(num, below) * comb(num - below, above)
                out_VS += ways * less[below][:10] * more[above][1:] * equal[num - below - above]
    for num in range(1, half + 1):
        _add_pairs(out_VS, np.diff(less[num], axis=0), -np.diff(more[num], axis=0), num)
    return out_VS


def _raised(at_VS: Points, most: int) -> list[Points]:
    """Powers 0 .. most."""
    powers = [np.ones_like(at_VS)]
    for _ in range(most):
        powers.append(powers[-1] * at_VS)
    return powers


def _add_pairs(out_VS: Points, greatest_VS: Points, least_VS: Points, half: int) -> None:
    """Even numbers of children whose middle two differ: `half` up to `low`, `half` from `high`."""
    ways = comb(2 * half, half)
    for low in range(10):
        for high in range(low + 1, 10):
            out_VS[(low + high) // 2] += ways * greatest_VS[low] * least_VS[high]
