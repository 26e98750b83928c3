r"""Which tokeniser a corpus gets, learned from train alone; and words that keep their case.

Idea     answers that are written out, and tokens that are given, must come back as they were:
         `cased` keeps capitals, `given` also keeps what stands between two spaces in one piece
Units    cased  \w+, or one other character that is not white space
         given  whatever stands between white space
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from howfar.core.errors import UsageError
from howfar.data.aims.options import CorpusOptions
from howfar.data.ragged import Ragged
from howfar.data.spool import Stored, some
from howfar.data.tokenise import (
    UNITS,
    UNKNOWN,
    Kind,
    Tokeniser,
    default_kind,
    script_note,
    train_tokeniser,
)
from howfar.data.units import SPECIAL

_PATTERNS = {"cased": r"\w+|[^\w\s]", "given": r"\S+"}
SAMPLE = 100_000_000  # bytes of rows in a file that words and pieces are learned from
_MUCH = 0.05  # share of unknown tokens from which on it is said


def learned(
    options: CorpusOptions, texts: Sequence[str], kind: Kind | None = None
) -> tuple[Tokeniser, tuple[str, ...]]:
    """The tokeniser asked for, or the one that suits the texts, and what is to be said."""
    notes: list[str | None] = []
    chosen = kind or options.tokens
    if chosen is None:
        chosen, said = default_kind(texts)
        notes.append(said)
    read, said = sampled(texts, chosen)
    tokeniser = train_tokeniser(chosen, read, max_vocabulary=options.max_vocabulary)
    notes += [said, script_note(tokeniser, texts)]
    return tokeniser, tuple(note for note in notes if note)


def sampled(texts: Sequence[str], kind: Kind) -> tuple[Sequence[str], str | None]:
    """What a tokeniser is learned from, and a note where that is not all of the texts."""
    size = texts.size if isinstance(texts, Stored) else 0
    if kind in ("byte", "char") or size <= SAMPLE:
        return texts, None
    count = max(1, len(texts) * SAMPLE // size)
    rows = np.arange(count, dtype=np.int64) * len(texts) // count
    return some(texts, rows), (
        f"The {UNITS[kind]}s were learned from {count:,} of the {len(texts):,} rows to train on, "
        "spread evenly over them."
    )


def case_kept(
    texts: Sequence[str], most: int, how: Literal["cased", "given"], *, min_count: int = 1
) -> Tokeniser:
    """A word tokeniser without lower-casing.

    Args:
        texts: the training texts, and no others.
        most: ids at most, padding and unknown included.
        how: see the header.
        min_count: how often a token must occur to be known.
    """
    if most < 3:
        raise UsageError("E-OPTION", "--max-vocabulary must be at least 3 for word.")
    pattern = re.compile(_PATTERNS[how])
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(pattern.findall(text))
    common = sorted((t for t in counts if counts[t] >= min_count), key=lambda t: (-counts[t], t))
    vocabulary = {name: i for i, name in enumerate([*SPECIAL, *common[: most - len(SPECIAL)]])}
    library = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL[UNKNOWN]))
    library.pre_tokenizer = pre_tokenizers.Split(Regex(_PATTERNS[how]), "removed", invert=True)
    return Tokeniser("word", library)


def unknown(tokeniser: Tokeniser, held: Sequence[Ragged]) -> tuple[int, tuple[str, ...]]:
    """Unknown tokens of the held parts, and a warning where they are many."""
    count = sum(tokeniser.count_unknown(ids) for part in held for ids in part)
    total = sum(part.num_tokens for part in held)
    if count <= _MUCH * total:
        return count, ()
    said = (
        f"W-UNKNOWN: {count:,} of {total:,} tokens of validation and test "
        f"({100 * count / total:.1f} %) are outside the vocabulary of {tokeniser.vocabulary:,}."
    )
    return count, (said,)
