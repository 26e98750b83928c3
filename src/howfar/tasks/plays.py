"""The turns of a play: who speaks where, in which split, and who follows whom.

Idea     a heading is a line that ends in a colon and follows an empty line, as in Tiny Shakespeare
Splits   by place: `PIECES` equal pieces of the text, of ten 8 train, 1 validation, 1 test.
         Alphabet, cast and followers are those of the training pieces
Kept     a text is read once a process
"""

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from howfar.core.errors import DataError
from howfar.data.faults import place
from howfar.data.read import read_text
from howfar.data.shipped import resolve
from howfar.tasks.streams import Integers

HEADING = re.compile(r"(?:\A|(?<=\n\n))([^\s:][^\n:]*):(?=\n)")
PIECES = 80
_SPLIT_OF = np.array([0] * 8 + [1, 2])


class Play(NamedTuple):
    """alphabet: characters from id 2, unknown 1. ids: (W,) of the text. Turns in order: (T,)."""

    alphabet: tuple[str, ...]
    ids: Integers
    starts: Integers  # where each heading begins
    names: tuple[str, ...]  # whose it is
    classes: Integers  # -1: none of the most frequent
    cast: tuple[str, ...]  # names of the classes, the most frequent first
    next: dict[str, int]  # who follows a name most often in training


@lru_cache(maxsize=4)
def read_play(path: str, speakers: int) -> Play:
    """Read a play and number its most frequent speakers.

    Raises:
        DataError: E-TOO-FEW where the training pieces have fewer speakers.
        DataError, UsageError, EnvironmentFault: as for `read_text`.
    """
    found = resolve(path)
    text, _, _ = read_text(found)
    headings = list(HEADING.finditer(text))
    starts_T = np.array([heading.start(1) for heading in headings], dtype=np.int64)
    names = tuple(heading.group(1) for heading in headings)
    training = [
        name for name, part in zip(names, parts_of(starts_T, len(text)), strict=True) if part == 0
    ]
    counts = Counter(training)
    if len(counts) < speakers:
        message = (
            f"The training part of {place(str(found))} has {len(counts)} speakers, fewer than "
            f"speakers={speakers}. A heading is a line that ends in a colon, after an empty line."
        )
        raise DataError("E-TOO-FEW", message, "a smaller `speakers`, or a play with headings")
    cast = sorted(counts, key=lambda name: (-counts[name], name))[:speakers]
    number = {name: label for label, name in enumerate(cast)}
    parts_W = parts_of(np.arange(len(text)), len(text))
    codes_W = np.frombuffer(text.encode("utf-32-le"), dtype="<u4").astype(np.int64)
    known = np.unique(codes_W[parts_W == 0])
    at_W = np.minimum(np.searchsorted(known, codes_W), len(known) - 1)
    ids_W = np.where(known[at_W] == codes_W, at_W + 2, 1)
    classes_T = np.array([number.get(name, -1) for name in names], dtype=np.int64)
    follows = _followers(names, classes_T, parts_of(starts_T, len(text)))
    alphabet = tuple(chr(code) for code in known)
    return Play(alphabet, ids_W, starts_T, names, classes_T, tuple(cast), follows)


def parts_of(places: Integers, size: int) -> Integers:
    """The split of each place of the text, by its piece."""
    return np.asarray(_SPLIT_OF[places * PIECES // size % 10])


def _followers(names: Sequence[str], classes_T: Integers, parts_T: Integers) -> dict[str, int]:
    """The class that follows each name most often in the training text."""
    counts: dict[str, Counter[int]] = {}
    for turn in range(1, len(names)):
        if parts_T[turn] == parts_T[turn - 1] == 0 and classes_T[turn] >= 0:
            counts.setdefault(names[turn - 1], Counter())[int(classes_T[turn])] += 1
    return {
        name: min(seen, key=lambda label: (-seen[label], label)) for name, seen in counts.items()
    }


@lru_cache(maxsize=4)
def said_before(path: str, speakers: int) -> Integers:
    """Where the name in each heading stood last before: (T,), far before the text where never."""
    play = read_play(path, speakers)
    latest: dict[str, int] = {}
    before_T = np.full_like(play.starts, -len(play.ids))
    for turn, name in enumerate(play.names):
        before_T[turn] = latest.get(name, before_T[turn])
        latest[name] = int(play.starts[turn])
    return before_T
