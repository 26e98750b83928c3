"""Modified Kneser-Ney n-grams: the predictor that must be beaten by whatever claims to look far.

Idea     p(w|c) = (a(c,w) - D(a)) / a(c) + g(c) p'(w|c'), c' the context without its first token,
         g(c) what the discounts took. a counts how often (c,w) stands there for the longest
         n-grams, and after how many different tokens for all shorter ones; before the first token
         of the text stands a token of its own. Below one token p is uniform. D is one number for
         a = 1, 2 and 3 or more, from how many n-grams occur once, twice, three and four times
Order    that of least loss on the validation text, 1 to `MAX_ORDER`
Source   Chen & Goodman 1999, https://doi.org/10.1006/csla.1999.0128, sections 2.7 and 3
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from howfar.core.errors import DataError
from howfar.core.ngrams import Grams, Ids, Whole, checked, count, look_up

Reals: TypeAlias = npt.NDArray[np.float64]

MAX_ORDER = 8
USUAL_DISCOUNT = 0.75  # where the text is too small to say


@dataclass(frozen=True, slots=True)
class _Counts:
    """a of the n-grams of one order, and its sums by context; G n-grams, C contexts."""

    share: Reals  # (G,) max(a - D(a), 0) / a(c)
    left: Reals  # (C,) g(c); nan where the context never occurs


@dataclass(frozen=True, slots=True)
class _Order:
    """The n-grams of one order."""

    keys: Whole  # (G,) as `howfar.core.ngrams` counts them
    longest: _Counts  # a is how often it occurs
    inner: _Counts  # a is after how many different tokens


class KneserNey:
    """Interpolated n-grams of up to `order` ids; order 1 looks at no context.

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
        self._orders: list[_Order] = []

    def fit(self, ids: Ids) -> "KneserNey":
        """Count the n-grams of one text.

        Raises:
            DataError: E-EMPTY without ids, E-ID for an id outside 0 .. V - 1.
        """
        id_N = checked(ids, self.vocabulary)
        if len(id_N) == 0:
            raise DataError("E-EMPTY", "There is no text to count.")
        found = list(count(id_N, self.order + 1, self.vocabulary))
        self._orders = []
        for n, grams in enumerate(found[: self.order]):
            before_G = np.zeros(len(grams.keys), dtype=np.int64)
            before_G[grams.numbers[0]] = 1  # the text begins with it
            if n + 1 < len(found):
                before_G += _different_before(found[n + 1], grams)
            context_G = grams.keys // self.vocabulary
            self._orders.append(
                _Order(
                    grams.keys,
                    _discounted(grams.counts, context_G, grams.contexts),
                    _discounted(before_G, context_G, grams.contexts),
                )
            )
        return self

    def nats_by_order(self, ids: Ids) -> list[Reals]:
        """(N,) -log p of every id given those before it, for each order of the model in turn.

        Raises:
            DataError: E-ID for an id outside 0 .. V - 1.
        """
        id_N = checked(ids, self.vocabulary)
        inner_N = np.full(len(id_N), 1.0 / self.vocabulary)
        # The number of the (n - 1)-gram that ends just before each id; -1: never seen.
        context_N = np.zeros(len(id_N), dtype=np.int64)
        nats = []
        for order in self._orders:
            number_N = look_up(order.keys, context_N, id_N, self.vocabulary)
            longest_N = _mixed(order.longest, context_N, number_N, inner_N)
            inner_N = _mixed(order.inner, context_N, number_N, inner_N)
            nats.append(-np.log(longest_N))
            context_N = np.concatenate(([-1], number_N[:-1]))[: len(id_N)]
        return nats

    def nats(self, ids: Ids) -> Reals:
        """(N,) -log p of every id given those before it."""
        return self.nats_by_order(ids)[-1]


@dataclass(frozen=True, slots=True)
class NGramBits:
    """What an n-gram model makes of a test text. order: chosen on the validation text."""

    nats: Reals  # (test ids,)
    order: int
    validation_nats: tuple[float, ...]  # mean of an id, for orders 1, 2, ...


def bits(train_ids: Ids, validation_ids: Ids, test_ids: Ids, vocabulary: int) -> NGramBits:
    """Nats of every test id, in the order that is best on the validation text.

    Every id is predicted from as many ids before it in its own part as the order takes.

    Args:
        train_ids: counted.
        validation_ids: choose the order; of equals, the lower.
        test_ids: scored.
        vocabulary: V.

    Raises:
        DataError: E-EMPTY where the training or the validation text is empty, E-ID.
    """
    if len(validation_ids) == 0:
        raise DataError("E-EMPTY", "There is no validation text to choose the order on.")
    model = KneserNey(MAX_ORDER, vocabulary).fit(train_ids)
    means = tuple(float(nats_N.mean()) for nats_N in model.nats_by_order(validation_ids))
    order = int(np.argmin(means)) + 1
    return NGramBits(model.nats_by_order(test_ids)[order - 1], order, means)


def _different_before(longer: Grams, grams: Grams) -> Whole:
    """(G,) after how many different ids each n-gram stands; `longer`: the (n + 1)-grams."""
    # The (n + 1)-gram at place i ends with the n-gram at place i + 1.
    ends_with = np.zeros(len(longer.keys), dtype=np.int64)
    ends_with[longer.numbers] = grams.numbers[1:]
    return np.bincount(ends_with, minlength=len(grams.keys)).astype(np.int64)


def _discounted(a_G: Whole, context_G: Whole, contexts: int) -> _Counts:
    discount_4 = _discounts(a_G)
    taken_G = discount_4[np.minimum(a_G, 3)]
    total_C = np.bincount(context_G, a_G, contexts)
    with np.errstate(invalid="ignore"):
        left_C = np.bincount(context_G, taken_G, contexts) / total_C  # 0 / 0 where it never occurs
    return _Counts((a_G - taken_G) / total_C[context_G], left_C)


def _discounts(a_G: Whole) -> Reals:
    """(4,) D of a = 0, 1, 2 and 3 or more; each between 0 and a."""
    n1, n2, n3, n4 = (int((a_G == times).sum()) for times in (1, 2, 3, 4))
    least = np.asarray([0.0, *np.minimum([1.0, 2.0, 3.0], USUAL_DISCOUNT)])
    if 0 in (n1, n2, n3):
        return least
    y = n1 / (n1 + 2 * n2)
    d_4 = np.asarray([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    # None below 0, and none so large that what is left says nothing.
    return np.where((d_4 > 0) & (d_4 < [1, 1, 2, 3]), d_4, least)


def _mixed(counts: _Counts, context_N: Whole, number_N: Whole, shorter_N: Reals) -> Reals:
    """(N,) p, from that of the shorter n-grams; the same where the context was never seen."""
    left_N = counts.left[context_N]  # -1 reads the last one, which is not taken
    seen_N = (context_N >= 0) & ~np.isnan(left_N)
    share_N = np.where(number_N < 0, 0.0, counts.share[number_N])
    return np.where(seen_N, share_N + np.where(seen_N, left_N, 0.0) * shorter_N, shorter_N)
