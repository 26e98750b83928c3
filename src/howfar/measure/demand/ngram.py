"""An interpolated n-gram model over ids: the simplest predictor that looks back at all.

Idea     p_n(w|c) = (count(c,w) + T(c) p_{n-1}(w|c')) / (count(c) + T(c)), T(c) the different
         words seen after c, c' the context without its first word, p_0 = 1/V
Source   Witten & Bell 1991, doi:10.1109/18.87000, method C; interpolated as in Chen & Goodman
         1999, doi:10.1006/csla.1999.0128, section 2.5
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from howfar.core.errors import DataError
from howfar.core.ngrams import Ids, checked, count, look_up

MAX_ORDER = 6


@dataclass(frozen=True, slots=True)
class _Table:
    """The n-grams of one order."""

    keys: NDArray[np.int64]  # (G,) as `howfar.core.ngrams` counts them
    counts: NDArray[np.int64]  # (G,)
    totals: NDArray[np.int64]  # (C,) count(c), by the context's number
    types: NDArray[np.int64]  # (C,) T(c)


class NGram:
    """Interpolated n-gram model over integer ids; `order` 1 looks at no context.

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
        id_N = checked(ids, self.vocabulary)
        if len(id_N) == 0:
            raise DataError("E-EMPTY", "There is no text to count.")
        self._tables = []
        for grams in count(id_N, self.order, self.vocabulary):
            context_G = grams.keys // self.vocabulary
            total_C = np.bincount(context_G, grams.counts, grams.contexts).astype(np.int64)
            types_C = np.bincount(context_G, minlength=grams.contexts).astype(np.int64)
            self._tables.append(_Table(grams.keys, grams.counts, total_C, types_C))
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
        id_N, position_P = checked(ids, self.vocabulary), np.asarray(positions, dtype=np.int64)
        if np.any((position_P < 0) | (position_P >= len(id_N))):
            raise IndexError("A position lies outside the text.")
        p_P = np.full(len(position_P), 1.0 / self.vocabulary)
        # The number of the (n - 1)-gram that ends just before each id; -1: never seen.
        context_N = np.zeros(len(id_N), dtype=np.int64)
        nats = []
        for table in self._tables:
            gram_N = look_up(table.keys, context_N, id_N, self.vocabulary)
            c_P = context_N[position_P]
            total_P = np.where(c_P < 0, 0, table.totals[c_P])
            types_P = np.where(c_P < 0, 0, table.types[c_P])
            seen_P = total_P > 0
            count_P = np.where(gram_N < 0, 0, table.counts[gram_N])[position_P]
            mixed_P = (count_P + types_P * p_P) / np.maximum(total_P + types_P, 1)
            p_P = np.where(seen_P, mixed_P, p_P)
            nats.append(-np.log(p_P))
            context_N = np.concatenate(([-1], gram_N[:-1]))
        return nats


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
