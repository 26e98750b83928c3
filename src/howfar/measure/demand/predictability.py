"""What visible context is worth to predictors that only count and copy.

Idea     the next token, predicted from the last k tokens alone, by an n-gram model mixed with one
         rule: find the last earlier place, within those k tokens, that ends like the text so far,
         and say what stood after it,

             p_k(w) = c_m [w = copied] + (1 - c_m) p_ngram(w | last min(k, n - 1) tokens),

         m the length of the match (0: none), c_m chosen on held-out text. The loss against k says
         what a model that reads k tokens could gain at the least
Number   smallest k from which on the loss exceeds that of the longest context by less than the
         tolerance, at the upper end of its interval: how much context these predictors need. Where
         more than half of the longest context is needed, the loss may go on falling: censored
Units    bits a token; k in tokens
Limits   a lower bound of what the data offers: better predictors may need, and use, more
Source   our combination; cache and copy models: Kuhn & De Mori 1990, doi:10.1109/34.56193
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from howfar.core.errors import DataError, in_range
from howfar.core.seeds import Seeds
from howfar.measure.curve import Curve, curve_of
from howfar.measure.demand.ngram import NGram, best_ngram
from howfar.measure.stats import MIN_SEQUENCES, Studentised, log_grid

Rows = Sequence[NDArray[np.integer]]

LONGEST_MATCH = 8
SHARES = (0.0, *(i / 20 for i in range(1, 20)), 0.97, 0.99, 0.999)
BLOCKS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """How to measure. contexts: None for a grid up to `furthest`; targets: at most so many."""

    contexts: tuple[int, ...] | None = None
    furthest: int = 4096
    targets: int = 50_000
    tolerance_nats: float = 0.01
    ci: float = 0.95
    seed: int = 0
    resamples: int = 1000

    def __post_init__(self) -> None:
        checks = {
            "contexts": self.contexts is None
            or (len(self.contexts) > 0 and min(self.contexts) >= 0),
            "furthest": self.furthest >= 1,
            "targets": self.targets >= 1,
            "tolerance_nats": self.tolerance_nats > 0,
            "ci": 0 < self.ci < 1,
            "resamples": self.resamples >= 1,
        }
        in_range(self, checks, "`help(howfar.demand)` gives the ranges.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictability:
    """Loss of counting and copying against visible context.

    value: the context needed, in tokens; None and `censored`: more than was measured.
    curve: bits a token at each k, and its interval; extra: nats above the longest context, paired.
    ngram_bits: of the n-gram model alone, at its best order. copied: share of the targets that the
    copy rule gets right at the longest context. order: of the n-gram model.
    """

    value: int | None
    low: int | None
    high: int | None
    censored: bool
    curve: Curve
    extra: Curve
    order: int
    ngram_bits: float
    copied: float
    num_sequences: int
    warnings: tuple[str, ...]


def predictability(
    train: Rows,
    held: Rows,
    test: Rows,
    vocabulary: int,
    options: PredictOptions | None = None,
) -> Predictability:
    """Loss on `test` by visible context; counted on `train`, mixed as is best on `held`.

    Args:
        train: rows of ids 0 .. vocabulary - 1, one array a document.
        held: rows on which the order and the shares of copying are chosen.
        test: rows whose tokens are predicted, from what stands before them in their row.
        vocabulary: V.
        options: see `PredictOptions`.

    Raises:
        DataError: E-EMPTY, E-TOO-SHORT, where there is nothing to count or predict.
    """
    options = options or PredictOptions()
    # A mark between rows is one more id, so that no n-gram joins two rows unnoticed.
    counted, chosen = _joined(train, vocabulary), _joined(held, vocabulary)
    model = best_ngram(counted.ids, chosen.ids, vocabulary + 1)
    longest = max((len(row) for row in test), default=0) - 1
    # Only targets with the whole of the longest context are asked, so that k alone differs.
    grid = options.contexts or tuple(log_grid(max(1, min(options.furthest, longest // 2)), dense=8))
    contexts = sorted(k for k in set(grid) if k < longest)
    if not contexts:
        raise DataError("E-TOO-SHORT", "No test row is longer than the contexts.", "longer texts.")
    asked = _Asked.of(_joined(test, vocabulary), model, contexts[-1], options.targets)
    tuned = _Asked.of(chosen, model, 0, options.targets)
    losses = _Losses(asked, tuned, options)
    place = losses.needed(contexts)
    while _between(contexts, place) and options.contexts is None:
        contexts.insert(place, (contexts[place] + contexts[place - 1]) // 2)
        place = losses.needed(contexts)
    return losses.summary(contexts, place, model.order)


def _levelled(contexts: Sequence[int], place: int) -> bool:
    """Whether hardly anything is gained over the last octave: else the curve may go on falling."""
    return place == 0 or contexts[place] <= contexts[-1] // 2


def _between(contexts: Sequence[int], place: int) -> bool:
    gap = contexts[place] - contexts[place - 1] if place else 0
    return gap > 1 and _levelled(contexts, place)


class _Losses:
    """Nats of the targets at each context, in blocks that stand for the doubt."""

    def __init__(self, asked: "_Asked", tuned: "_Asked", options: PredictOptions) -> None:
        self.asked, self.tuned, self.options = asked, tuned, options
        self.block_P = asked.blocks()
        self.size_B = np.bincount(self.block_P)
        rng = Seeds(options.seed).numpy("predictability")
        self.means = Studentised(len(self.size_B), options.resamples, rng)
        self.few = len(self.size_B) < MIN_SEQUENCES
        self._sums: dict[int, np.ndarray] = {}

    def needed(self, contexts: Sequence[int]) -> int:
        """Place of the smallest context from which on hardly anything is lost."""
        extra_BK = self._table(contexts)
        extra_BK = extra_BK - extra_BK[:, -1:]
        mean_K, _, high_K, _ = self._band(extra_BK)
        bound_K = mean_K if self.few else high_K
        worse = np.flatnonzero(bound_K[:-1] >= self.options.tolerance_nats)
        return int(worse[-1]) + 1 if worse.size else 0

    def summary(self, contexts: Sequence[int], place: int, order: int) -> Predictability:
        """Everything with its intervals."""
        table_BK = self._table(contexts)
        bits = [part / np.log(2) for part in self._band(table_BK)]
        extra = self._band(table_BK - table_BK[:, -1:])
        censored = not _levelled(contexts, place)
        num = len(self.size_B)
        said = f"no interval: {num} stretches of text, {MIN_SEQUENCES} are needed"
        return Predictability(
            value=None if censored else contexts[place],
            low=None,
            high=None,
            censored=censored,
            curve=_curve(contexts, bits, "bits"),
            extra=_curve(contexts, extra, "nats"),
            order=order,
            ngram_bits=float(self.asked.base(order - 1).mean() / np.log(2)),
            copied=self.asked.copied(contexts[-1]),
            num_sequences=num,
            warnings=(said,) if self.few else (),
        )

    def _table(self, contexts: Sequence[int]) -> np.ndarray:
        """Summed nats of every block and context, (B, K)."""
        for k in contexts:
            if k not in self._sums:
                nats_P = self.asked.nats(k, self.tuned.shares(k))
                self._sums[k] = np.bincount(self.block_P, nats_P)
        return np.stack([self._sums[k] for k in contexts], axis=1)

    def _band(self, table_BK: np.ndarray) -> list[np.ndarray]:
        """Mean a target (K,), the ends of its interval (K,), and the mean of every block (B, K)."""
        rate_K = table_BK.sum(0) / self.size_B.sum()
        off_BK = (table_BK - rate_K * self.size_B[:, None]) / self.size_B.mean()
        low_K, high_K = self.means.limits(off_BK[None], self.options.ci)
        return [rate_K, rate_K + low_K, rate_K + high_K, table_BK / self.size_B[:, None]]


def _curve(contexts: Sequence[int], band: Sequence[np.ndarray], unit: str) -> Curve:
    mean_K, low_K, high_K, blocks_BK = band
    return curve_of(
        contexts,
        mean_K,
        low_K,
        high_K,
        blocks_BK[None],
        axis="context tokens",
        unit=unit,
        design="n-gram and copy rule",
    )


@dataclass(frozen=True, slots=True)
class _Joined:
    """Rows one after the other, with a mark before each: ids (N,), start of its row (N,)."""

    ids: np.ndarray
    start: np.ndarray
    mark: int


def _joined(rows: Rows, vocabulary: int) -> _Joined:
    ids, starts, at = [], [], 0
    for row in rows:
        ids += [np.array([vocabulary]), np.asarray(row, dtype=np.int64)]
        starts.append(np.full(len(row) + 1, at + 1))
        at += len(row) + 1
    if not ids:
        raise DataError("E-EMPTY", "There is no text to count.", "a longer file.")
    return _Joined(np.concatenate(ids), np.concatenate(starts), vocabulary)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Targets (P,) in a text with what each predictor says of them.

    nats_by_order: of the n-gram model with 0, 1, ... tokens of context, (orders, P).
    match: (M, P) where the last m tokens ended before, m = 1 .. M; -1: nowhere.
    """

    text: _Joined
    place: np.ndarray
    nats_by_order: np.ndarray
    match: np.ndarray

    @classmethod
    def of(cls, text: _Joined, model: NGram, context: int, most: int) -> "_Asked":
        """Targets that have `context` tokens before them in their row, evenly thinned."""
        place = np.arange(len(text.ids))
        good = (text.ids != text.mark) & (place - text.start >= context)
        place = place[good]
        if len(place) == 0:
            raise DataError("E-TOO-SHORT", "No token has that much text before it.", "more text.")
        if len(place) > most:
            place = place[np.linspace(0, len(place) - 1, most).round().astype(np.int64)]
        before = np.stack([_earlier(text.ids, m) for m in range(1, LONGEST_MATCH + 1)])
        return cls(
            text, place, np.stack(model.nats_by_order(text.ids, place)), before[:, place - 1]
        )

    def base(self, context: int) -> np.ndarray:
        """Nats of the n-gram model with at most `context` tokens, (P,)."""
        return np.asarray(self.nats_by_order[min(context, len(self.nats_by_order) - 1)])

    def matched(self, context: int) -> tuple[np.ndarray, np.ndarray]:
        """Length of the longest match within the last `context` tokens, and whether it is right."""
        m_M1 = np.arange(1, LONGEST_MATCH + 1)[:, None]
        first_P = np.maximum(self.place - context, self.text.start[self.place])
        seen_MP = (self.match >= 0) & (self.match - m_M1 + 1 >= first_P)
        length_P = (seen_MP * m_M1).max(0)
        row_P = np.maximum(length_P - 1, 0)
        copied_P = self.text.ids[self.match[row_P, np.arange(len(self.place))] + 1]
        return length_P, (length_P > 0) & (copied_P == self.text.ids[self.place])

    def shares(self, context: int) -> np.ndarray:
        """The share of copying for each length of match that loses least here, (M + 1,)."""
        length_P, right_P = self.matched(context)
        p_P = np.exp(-self.base(context))
        best = np.zeros(LONGEST_MATCH + 1)
        for m in range(1, LONGEST_MATCH + 1):
            here = length_P == m
            if not here.any():
                best[m] = best[m - 1]
                continue
            losses = [_mixed(share, right_P[here], p_P[here]).mean() for share in SHARES]
            best[m] = SHARES[int(np.argmin(losses))]
        return best

    def nats(self, context: int, shares_M: np.ndarray) -> np.ndarray:
        """Nats of every target with `context` visible tokens, (P,)."""
        length_P, right_P = self.matched(context)
        return _mixed(shares_M[length_P], right_P, np.exp(-self.base(context)))

    def copied(self, context: int) -> float:
        """Share of the targets that the copy rule gets right."""
        return float(self.matched(context)[1].mean())

    def blocks(self) -> np.ndarray:
        """The row of each target, or a hundredth of the targets where rows are fewer."""
        rows = np.unique(self.text.start[self.place], return_inverse=True)[1]
        if int(rows.max()) + 1 >= MIN_SEQUENCES:
            return np.asarray(rows)
        size = max(1, len(self.place) // BLOCKS)
        return np.minimum(np.arange(len(self.place)) // size, max(len(self.place) // size - 1, 0))


def _mixed(share: float | np.ndarray, right_P: np.ndarray, p_P: np.ndarray) -> np.ndarray:
    return np.asarray(-np.log(share * right_P + (1 - share) * p_P))


def _earlier(ids: np.ndarray, m: int) -> np.ndarray:
    """(N,): for each i the last j < i at which the same m tokens end; -1: none."""
    number = np.zeros(len(ids), dtype=np.int64)
    width = int(ids.max()) + 1
    for back in range(m):
        shifted = np.full(len(ids), -1, dtype=np.int64)
        shifted[back:] = ids[: len(ids) - back] if back else ids
        # Renumbered at each step, so that no product overflows; -1 stands before the text.
        _, number = np.unique(number * (width + 1) + shifted + 1, return_inverse=True)
    order = np.argsort(number, kind="stable")
    found = np.full(len(ids), -1, dtype=np.int64)
    same = number[order[1:]] == number[order[:-1]]
    found[order[1:][same]] = order[:-1][same]
    return found
