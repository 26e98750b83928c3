"""What probes are asked for: the token at every lag, as a class or reals, and who is held out.

Idea     one class a symbol; of a large vocabulary the commonest symbols, and one class for the rest
"""

from dataclasses import dataclass

import numpy as np

from howfar.measure.retention.options import RetentionOptions


@dataclass(frozen=True, slots=True)
class Data:
    """What is asked for: target (N, P, K) classes or (N, P, K, C) reals, one column a lag.

    control: the same, of another sequence of the same side of the split at the same positions; a
    side of one sequence has no other. recent: raw tokens that probes may also see, (N, P, m[, C]).
    train: (N,) which sequences probes are fitted on. count: classes; 0: reals.
    """

    target: np.ndarray
    control: np.ndarray
    recent: np.ndarray
    train: np.ndarray
    count: int
    lags: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Kinds:
    """Classes told apart: how many, how many symbols there were, and the rest's share."""

    count: int
    seen: int
    other: bool
    share: float


def classes(
    value: np.ndarray, train: np.ndarray, options: RetentionOptions
) -> tuple[np.ndarray, Kinds]:
    """Symbols as classes 0 .. count - 1, the commonest of the training part; the last is the rest.

    value: whatever shape, mapped elementwise. train: the values to count.
    """
    symbol_S, count_S = np.unique(train, return_counts=True)
    seen = len(symbol_S)
    many = seen > options.classes
    if many:
        symbol_S = np.sort(symbol_S[np.argsort(-count_S, kind="stable")[: options.classes - 1]])
    place = np.searchsorted(symbol_S, value).clip(max=len(symbol_S) - 1)
    known = symbol_S[place] == value
    mapped = np.where(known, place, len(symbol_S))
    rest = 0 if bool(known.all()) else 1
    share = float(1 - np.isin(train, symbol_S).mean())
    return mapped, Kinds(len(symbol_S) + rest, seen, many, share)
