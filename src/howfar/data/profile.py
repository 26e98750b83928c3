"""What can be told of texts by looking: lengths, scripts, repeats.

Idea     characters are counted once, by code point; a script is the first word of a letter's name
Source   https://www.unicode.org/reports/tr24 for what a script is; names stand in for its table
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from howfar.record.described import Lengths

_AT_ONCE = 1 << 22  # characters counted together
_SIGNS = re.compile(r"[\W_]+")
# First words of letter names that are no script, or that share one.
_SCRIPTS = {
    "CJK": "Han",
    "IDEOGRAPHIC": "Han",
    "KANGXI": "Han",
    "HALFWIDTH": "Katakana",
    "FULLWIDTH": "Latin",
    "FEMININE": "Latin",
    "MASCULINE": "Latin",
    "MICRO": "Greek",
    "MATHEMATICAL": "mathematical",
}


def lengths(values: npt.NDArray[np.int64], unit: str) -> Lengths:
    """Quantiles, each a length that occurs, and a histogram by powers of two.

    Args:
        values: (rows,) lengths; at least one.
        unit: what is counted.
    """
    p50, p90, p95 = np.percentile(values, [50, 90, 95], method="inverted_cdf")
    starts = [0, 1]
    while starts[-1] <= values.max():
        starts.append(2 * starts[-1])
    counts, _ = np.histogram(values, bins=starts)
    first = int(np.flatnonzero(counts)[0])
    return Lengths(
        unit=unit,
        total=int(values.sum()),
        shortest=int(values.min()),
        median=int(p50),
        p90=int(p90),
        p95=int(p95),
        longest=int(values.max()),
        starts=tuple(starts[first:-1]),
        counts=tuple(int(count) for count in counts[first:]),
    )


def scripts(texts: Sequence[str]) -> dict[str, float]:
    """Script -> share of the letters, greatest first."""
    found: Counter[str] = Counter()
    for character, count in _characters(texts).items():
        if unicodedata.category(character)[0] == "L":
            found[_script(character)] += count
    total = found.total()
    return {name: count / total for name, count in found.most_common()}


def repeats(texts: Sequence[str], forms: Sequence[str]) -> tuple[int, int, int]:
    """Rows whose text stands earlier: letter by letter, else in normal form, else without signs.

    Args:
        texts: as they stand.
        forms: their normal forms, as `howfar.data.split.normalised` gives them.
    """
    exact, keys = len(set(texts)), set(forms)
    # A text of signs alone keeps them: else all such texts would be one.
    bare = {_SIGNS.sub("", key) or key for key in keys}
    return len(texts) - exact, exact - len(keys), len(keys) - len(bare)


def _characters(texts: Sequence[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    held: list[str] = []
    size = 0
    for text in (*texts, None):
        if text is not None:
            held.append(text)
            size += len(text)
        if size >= _AT_ONCE or (text is None and size):
            data = "".join(held).encode("utf-32-le", "surrogatepass")
            points, times = np.unique(np.frombuffer(data, np.uint32), return_counts=True)
            counts.update({chr(p): int(n) for p, n in zip(points, times, strict=True)})
            held, size = [], 0
    return counts


def _script(character: str) -> str:
    first = unicodedata.name(character, "unknown").split()[0].split("-")[0]
    return _SCRIPTS.get(first, first.capitalize())
