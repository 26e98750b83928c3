"""Splits that a column decides: no group in two parts; the oldest to train, the newest to test.

Idea     rows that share a text or a group are one block (by union of the two), and blocks are
         shuffled and dealt out; in time, parts are cut where the shares come nearest, between two
         different times
Together equal texts always; a text of several times counts for its first, where it was first known
"""

import math
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from datetime import UTC, date, datetime

import numpy as np

from howfar.core.errors import DataError, shown
from howfar.data.draws import generator
from howfar.data.faults import RAW_KEPT, Fault, listed, place
from howfar.data.split import FRACTIONS, Parts, check_shares, fill, sorted_parts

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", re.ASCII)

_TIMES = "write 2024-03-01, 2024-03-01T12:00 or a number in every row"


def split_apart(
    keys: Sequence[Hashable],
    *,
    groups: Sequence[Hashable] | None = None,
    weights: Sequence[float] | None = None,
    fractions: tuple[float, float, float] = FRACTIONS,
    seed: int,
) -> Parts:
    """Split without regard to labels: equal keys, and equal groups, stay in one part.

    Args:
        keys: a row's normalised text.
        groups: a row's group, such as its author; None: there are no groups.
        weights: what a row counts for the shares, such as its length; 1 by default.
        fractions: shares of train, validation and test; a share of 0 leaves that part empty.
        seed: of the shuffle.

    Raises:
        DataError: E-TOO-FEW where there are fewer blocks than parts.
        UsageError: E-OPTION for fractions that are no shares.
    """
    check_shares(fractions, len(keys))
    found = blocks(keys, groups)
    parts = sum(fraction > 0 for fraction in fractions)
    if len(found) < parts:
        what = "different texts" if groups is None else "groups that share no text"
        raise DataError(
            "E-TOO-FEW",
            f"{len(keys):,} rows have only {len(found)} {what}; a split needs {parts}, one for "
            "each part.",
            "add rows, or name files with --test and --validation",
        )
    order = generator(seed, "split/apart").permutation(len(found))
    return sorted_parts(fill([found[i] for i in order], fractions, weights))


def blocks(keys: Sequence[Hashable], groups: Sequence[Hashable] | None = None) -> list[list[int]]:
    """Rows that share a key or a group, directly or through others; in order of first rows."""
    parent = list(range(len(keys)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for values in (keys, groups):
        first: dict[Hashable, int] = {}
        for row, value in enumerate(values or ()):
            one, other = root(first.setdefault(value, row)), root(row)
            # The earlier row leads, so that the order of blocks does not depend on the joins.
            parent[max(one, other)] = min(one, other)
    found: dict[int, list[int]] = {}
    for row in range(len(keys)):
        found.setdefault(root(row), []).append(row)
    return list(found.values())


def known_to_train(
    parts: Parts, keys: Sequence[Hashable], labels: Sequence[Sequence[str]]
) -> Parts:
    """Move rows with a label that train lacks to train, with all rows of their text.

    Args:
        parts: a split in which equal keys are together.
        keys: a row's normalised text.
        labels: a row's labels.

    Raises:
        DataError: E-TOO-FEW where nothing is left of a part.
    """
    known = {label for row in parts[0] for label in labels[row]}
    moved: set[Hashable] = set()
    for part in parts[1:]:
        for row in part:
            if not known.issuperset(labels[row]):
                moved.add(keys[row])
    found = [[int(r) for r in part if keys[r] not in moved] for part in parts[1:]]
    if any(len(part) and not left for part, left in zip(parts[1:], found, strict=True)):
        raise DataError(
            "E-TOO-FEW",
            f"{len(keys):,} rows are too few: validation or test would have only labels that no "
            "training row has.",
            "add rows, or name files with --test and --validation",
        )
    back = [row for part in parts[1:] for row in part.tolist() if keys[row] in moved]
    return sorted_parts([[*parts[0].tolist(), *back], *found])


def split_times(
    keys: Sequence[Hashable],
    times: Sequence[float],
    *,
    fractions: tuple[float, float, float] = FRACTIONS,
) -> tuple[Parts, int]:
    """Split by time: train is the oldest, test the newest, and equal times stay together.

    Args:
        keys: a row's normalised text.
        times: when a row was made, as `parse_times` gives it.
        fractions: shares of train, validation and test.

    Returns:
        The parts, and how many rows stand in an older part than their time says, since their text
        was known before.

    Raises:
        DataError: E-TOO-FEW where there are fewer different times than parts.
        UsageError: E-OPTION for fractions that are no shares.
    """
    check_shares(fractions, len(keys))
    first: dict[Hashable, float] = {}
    for key, time in zip(keys, times, strict=True):
        first[key] = min(time, first.get(key, time))
    known = np.asarray([first[key] for key in keys])
    cuts = _cuts(known, fractions)
    part = np.searchsorted(cuts, known, side="right")
    moved = int((np.searchsorted(cuts, np.asarray(times), side="right") != part).sum())
    return sorted_parts([np.flatnonzero(part == i).tolist() for i in range(3)]), moved


def _cuts(
    times: "np.ndarray[tuple[int], np.dtype[np.float64]]", shares: Sequence[float]
) -> list[float]:
    """The first time of validation, and of test (infinite where that part stays empty)."""
    values, counts = np.unique(times, return_counts=True)
    parts = sum(share > 0 for share in shares)
    if len(values) < parts:
        raise DataError(
            "E-TOO-FEW",
            f"{len(times):,} rows have only {len(values)} different times (equal texts count for "
            f"their first); a split needs {parts}, one for each part.",
            "name another column with --time",
        )
    before = np.concatenate([[0], np.cumsum(counts)])  # rows before each time
    cuts: list[float] = []
    low, done = 1, 0.0
    for i, share in enumerate(shares[:2]):
        done += share
        left = sum(later > 0 for later in shares[i + 1 :])
        if not left:
            cuts.append(math.inf)
            continue
        if shares[i + 1] == 0:
            # Validation is empty: both cuts are the first time of test.
            at = _nearest(before, done * len(times), low, len(values) - 1)
            return [float(values[at])] * 2
        at = _nearest(before, done * len(times), low, len(values) - left)
        cuts.append(float(values[at]))
        low = at + 1
    return cuts


def _nearest(
    before: "np.ndarray[tuple[int], np.dtype[np.int64]]", wanted: float, low: int, high: int
) -> int:
    return low + int(np.argmin(np.abs(before[low : high + 1] - wanted)))


def parse_times(
    values: Sequence[object], lines: Sequence[int], path: str, column: str
) -> list[float]:
    """Times as numbers that grow: all numbers, or all ISO 8601 dates (times without zone are UTC).

    Raises:
        DataError: E-TIME for a missing value, one that is neither, or a mixture.
    """
    kinds = [_time(value) for value in values]
    wrong = [i for i, kind in enumerate(kinds) if kind is None]
    where = place(path, lines[wrong[0]] if wrong else None, column)
    hint = f"{_TIMES}, or --bad-rows skip"
    if wrong:
        why = f"{shown(values[wrong[0]] or '')} ({listed([lines[i] for i in wrong])})"
        raise DataError("E-TIME", f"No time in {where}: {why}.", hint)
    names = {kind[0] for kind in kinds if kind is not None}
    if len(names) > 1:
        odd = _rarer(kinds)
        at = [i for i, kind in enumerate(kinds) if kind is not None and kind[0] == odd]
        where = place(path, lines[at[0]], column)
        message = (
            f"Mixed times in {where}: {' and '.join(sorted(names))} ({odd}: "
            f"{listed([lines[i] for i in at])})."
        )
        raise DataError("E-TIME", message, hint)
    return [kind[1] for kind in kinds if kind is not None]


def time_faults(values: Sequence[object], lines: Sequence[int], column: str) -> list[Fault]:
    """The rows without which `parse_times` reads the column: no time, or the rarer of two kinds."""
    kinds = [_time(value) for value in values]
    odd = _rarer(kinds)
    faults = []
    for value, line, kind in zip(values, lines, kinds, strict=True):
        if kind is not None and kind[0] != odd:
            continue
        reason = "no time" if kind is None else "another kind of time than most rows"
        raw = "" if value is None else str(value)[:RAW_KEPT]
        faults.append(Fault(line, "E-TIME", "No time", reason, reason, _TIMES, column, raw))
    return faults


def _rarer(kinds: Sequence[tuple[str, float] | None]) -> str | None:
    """The kind of time that fewer rows have, where there are two; of equal counts the first."""
    counts = Counter(kind[0] for kind in kinds if kind is not None)
    return min(sorted(counts), key=counts.__getitem__) if len(counts) > 1 else None


def _time(value: object) -> tuple[str, float] | None:
    """What kind of time a cell holds, and its number; None where it is none."""
    if isinstance(value, datetime | date):
        return "dates", _seconds(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = str(value).strip()
    if _NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return "numbers", float(text)
    try:
        return "dates", _seconds(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def _seconds(when: date) -> float:
    if not isinstance(when, datetime):
        when = datetime(when.year, when.month, when.day, tzinfo=UTC)
    elif when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return (when - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
