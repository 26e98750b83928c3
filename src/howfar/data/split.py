"""Rows to train, validation and test: by label, with equal texts kept together.

Idea     rows of one normalised text form a group; each label's groups are shuffled and fill test,
         then validation, up to their share of that label's rows; the rest is train
Random   one Philox stream a label, so that another label's rows move nothing here
"""

import hashlib
import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from howfar.core.errors import DataError, UsageError, shown
from howfar.data.draws import generator

Rows = npt.NDArray[np.int64]
Parts: TypeAlias = tuple[Rows, Rows, Rows]  # train, validation, test: sorted, without overlap
FRACTIONS = (0.8, 0.1, 0.1)
_MOST_CLASSES = 1000
_FEW_ROWS = 10


def normalised(text: str) -> str:
    """What makes two texts the same: NFKC, case folded, white space collapsed."""
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def key_of(text: str) -> int:
    """A number of 64 bits, equal where the normalised texts are.

    Of 10^8 different texts two share a number in 3 of 10,000 cases.
    """
    digest = hashlib.blake2b(normalised(text).encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def split_rows(
    keys: Sequence[Hashable],
    labels: Sequence[str],
    *,
    fractions: tuple[float, float, float] = FRACTIONS,
    seed: int,
    rare: Literal["error", "drop"] = "error",
) -> Parts:
    """Split rows into train, validation and test.

    Args:
        keys: a row's normalised text; rows with one key stay together.
        labels: a row's label.
        fractions: shares of train, validation and test; a share of 0 leaves that part empty.
        seed: of the shuffle.
        rare: "drop" leaves out labels with too few distinct texts; the caller counts them.

    Returns:
        Sorted row numbers, three int64 arrays without overlap.

    Raises:
        DataError: E-TOO-FEW, E-ONE-CLASS, E-LABEL-CARD.
        UsageError: E-OPTION for fractions that are no shares.
    """
    check_shares(fractions, len(keys))
    check_labels(labels)
    parts = sum(fraction > 0 for fraction in fractions)
    by_label = _enough(keys, labels, parts, drop=rare == "drop")
    found: tuple[list[int], list[int], list[int]] = ([], [], [])
    for label, groups in by_label.items():
        order = generator(seed, f"split/{label}").permutation(len(groups))
        shares = fill([groups[i] for i in order], fractions)
        for part, rows in zip(found, shares, strict=True):
            part.extend(rows)
    return sorted_parts(found)


def check_shares(fractions: tuple[float, float, float], rows: int) -> None:
    """Raise E-OPTION for fractions that are no shares, E-TOO-FEW for less than two rows."""
    if min(fractions) < 0 or fractions[0] <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise UsageError("E-OPTION", f"The fractions {fractions} are no shares of 1.")
    if rows < 2:
        raise DataError("E-TOO-FEW", f"{rows} rows cannot be split.", "give more rows")


def sorted_parts(found: Sequence[Sequence[int]]) -> Parts:
    """Three lists of rows as sorted arrays."""
    train, validation, test = (np.sort(np.asarray(part, dtype=np.int64)) for part in found)
    return train, validation, test


def check_labels(labels: Sequence[str]) -> None:
    """Raise E-ONE-CLASS or E-LABEL-CARD where the labels cannot be learned."""
    classes = len(set(labels))
    if classes == 1:
        raise DataError(
            "E-ONE-CLASS",
            f"All {len(labels):,} rows have the label {shown(labels[0])}.",
            "name another column with --label, or add rows of another class",
        )
    if classes > _MOST_CLASSES or (classes == len(labels) and classes >= _FEW_ROWS):
        if all(map(_is_number, set(labels))):
            message = f"{len(labels):,} rows have {classes:,} different numbers as labels."
            hint = "`howfar train --aim regression` learns numbers; or another column with --label"
            raise DataError("E-LABEL-CARD", message, hint)
        raise DataError(
            "E-LABEL-CARD",
            f"{len(labels):,} rows have {classes:,} different labels: is this a text column?",
            "name another column with --label",
        )


def _is_number(label: str) -> bool:
    try:
        return "_" not in label and math.isfinite(float(label))
    except ValueError:
        return False


def leaks(train_keys: Sequence[str], test_keys: Sequence[str]) -> Rows:
    """Rows of train whose text stands in test too."""
    known = set(test_keys)
    return np.asarray([i for i, key in enumerate(train_keys) if key in known], dtype=np.int64)


def duplicates(keys: Sequence[Hashable]) -> int:
    """Rows whose text stands in an earlier row too."""
    return len(keys) - len(set(keys))


def _groups(
    keys: Sequence[Hashable], labels: Sequence[str], rows: Iterable[int]
) -> dict[str, list[list[int]]]:
    """Label -> groups of rows with one key, in order of their first row.

    A text that stands under several labels counts for the one it has most often.
    """
    by_key: defaultdict[Hashable, list[int]] = defaultdict(list)
    for row in rows:
        by_key[keys[row]].append(row)
    by_label: dict[str, list[list[int]]] = {}
    for group in by_key.values():
        # Counter keeps the first of equally common labels.
        label = Counter(labels[row] for row in group).most_common(1)[0][0]
        by_label.setdefault(label, []).append(group)
    return by_label


def _enough(
    keys: Sequence[Hashable], labels: Sequence[str], parts: int, *, drop: bool
) -> dict[str, list[list[int]]]:
    """Groups by label, where every label that is left has a group for each part."""
    rows = list(range(len(keys)))
    # Leaving out one label's rows may free a text that stood under two labels: look again.
    while True:
        by_label = _groups(keys, labels, rows)
        known = sorted({labels[row] for row in rows})
        few = [label for label in known if len(by_label.get(label, [])) < parts]
        if len(known) - len(few) < 2 or (few and not drop):
            raise _too_few(few, len(by_label.get(few[0], [])), parts)
        if not few:
            return by_label
        rows = [row for row in rows if labels[row] not in few]


def _too_few(few: list[str], texts: int, parts: int) -> DataError:
    more = f" (and {len(few) - 1:,} more labels have too few)" if len(few) > 1 else ""
    return DataError(
        "E-TOO-FEW",
        f"The label {shown(few[0])} has {texts} different texts; it needs {parts}, "
        f"one for each part{more}.",
        "add rows, or --rare drop leaves them out where two other labels have enough",
    )


def fill(
    groups: list[list[int]],
    fractions: tuple[float, float, float],
    weights: Sequence[float] | None = None,
) -> tuple[list[int], list[int], list[int]]:
    """Rows of train, validation and test, group by group in the order given.

    Args:
        groups: rows that stay together; at least one group for each share above 0.
        fractions: shares of train, validation and test.
        weights: what a row counts, such as its length; 1 by default.
    """
    sizes = [_size(group, weights) for group in groups]
    total = sum(sizes)
    left = list(range(len(groups)))
    taken: list[list[int]] = []
    # Test first, so that it does not depend on the share of validation.
    for part in (2, 1):
        later = 1 + (part == 2 and fractions[1] > 0)
        quota = round(fractions[part] * total) if fractions[part] > 0 else 0
        most = len(left) - later
        chosen = _take([sizes[i] for i in left], quota, most) if fractions[part] > 0 else set()
        taken.append([row for i in sorted(chosen) for row in groups[left[i]]])
        left = [group for i, group in enumerate(left) if i not in chosen]
    return [row for i in left for row in groups[i]], taken[1], taken[0]


def _size(group: list[int], weights: Sequence[float] | None) -> float:
    return len(group) if weights is None else sum(weights[row] for row in group)


def _take(sizes: list[float], quota: float, most: int) -> set[int]:
    """Positions of at most `most` groups, at least one, that weigh about `quota`."""
    chosen: set[int] = set()
    weight = 0.0
    for i, size in enumerate(sizes):
        if weight + size <= quota and len(chosen) < most:
            chosen.add(i)
            weight += size
    return chosen or {min(range(len(sizes)), key=lambda i: sizes[i])}
