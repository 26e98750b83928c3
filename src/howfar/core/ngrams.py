"""Counting n-grams of ids: what every n-gram model does before it smooths.

Idea     every n-gram is known by a number below the length of the text, so the context of the next
         longer one is one integer and no order overflows. An n-gram's key is its context's number
         times V plus its last id
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from howfar.core.errors import DataError

Ids: TypeAlias = Sequence[int] | npt.NDArray[np.integer[Any]]
Whole: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Grams:
    """The n-grams of one order in a text of N ids; G different ones after C contexts."""

    keys: Whole  # (G,) sorted; the place of an n-gram here is its number
    counts: Whole  # (G,)
    numbers: Whole  # (N - n + 1,) of the n-gram that ends at id i, for i from n - 1 on
    contexts: int  # C


def count(id_N: Whole, order: int, vocabulary: int) -> Iterator[Grams]:
    """The n-grams of orders 1, 2, ... up to `order` or the length of the text, in turn."""
    context_N, contexts = np.zeros(len(id_N), dtype=np.int64), 1
    for n in range(1, min(order, len(id_N)) + 1):
        key_G, number_M, count_G = np.unique(
            context_N * vocabulary + id_N[n - 1 :], return_inverse=True, return_counts=True
        )
        numbers = number_M.astype(np.int64)
        yield Grams(key_G, count_G.astype(np.int64), numbers, contexts)
        context_N, contexts = numbers[:-1], len(key_G)


def look_up(keys: Whole, context_N: Whole, id_N: Whole, vocabulary: int) -> Whole:
    """(N,) number of the n-gram that ends at each id; -1 where it was never seen."""
    key_N = context_N * vocabulary + id_N
    place_N = np.minimum(np.searchsorted(keys, key_N), len(keys) - 1)
    found_N = keys[place_N] == key_N  # an unseen context gives a key below 0, never found
    return np.where(found_N, place_N, -1)


def checked(ids: Ids, vocabulary: int) -> Whole:
    """The ids as one array.

    Raises:
        DataError: E-ID for an id outside 0 .. V - 1.
    """
    id_N = np.asarray(ids, dtype=np.int64)
    if len(id_N) and not (id_N.min() >= 0 and id_N.max() < vocabulary):
        raise DataError("E-ID", f"An id lies outside 0 .. {vocabulary - 1}.")
    return id_N
