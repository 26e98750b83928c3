"""A random order of any many things, place by place: nothing is drawn or held but a key.

Idea     numbers below side**2 are pairs (l, r) of numbers below side = ceil(sqrt(count)); a round
         of a Feistel network, (l, r) -> (r, l + f(r) mod side), is a permutation of them whatever
         f is; who lands outside of `count`, few, is sent through again until inside
Source   Luby & Rackoff 1988, https://doi.org/10.1137/0217022; any count and walking on: Black &
         Rogaway 2002, https://doi.org/10.1007/3-540-45760-7_9; f is SplitMix64 of Steele, Lea &
         Flood 2014, https://doi.org/10.1145/2714064.2660195, figure 17
"""

import math

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.uint64]
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_ROUNDS = 6


def permuted(indices: npt.NDArray[np.int64], count: int, key: int) -> npt.NDArray[np.int64]:
    """Where each index below `count` stands in the order of `key`, which is below 2**63."""
    side = np.uint64(math.isqrt(count - 1) + 1)
    keys = hashed(np.uint64(key) + np.arange(_ROUNDS, dtype=np.uint64))
    found = _mixed(indices.astype(np.uint64), side, keys)
    while (outside := found >= count).any():
        found[outside] = _mixed(found[outside], side, keys)
    return found.astype(np.int64)


def _mixed(numbers: Numbers, side: np.uint64, keys: Numbers) -> Numbers:
    left, right = numbers // side, numbers % side
    for key in keys:
        left, right = right, (left + hashed(right ^ key) % side) % side
    mixed: Numbers = left * side + right
    return mixed


def hashed(numbers: Numbers) -> Numbers:
    """Each number's SplitMix64: what that generator gives first from this state."""
    # Arithmetic of arrays is modulo 2**64, as it should be, and says nothing.
    z = numbers + _GAMMA
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Numbers = z ^ (z >> np.uint64(31))
    return mixed


def uniform(numbers: Numbers) -> npt.NDArray[np.float64]:
    """Reals in [0, 1) from the upper 53 bits."""
    found: npt.NDArray[np.float64] = (numbers >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return found
