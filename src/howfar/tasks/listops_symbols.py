"""Symbols for the trees of ListOps: where each stands, which it is, and what the tree is worth.

Idea      every place of an expression owns 32 random bits: the two uppermost name an operator, all
          of them a digit. Levels of all items are worked on at once
Balanced  values are drawn downwards: given the value of a node with k children, each of the 10**k
          rows of children that give this value is equally likely. A row is drawn as its digits in
          order (by the bits of the node's closing bracket), which are then shuffled (by the lower
          30 bits of the children)
Shapes    T tokens of all items, one after another; N operators and C children of one level
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from math import factorial
from typing import NamedTuple

import numpy as np

from howfar.tasks.listops_trees import Level
from howfar.tasks.listops_values import CLOSE, MIN
from howfar.tasks.streams import HALF, Integers, Words

MOST_CHILDREN = 10
_RANK = np.uint64(30)  # bits that draw a row of children: times 10**10 they fit a word
_FOURTH = _RANK  # of 32 bits the two uppermost remain
_LOWER = np.uint64((1 << 30) - 1)


@dataclass(frozen=True, slots=True)
class Layout:
    """Trees laid out as one row of tokens.

    levels: of all items. first: by level, where each operator stands (N,). last: where its bracket
    closes (N,). children: where each child begins (C,). lengths: (B,) tokens an item.
    """

    levels: list[Level]
    first: list[Integers]
    last: list[Integers]
    children: list[Integers]
    lengths: Integers


def laid_out(levels: list[Level], num: int) -> Layout:
    """Place every node, parents before children, siblings one after another."""
    sizes: list[Integers] = []
    tokens: list[Integers] = []
    deeper_N = np.empty(0, dtype=np.int64)
    for level in reversed(levels):
        sizes_C = np.ones(len(level.inner), dtype=np.int64)
        sizes_C[level.inner] = deeper_N
        deeper_N = 2 + np.add.reduceat(sizes_C, level.starts_N)
        sizes.append(sizes_C)
        tokens.append(deeper_N)
    lengths_B = deeper_N if levels else np.zeros(num, dtype=np.int64)
    first, children = [np.cumsum(lengths_B) - lengths_B], []
    for level, sizes_C in zip(levels, reversed(sizes), strict=True):
        before_C = np.cumsum(sizes_C) - sizes_C
        start_N = first[-1] + 1 - before_C[level.starts_N]
        children.append(before_C + np.repeat(start_N, level.args))
        first.append(children[-1][level.inner])
    last = [at_N + size_N - 1 for at_N, size_N in zip(first, reversed(tokens), strict=False)]
    return Layout(levels, first[:-1], last, children, lengths_B)


def plain(layout: Layout, words_T: Words) -> Integers:
    """Every digit and every operator equally likely: (T,) ids."""
    tokens_T = 1 + _below_ten(words_T)
    _write_operators(layout, words_T, tokens_T)
    return tokens_T


def balanced(layout: Layout, words_T: Words, value_B: Integers) -> Integers:
    """Every value equally likely under every operator: (T,) ids. value_B: of the whole."""
    tokens_T = np.empty(len(words_T), dtype=np.int64)
    _write_operators(layout, words_T, tokens_T)
    value_N = value_B
    for number, level in enumerate(layout.levels):
        operator_N = tokens_T[layout.first[number]] - MIN
        rows = _rows_of_children()
        drawn_N = words_T[layout.last[number]] >> np.uint64(2)
        row_N = rows.drawn((operator_N, level.args, value_N), drawn_N)
        parent_C = np.repeat(np.arange(len(level.args)), level.args)
        value_C = np.empty(len(parent_C), dtype=np.int64)
        shuffle_C = words_T[layout.children[number]] & _LOWER
        value_C[np.lexsort((shuffle_C, parent_C))] = rows.digits[row_N[parent_C], level.place_C]
        tokens_T[layout.children[number][~level.inner]] = 1 + value_C[~level.inner]
        value_N = value_C[level.inner]
    return tokens_T


def values(layout: Layout, tokens_T: Integers) -> Integers:
    """What each expression is worth, level by level from the deepest: (B,)."""
    value_N = np.empty(0, dtype=np.int64)
    for number in reversed(range(len(layout.levels))):
        level = layout.levels[number]
        value_C = tokens_T[layout.children[number]] - 1
        value_C[level.inner] = value_N
        ways_4N = _applied(value_C, level.args)
        operator_N = tokens_T[layout.first[number]] - MIN
        value_N = ways_4N[operator_N, np.arange(len(operator_N))]
    return value_N


def _below_ten(words: Words) -> Integers:
    return ((words * np.uint64(10)) >> HALF).astype(np.int64)


def _write_operators(layout: Layout, words_T: Words, tokens_T: Integers) -> None:
    for first_N, last_N in zip(layout.first, layout.last, strict=True):
        tokens_T[first_N] = MIN + (words_T[first_N] >> _FOURTH).astype(np.int64)
        tokens_T[last_N] = CLOSE


def _applied(value_C: Integers, args_N: Integers) -> Integers:
    """All four operators on rows of `args_N` values, one row after another: (4, N)."""
    starts_N = np.cumsum(args_N) - args_N
    row_C = np.repeat(np.arange(len(args_N)), args_N)
    ordered_C = value_C[np.lexsort((value_C, row_C))]
    low_N, high_N = starts_N + (args_N - 1) // 2, starts_N + args_N // 2
    med_N = (ordered_C[low_N] + ordered_C[high_N]) // 2
    sm_N = np.add.reduceat(value_C, starts_N) % 10
    return np.stack([ordered_C[starts_N], ordered_C[starts_N + args_N - 1], med_N, sm_N])


class _Rows(NamedTuple):
    """All rows of 2 .. 10 digits in order, grouped by operator, number of digits and value.

    digits: (R, 10), padded. upto: (R,) rows of children up to here, whatever their order.
    begin, weight: (4, K, 10), where a group begins in `upto`, and how much it holds.
    """

    digits: Integers
    upto: Integers
    begin: Integers
    weight: Integers

    def drawn(self, group: tuple[Integers, Integers, Integers], drawn_N: Words) -> Integers:
        """One row of each group: (N,). drawn_N: 30 random bits."""
        scaled_N = (drawn_N * self.weight[group].astype(np.uint64)) >> _RANK
        rank_N = self.begin[group] + scaled_N.astype(np.int64)
        return np.searchsorted(self.upto, rank_N, side="right")


@lru_cache(maxsize=1)  # about 0.7 million rows of digits
def _rows_of_children() -> _Rows:
    digits, weights, groups = [], [], []
    for num in range(2, MOST_CHILDREN + 1):
        made_R = np.array(list(combinations_with_replacement(range(10), num)), dtype=np.int64)
        counts_RV = (made_R[:, :, None] == np.arange(10)).sum(1)
        factorials = np.array([factorial(n) for n in range(num + 1)])
        ways_R = factorials[num] // factorials[counts_RV].prod(1)
        results_4R = _applied(made_R.ravel(), np.full(len(made_R), num))
        padded_R10 = np.pad(made_R, ((0, 0), (0, MOST_CHILDREN - num)))
        for operator in range(4):
            digits.append(padded_R10)
            weights.append(ways_R)
            groups.append((operator * (MOST_CHILDREN + 1) + num) * 10 + results_4R[operator])
    group_R = np.concatenate(groups)
    order = np.argsort(group_R, kind="stable")
    upto_R = np.cumsum(np.concatenate(weights)[order])
    sums = np.zeros(4 * (MOST_CHILDREN + 1) * 10, dtype=np.int64)
    np.add.at(sums, group_R, np.concatenate(weights))
    weight_OKV = sums.reshape(4, MOST_CHILDREN + 1, 10)
    begin_OKV = (np.cumsum(sums) - sums).reshape(weight_OKV.shape)
    return _Rows(np.concatenate(digits)[order], upto_R, begin_OKV, weight_OKV)
