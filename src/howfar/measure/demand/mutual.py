"""Mutual information between two tokens d apart: how far back the data itself depends.

Idea     I(d) = sum_xy p(x, y) log2 p(x, y) / (p(x) p(y)) over pairs (x_t, x_t+d), less the mean of
         the same sum where whole blocks of the second tokens are shuffled: what is left of the
         number when nothing depends. Blocks keep what neighbours have in common, which inflates
         the plain sum too
Number   the furthest lag whose lower bound is above all shuffled values
Units    bits a pair; lags in tokens
Lags     a grid, and whichever lag up to the furthest stands out among its neighbours
Limits   pairs only: two far tokens can decide together what neither says alone. Rare tokens are
         counted as one, so that each cell of the table is seen often enough
Source   the decay of I(d) in text: Ebeling & Poeschel 1994, https://arxiv.org/abs/cond-mat/0204108;
         the bias of the plain sum: Miller 1955
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from howfar.core.errors import DataError, in_range
from howfar.core.seeds import Seeds
from howfar.measure.curve import Curve, curve_of
from howfar.measure.stats import MIN_SEQUENCES, Studentised, log_grid

Rows = Sequence[NDArray[np.integer]]

BLOCKS = 100  # pieces that long rows are cut into, for doubt and shuffling
PAIRS_PER_CELL = 10
SCREENED = 60_000  # tokens on which every lag is looked at once
NEIGHBOURS = 15  # lags that one is compared with
STANDING_OUT = 8  # lags added to the grid, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class MutualOptions:
    """How to measure. lags: None for a grid up to `furthest`; tokens: use at most so many."""

    lags: tuple[int, ...] | None = None
    furthest: int = 1024
    tokens: int = 300_000
    shuffles: int = 19
    ci: float = 0.95
    seed: int = 0
    resamples: int = 1000

    def __post_init__(self) -> None:
        checks = {
            "lags": self.lags is None or (len(self.lags) > 0 and min(self.lags) >= 1),
            "furthest": self.furthest >= 1,
            "tokens": self.tokens >= 2,
            "shuffles": self.shuffles >= 2,
            "ci": 0 < self.ci < 1,
            "resamples": self.resamples >= 1,
        }
        in_range(self, checks, "`help(howfar.demand)` gives the ranges.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutual:
    """Mutual information by lag.

    value: the furthest lag at which tokens depend on each other; None: at none that was measured.
    censored: it holds at the longest lag measured. symbols: different tokens told apart.
    curve: bits by lag, bias taken off; `noise_floor` the highest shuffled value at any lag.
    floor: the highest shuffled value at each lag, bias taken off, bits.
    """

    value: int | None
    low: int | None
    high: int | None
    censored: bool
    curve: Curve
    floor: tuple[float, ...]
    symbols: int
    num_sequences: int
    warnings: tuple[str, ...]


def mutual_information(rows: Rows, options: MutualOptions | None = None) -> Mutual:
    """I(d) of pairs of tokens d apart within a row.

    Args:
        rows: token ids, one array a document; a running text is one row.
        options: see `MutualOptions`.

    Raises:
        DataError: E-TOO-SHORT, where no row has two tokens.
    """
    options = options or MutualOptions()
    ids, row, block = _laid_out(rows, options.tokens)
    ids, symbols, warnings = _merged(ids)
    longest = max((len(r) for r in rows), default=0) - 1
    grid = options.lags or (
        *log_grid(options.furthest, dense=16),
        *_standing_out(ids, row, symbols, options.furthest),
    )
    lags = sorted({d for d in grid if 1 <= d <= longest})
    if not lags:
        raise DataError("E-TOO-SHORT", "No row has two tokens that far apart.", "longer texts.")
    found = [_Lag.of(d, ids, row, block, symbols, options) for d in lags]
    lags = [d for d, lag in zip(lags, found, strict=True) if lag is not None]
    kept = [lag for lag in found if lag is not None]
    if not kept:
        raise DataError("E-TOO-SHORT", "Too few pairs of tokens at every lag.", "more text.")
    blocks = int(block.max()) + 1
    bits_BK = np.full((blocks, len(kept)), np.nan)
    for place, lag in enumerate(kept):
        bits_BK[: len(lag.by_block), place] = lag.by_block
    mean, low, high = (np.array([getattr(lag, n) for lag in kept]) for n in ("bits", "low", "high"))
    floor = np.array([lag.floor for lag in kept])
    few = blocks < MIN_SEQUENCES
    holds = np.flatnonzero((mean if few else low) > floor)
    value = int(lags[holds[-1]]) if holds.size else None
    if few:
        warnings.append(f"no interval: {blocks} rows, at least {MIN_SEQUENCES} are needed")
    return Mutual(
        value=value,
        low=None,
        high=None,
        censored=value is not None and value == lags[-1],
        curve=curve_of(
            lags,
            mean,
            low,
            high,
            bits_BK[None],
            axis="lag",
            unit="bits",
            noise_floor=float(floor.max()),
            design="pairs, block-shuffled floor",
        ),
        floor=tuple(float(f) for f in floor),
        symbols=symbols,
        num_sequences=blocks,
        warnings=tuple(warnings),
    )


@dataclass(frozen=True, slots=True)
class _Lag:
    bits: float
    low: float
    high: float
    floor: float
    by_block: np.ndarray  # (blocks,)

    @classmethod
    def of(
        cls,
        lag: int,
        ids: np.ndarray,
        row: np.ndarray,
        block: np.ndarray,
        symbols: int,
        options: MutualOptions,
    ) -> "_Lag | None":
        """One lag; None for fewer than ten pairs in all."""
        inside = row[:-lag] == row[lag:]
        first, second, part = ids[:-lag][inside], ids[lag:][inside], block[:-lag][inside]
        if len(first) < PAIRS_PER_CELL:
            return None
        plain, weight = _plug_in(first, second, symbols)
        rng = Seeds(options.seed).numpy(f"mutual {lag}")
        starts = np.flatnonzero(np.diff(part, prepend=-1))
        pieces = np.split(np.arange(len(part)), starts[1:])
        shuffled = []
        for _ in range(options.shuffles):
            order = np.concatenate([pieces[i] for i in rng.permutation(len(pieces))])
            shuffled.append(_plug_in(first, second[order], symbols)[0])
        bias = float(np.mean(shuffled))
        sums_B = np.bincount(part, weight)
        counts_B = np.bincount(part)
        off_B = (sums_B - plain * counts_B) / counts_B.mean()
        low, high = Studentised(len(off_B), options.resamples, rng).limits(
            off_B[None, :, None], options.ci
        )
        bits = plain - bias
        with np.errstate(invalid="ignore"):
            by_block = sums_B / counts_B - bias
        floor = max(shuffled) - bias
        return cls(bits, bits + float(low[0]), bits + float(high[0]), floor, by_block)


def _standing_out(ids: np.ndarray, row: np.ndarray, symbols: int, furthest: int) -> list[int]:
    """Lags whose plain sum stands out among its neighbours: a grid would step over them.

    On a share of the tokens; the bias of the plain sum is about the same at every lag.
    """
    some = slice(min(len(ids), SCREENED))
    ids, row = ids[some], row[some]
    lags = range(1, min(furthest, len(ids) - PAIRS_PER_CELL) + 1)
    sums = np.zeros(len(lags))
    for place, lag in enumerate(lags):
        inside = row[:-lag] == row[lag:]
        if inside.sum() >= len(ids) // 10:
            sums[place] = _plug_in(ids[:-lag][inside], ids[lag:][inside], symbols)[0]
    if len(sums) < NEIGHBOURS:
        return []
    above = sums - median_filter(sums, NEIGHBOURS, mode="nearest")
    usual = np.median(np.abs(above))
    found = np.flatnonzero(above > 6 * max(usual, 1e-9))
    return [lags[i] for i in found[np.argsort(-above[found])][:STANDING_OUT]]


def _plug_in(first: np.ndarray, second: np.ndarray, symbols: int) -> tuple[float, np.ndarray]:
    """The plain sum in bits, and each pair's own log-ratio."""
    joint = first * symbols + second
    count = np.bincount(joint, minlength=symbols * symbols)
    num = len(first)
    left, right = np.bincount(first, minlength=symbols), np.bincount(second, minlength=symbols)
    each = np.log2(count[joint] * num / (left[first] * right[second]))
    return float(each.mean()), each


def _laid_out(rows: Rows, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, row and block of every token; long rows are cut into blocks, short ones are blocks."""
    lengths = np.array([len(r) for r in rows])
    if lengths.sum() < 2 or lengths.max() < 2:
        raise DataError("E-TOO-SHORT", "There are no two tokens to compare.", "longer texts.")
    ids = np.concatenate([np.asarray(r, dtype=np.int64) for r in rows])[:most]
    row = np.repeat(np.arange(len(rows)), lengths)[:most]
    place = np.concatenate([np.arange(n) for n in lengths])[:most]
    size = max(int(lengths.max()) if len(rows) >= BLOCKS else len(ids) // BLOCKS, 2)
    _, block = np.unique(row * (len(ids) + 1) + place // size, return_inverse=True)
    return ids, row, block.astype(np.int64)


def _merged(ids: np.ndarray) -> tuple[np.ndarray, int, list[str]]:
    """Ids 0 .. K - 1, the commonest first; the rest are one, so that each pair is seen often."""
    _, index, count = np.unique(ids, return_inverse=True, return_counts=True)
    rank = np.empty(len(count), dtype=np.int64)
    rank[np.argsort(-count, kind="stable")] = np.arange(len(count))
    most = max(2, int(np.sqrt(len(ids) / PAIRS_PER_CELL)))
    if len(count) <= most:
        return rank[index], len(count), []
    share = count[rank >= most - 1].sum() / len(ids)
    said = f"the {most - 1} commonest tokens are told apart; the rest ({share:.0%}) count as one"
    return np.minimum(rank[index], most - 1), most, [said]
