"""Minimal pairs: does a language model find the good sentence likelier than the bad one?

Idea      a pair differs in one point of grammar; a model scores where its surprise, in nats over
          the whole sentence, is less for the good one; equal surprise counts half. Chance is 1/2
Files     JSON Lines, gzip or not: BLiMP ("sentence_good", "sentence_bad", "UID") and the pairs of
          Marvin & Linzen ("sentences": [good, bad], "test"; where a row of theirs has two bad
          sentences, the good one is compared with each)
Ladder    the sentence of fewer words (fewer characters where both have as many); the sentence of
          commoner words, by counts of a text, whatever their order
Interval  Wilson, by phenomenon. Pairs of one template share words, so that for files made of few
          templates it is too narrow
Source    Warstadt et al. 2020, https://arxiv.org/abs/1912.00582; Marvin & Linzen 2018,
          https://arxiv.org/abs/1808.09031
"""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from howfar.core.errors import DataError, UsageError
from howfar.data.decode import lines
from howfar.data.faults import Fault, error, place
from howfar.data.jsonl import Object, parse
from howfar.data.source import opened

CHANCE = 0.5
Nats: TypeAlias = Callable[[Sequence[str]], ArrayLike]

_LINE = 1 << 20
_Z = 1.959963984540054  # 95 %


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sentences, and what they differ in."""

    good: str
    bad: str
    phenomenon: str


@dataclass(frozen=True, slots=True)
class Preference:
    """Share of pairs whose good sentence is likelier, ties half, with its 95 % interval."""

    phenomenon: str
    pairs: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Preferences:
    """Of all pairs together, and by phenomenon in the order of the file."""

    overall: Preference
    phenomena: tuple[Preference, ...]
    chance: float = CHANCE


def read_pairs(path: str | os.PathLike[str]) -> list[Pair]:
    """Pairs of a file of either kind, row by row.

    Raises:
        DataError: E-PAIRS for a row of neither kind, E-EMPTY for a file without rows, E-JSON.
        UsageError, EnvironmentFault: where the file cannot be opened.
    """
    name = os.fspath(path)
    with opened(path) as source:
        pairs = list(_pairs(parse(lines(source, None, _LINE)), name))
    if not pairs:
        raise DataError("E-EMPTY", f"No pairs in {place(name)}.", "a file of minimal pairs")
    return pairs


def _pairs(rows: Iterator[tuple[int, Object] | Fault], name: str) -> Iterator[Pair]:
    for row in rows:
        if isinstance(row, Fault):
            raise error(row, name)
        line, found = row
        good, bad, phenomenon = _fields(found)
        if not good or not bad or not phenomenon:
            why = 'it holds neither "sentence_good", "sentence_bad", "UID" nor "sentences", "test"'
            hint = "a file of BLiMP or of Marvin & Linzen"
            raise error(Fault(line, "E-PAIRS", "No minimal pair", why, "no pair", hint), name)
        yield from (Pair(good, text, phenomenon) for text in bad)


def _fields(found: Object) -> tuple[str, list[str], str]:
    """The good sentence, all bad ones, and the phenomenon; empty where there is none."""
    sentences = found.get("sentences", [found.get("sentence_good"), found.get("sentence_bad")])
    given = sentences if isinstance(sentences, list) else []
    texts = [text for text in given if isinstance(text, str) and text.strip()]
    phenomenon = found.get("UID", found.get("test"))
    if len(texts) < 2 or len(texts) < len(given) or not isinstance(phenomenon, str):
        return "", [], ""
    return texts[0], texts[1:], phenomenon


def preferences(pairs: Sequence[Pair], nats: Nats, *, rows: int = 256) -> Preferences:
    """Score pairs by a language model.

    Args:
        pairs: at least one.
        nats: texts -> (N,) surprise of each whole text, in nats, less where it is likelier. A sum
            over tokens: a mean would favour long words.
        rows: pairs scored at once.

    Raises:
        UsageError: E-OPTION without pairs, or where a surprise is missing or not a number.
    """
    if not pairs:
        raise UsageError("E-OPTION", "There are no pairs to score.", "give at least one pair")
    wins = np.concatenate(
        [_wins(pairs[start : start + rows], nats) for start in range(0, len(pairs), rows)]
    )
    by_name: dict[str, list[float]] = {}
    for pair, win in zip(pairs, wins.tolist(), strict=True):
        by_name.setdefault(pair.phenomenon, []).append(win)
    phenomena = tuple(_preference(name, found) for name, found in by_name.items())
    return Preferences(_preference("all", wins.tolist()), phenomena)


def baselines(pairs: Sequence[Pair], texts: Iterable[str] = ()) -> dict[str, Preferences]:
    """The simplest rules, to stand beside a model's score.

    texts: what words are counted in, such as the model's training text; without any, the rule on
    common words is left out.
    """
    ladder = {"the shorter sentence": preferences(pairs, shortness)}
    counts = Counter(word for text in texts for word in _words(text))
    if counts:
        ladder["the commoner words"] = preferences(pairs, unigram(counts))
    return ladder


def shortness(texts: Sequence[str]) -> list[float]:
    """Words, and a little for every character: (N,)."""
    return [len(text.split()) + len(text) * 1e-6 for text in texts]


def unigram(counts: Counter[str]) -> Nats:
    """Surprise under word counts with one added to each, and one for all unknown words."""
    total = math.log(counts.total() + len(counts) + 1)

    def nats(texts: Sequence[str]) -> list[float]:
        # Sorted, so that equal bags of words are equal to the last bit.
        return [
            math.fsum(total - math.log(1 + counts[word]) for word in sorted(_words(text)))
            for text in texts
        ]

    return nats


def _words(text: str) -> list[str]:
    return [word.strip(".,;:!?\"'()").lower() for word in text.split()]


def _wins(pairs: Sequence[Pair], nats: Nats) -> np.ndarray:
    """1 where the good sentence is likelier, 0.5 where both are as likely: (N,)."""
    texts = [pair.good for pair in pairs] + [pair.bad for pair in pairs]
    found = np.asarray(nats(texts), dtype=np.float64)
    if found.shape != (len(texts),) or np.isnan(found).any():
        what = f"shape {found.shape}" if found.shape != (len(texts),) else "nan"
        message = f"A model must give one number for each of {len(texts)} texts, got {what}."
        raise UsageError("E-OPTION", message, "give the surprise of every text in nats")
    good, bad = found[: len(pairs)], found[len(pairs) :]
    return np.where(good == bad, 0.5, (good < bad).astype(np.float64))


def _preference(name: str, wins: Sequence[float]) -> Preference:
    num, share = len(wins), math.fsum(wins) / len(wins)
    centre = share + _Z**2 / (2 * num)
    half = _Z * math.sqrt(share * (1 - share) / num + _Z**2 / (4 * num**2))
    low, high = ((centre + side * half) / (1 + _Z**2 / num) for side in (-1, 1))
    # At 0 and at 1 the interval touches the end exactly; rounding must not move it.
    return Preference(
        name,
        num,
        share,
        0.0 if share == 0 else max(0.0, low),
        1.0 if share == 1 else min(1.0, high),
    )
