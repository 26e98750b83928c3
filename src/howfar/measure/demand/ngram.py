"""An interpolated n-gram model over ids: the simplest predictor that looks back at all.

Idea     p_n(w|c) = (count(c,w) + T(c) p_{n-1}(w|c')) / (count(c) + T(c)), T(c) the different
         words seen after c, c' the context without its first word, p_0 = 1/V
Source   Witten & Bell 1991, doi:10.1109/18.87000, method C; interpolated as in Chen & Goodman
         1999, doi:10.1006/csla.1999.0128, section 2.5
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from howfar.core.errors import DataError

Ids = Sequence[int] | NDArray[np.integer[Any]]

MAX_ORDER = 6


@dataclass(frozen=True, slots=True)
class _Table:
    """The n-grams of one order. An n-gram is its context's number times V plus its last id."""

    keys: NDArray[np.int64]  # (G,) sorted; the place of an n-gram here is its number
    counts: NDArray[np.int64]  # (G,)
    totals: NDArray[np.int64]  # (C,) count(c), by the context's number
    types: NDArray[np.int64]  # (C,) T(c)


class NGram:
    """Interpolated n-gram model over integer ids; `order` 1 looks at no context.

    Every n-gram is known by a number below the length of the training text, so the context of
    the next longer one is one integer and no order overflows.

    Args:
        order: ids of the longest n-gram, at least 1.
        vocabulary: V; ids are 0 .. V - 1.

    Raises:
        ValueError: for an order or a vocabulary below 1.
    """

    def __init__(self, order: int, vocabulary: int) -> None:
        if order < 1 or vocabulary < 1:
            raise ValueError(f"Order {order} and vocabulary {vocabulary} must be 1 or more.")
        self.order = order
        self.vocabulary = vocabulary
        self._tables: list[_Table] = []

    def fit(self, ids: Ids) -> "NGram":
        """Count the n-grams of one text.

        Raises:
            DataError: E-EMPTY without ids, E-ID for an id outside 0 .. V - 1.
        """
        id_N = self._checked(ids)
        if len(id_N) == 0:
            raise DataError("E-EMPTY", "There is no text to count.")
        self._tables = []
        context_N, contexts = np.zeros(len(id_N), dtype=np.int64), 1
        for n in range(1, min(self.order, len(id_N)) + 1):
            # The n-gram that ends at id i, for i from n - 1 on.
            key_G, number_M, count_G = np.unique(
                context_N * self.vocabulary + id_N[n - 1 :],
                return_inverse=True,
                return_counts=True,
            )
            context_G = key_G // self.vocabulary
            total_C = np.bincount(context_G, count_G, contexts).astype(np.int64)
            types_C = np.bincount(context_G, minlength=contexts).astype(np.int64)
            self._tables.append(_Table(key_G, count_G.astype(np.int64), total_C, types_C))
            context_N, contexts = number_M[:-1].astype(np.int64), len(key_G)
        return self

    def nats(self, ids: Ids, positions: Ids) -> NDArray[np.float64]:
        """-log p of the id at each position, given what stands before it in `ids`.

        Raises:
            DataError: E-ID for an id outside 0 .. V - 1.
            IndexError: for a position outside the text.
        """
        return self.nats_by_order(ids, positions)[-1]

    def nats_by_order(self, ids: Ids, positions: Ids) -> list[NDArray[np.float64]]:
        """(P,) nats with n-grams of up to 1, 2, ... ids, each order of the model in turn."""
        id_N, position_P = self._checked(ids), np.asarray(positions, dtype=np.int64)
        if np.any((position_P < 0) | (position_P >= len(id_N))):
            raise IndexError("A position lies outside the text.")
        p_P = np.full(len(position_P), 1.0 / self.vocabulary)
        # The number of the (n - 1)-gram that ends just before each id; -1: never seen.
        context_N = np.zeros(len(id_N), dtype=np.int64)
        nats = []
        for table in self._tables:
            gram_N, count_N = _look_up(table, context_N, id_N, self.vocabulary)
            c_P = context_N[position_P]
            total_P = np.where(c_P < 0, 0, table.totals[c_P])
            types_P = np.where(c_P < 0, 0, table.types[c_P])
            seen_P = total_P > 0
            mixed_P = (count_N[position_P] + types_P * p_P) / np.maximum(total_P + types_P, 1)
            p_P = np.where(seen_P, mixed_P, p_P)
            nats.append(-np.log(p_P))
            context_N = np.concatenate(([-1], gram_N[:-1]))
        return nats

    def _checked(self, ids: Ids) -> NDArray[np.int64]:
        id_N = np.asarray(ids, dtype=np.int64)
        if len(id_N) and not (id_N.min() >= 0 and id_N.max() < self.vocabulary):
            raise DataError("E-ID", f"An id lies outside 0 .. {self.vocabulary - 1}.")
        return id_N


def best_ngram(train: Ids, validation: Ids, vocabulary: int) -> NGram:
    """The model of order 1 to 6 with the least nats an id on `validation`; of equals, the lower.

    Raises:
        DataError: E-EMPTY, where either text is empty.
    """
    if len(validation) == 0:
        raise DataError("E-EMPTY", "There is no validation text to choose the order on.")
    model = NGram(MAX_ORDER, vocabulary).fit(train)
    every = np.arange(len(validation))
    means = [float(nats_P.mean()) for nats_P in model.nats_by_order(validation, every)]
    best = NGram(int(np.argmin(means)) + 1, vocabulary)
    best._tables = model._tables[: best.order]
    return best


def _look_up(
    table: _Table, context_N: NDArray[np.int64], id_N: NDArray[np.int64], vocabulary: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number and count of the n-gram that ends at each id; -1 and 0 where it was never seen."""
    key_N = context_N * vocabulary + id_N
    place_N = np.minimum(np.searchsorted(table.keys, key_N), len(table.keys) - 1)
    found_N = table.keys[place_N] == key_N  # an unseen context gives a key below 0, never found
    return np.where(found_N, place_N, -1), np.where(found_N, table.counts[place_N], 0)
