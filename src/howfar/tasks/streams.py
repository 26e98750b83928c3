"""Random words by counter: item i has the same words on every machine, in every shard, for ever.

Idea     Philox 4x64 with 10 rounds, keyed by what the items belong to; item i owns the counters
         (., i, 0, 0), as many as it asks for. numpy's own Philox gives the same words, and a test
         holds the two equal; here many items are drawn at once, in place of one object an item
Shapes   indices (B,) -> words (B, n)
Bounded  32 upper bits times the bound, shifted by 32: no value is off by more than 2**-32
Source   Salmon, Moraes, Dror & Shaw 2011, https://doi.org/10.1145/2063384.2063405
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Words = NDArray[np.uint64]
Integers = NDArray[np.int64]

ROUNDS = 10
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
MASK = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
CELLS = 1 << 14  # blocks worked on at once: what is in use fits the second-level cache


class Draws:
    """Words of items, taken from the left: what is taken first does not depend on what follows.

    Args:
        purpose: what the items belong to, such as "recall/1/0/train".
        indices: (B,) item numbers, 0 or more.
    """

    def __init__(self, purpose: str, indices: Sequence[int] | Integers) -> None:
        digest = hashlib.sha256(purpose.encode()).digest()
        self._key = (int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little"))
        self._items_B = np.asarray(indices, dtype=np.uint64).reshape(-1)
        self._spare_BW: Words = np.empty((len(self._items_B), 0), dtype=np.uint64)
        self._block = 0

    def __len__(self) -> int:
        return len(self._items_B)

    def words(self, count: int) -> Words:
        """The next `count` words of every item: (B, count)."""
        missing = count - self._spare_BW.shape[1]
        if missing > 0:
            blocks = -(-missing // 4)
            more_BW = _philox(self._key, self._items_B, self._block, blocks)
            self._block += blocks
            self._spare_BW = np.concatenate([self._spare_BW, more_BW], axis=1)
        taken, self._spare_BW = self._spare_BW[:, :count], self._spare_BW[:, count:]
        return taken

    def below(self, bound: ArrayLike, count: int) -> Integers:
        """Whole numbers from 0 to bound - 1: (B, count). bound: 1 .. 2**32, one or (B, 1)."""
        scaled = (self.words(count) >> HALF) * np.asarray(bound, dtype=np.uint64)
        return (scaled >> HALF).astype(np.int64)

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Numbers in [0, 1) with 53 bits: (B, count)."""
        return (self.words(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def orders(self, size: int) -> Integers:
        """Permutations of 0 .. size - 1: (B, size)."""
        return np.argsort(self.words(size), axis=1, kind="stable").astype(np.int64)

    def chosen(self, size: int, count: int) -> Integers:
        """`count` different numbers of 0 .. size - 1, in random order: (B, count)."""
        return self.orders(size)[:, :count]


def _philox(key: tuple[int, int], items_B: Words, first: int, blocks: int) -> Words:
    """(B, 4 * blocks) words of the blocks `first` .. of every item."""
    out_BK4 = np.empty((len(items_B), blocks, 4), dtype=np.uint64)
    rows = max(1, CELLS // max(blocks, 1))
    counters_K = np.arange(first + 1, first + blocks + 1, dtype=np.uint64)  # numpy steps first
    for start in range(0, len(items_B), rows):
        items_R1 = items_B[start : start + rows, None]
        c0 = np.broadcast_to(counters_K, (len(items_R1), blocks))
        c1 = np.broadcast_to(items_R1, (len(items_R1), blocks))
        zero = np.zeros((len(items_R1), blocks), dtype=np.uint64)
        out_BK4[start : start + rows] = np.stack(_rounds(key, (c0, c1, zero, zero)), axis=-1)
    return out_BK4.reshape(len(items_B), 4 * blocks)


def _rounds(
    key: tuple[int, int], counters: tuple[Words, Words, Words, Words]
) -> tuple[Words, Words, Words, Words]:
    c0, c1, c2, c3 = counters
    for number in range(ROUNDS):
        k0, k1 = (np.uint64((k + number * w) % 2**64) for k, w in zip(key, WEYL, strict=True))
        high0, low0 = _product(MULTIPLIERS[0], c0)
        high1, low1 = _product(MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
    return c0, c1, c2, c3


def _product(constant: int, x: Words) -> tuple[Words, Words]:
    """Upper and lower 64 bits of constant * x, out of products of halves."""
    a1, a0 = np.uint64(constant >> 32), np.uint64(constant & 0xFFFFFFFF)
    x1, x0 = x >> HALF, x & MASK
    p01, p10 = a0 * x1, a1 * x0
    carry = ((a0 * x0) >> HALF) + (p01 & MASK) + (p10 & MASK)
    return a1 * x1 + (p01 >> HALF) + (p10 >> HALF) + (carry >> HALF), np.uint64(constant) * x
