"""Simple predictors that stand beside every score: the commonest label, TF-IDF, an n-gram model.

Idea     a sequence model that does not beat these has not used what it was given
n-gram   p_n(w|c) = (count(c,w) + T(c) p_{n-1}(w|c')) / (count(c) + T(c)), T(c) the different
         words seen after c, c' the context without its first word, p_0 = 1/V
Source   Witten & Bell 1991, doi:10.1109/18.87000, method C; interpolated as in Chen & Goodman
         1999, doi:10.1006/csla.1999.0128, section 2.5
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from howfar.core.errors import DataError

Labels = Sequence[int] | Sequence[str] | NDArray[Any]
Ids = Sequence[int] | NDArray[np.integer[Any]]

MAX_ORDER = 6
MAX_FEATURES = 300_000  # the commonest; more cost memory and change little
MAX_WEIGHTS = 5_000_000  # features times labels; the solver keeps about 25 copies
ITERATIONS = 200
# Scripts written without spaces: Thai, Lao, Tibetan, Myanmar, Khmer, kana, Han.
UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\U00020000-\U0003ffff]"
)


@dataclass(frozen=True, slots=True)
class Guess:
    """One label a test item, and what the reader should know about how they were found."""

    labels: NDArray[Any]
    note: str | None = None


def majority(train_labels: Labels, test_labels: Labels) -> Guess:
    """The commonest training label for every test item; of equals, the first in sorted order.

    Raises:
        DataError: E-EMPTY, without training labels.
    """
    if len(train_labels) == 0:
        raise DataError("E-EMPTY", "There are no training labels.")
    label_C, count_C = np.unique(np.asarray(train_labels), return_counts=True)
    return Guess(np.repeat(label_C[count_C.argmax()], len(test_labels)))


def tfidf(train_texts: Sequence[str], train_labels: Labels, test_texts: Sequence[str]) -> Guess:
    """TF-IDF of words and word pairs with logistic regression; the same input, the same answer.

    Texts in a script without spaces are cut into characters and character pairs instead. Where
    nothing can be learned (one label, no word), the commonest label is returned with a note.

    Raises:
        DataError: E-EMPTY, without training texts.
    """
    # Half of the start-up time, and texts and tasks do not need it.
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    fallback = majority(train_labels, test_texts).labels
    num_labels = len(np.unique(np.asarray(train_labels)))
    if num_labels < 2:
        return Guess(fallback, "One label only: the commonest label instead of TF-IDF.")
    unspaced = _is_unspaced(train_texts)
    vectors = TfidfVectorizer(
        analyzer="char" if unspaced else "word",
        token_pattern=r"(?u)\b\w+\b",
        ngram_range=(1, 2),
        sublinear_tf=True,
        max_features=max(1, min(MAX_FEATURES, MAX_WEIGHTS // num_labels)),
        dtype=np.float64,
    )
    try:
        with warnings.catch_warnings():
            # With `analyzer="char"` the pattern is not used, which is what is meant.
            warnings.simplefilter("ignore", UserWarning)
            x_NF = vectors.fit_transform(train_texts)
    except ValueError:  # the vocabulary is empty
        return Guess(fallback, "No word in the training texts: the commonest label instead.")
    model = LogisticRegression(C=10.0, max_iter=ITERATIONS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(x_NF, np.asarray(train_labels))
    notes = ["Characters and character pairs: words are not separated."] if unspaced else []
    if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
        notes.append(f"Stopped after {ITERATIONS} iterations.")
    if len(test_texts) == 0:
        return Guess(fallback, " ".join(notes) or None)
    labels: NDArray[Any] = model.predict(vectors.transform(test_texts))
    return Guess(labels, " ".join(notes) or None)


def _is_unspaced(texts: Sequence[str]) -> bool:
    """Whether more than half of the letters of the first texts stand in an unspaced script."""
    sample = " ".join(texts[:2000])
    letters = sum(character.isalpha() for character in sample)
    return 2 * len(UNSPACED.findall(sample)) > letters


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
        return self._nats_by_order(ids, positions)[-1]

    def _nats_by_order(self, ids: Ids, positions: Ids) -> list[NDArray[np.float64]]:
        """(P,) nats with n-grams of up to 1, 2, ... ids."""
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
    means = [float(nats_P.mean()) for nats_P in model._nats_by_order(validation, every)]
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
