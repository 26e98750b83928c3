"""The pieces of a unigram language model, learned the same way every time.

Idea     many frequent substrings of words are taken; words are cut into the likeliest pieces, the
         pieces' probabilities are set from how often they were used, and the quarter whose loss
         costs least is left out, until the vocabulary fits
Why      the library's own trainer gives other pieces in every process, since it walks its words
         in the order of a hash seeded at random; the cutting itself is the library's
Units    text is written in the 256 letters of the byte-level alphabet; scores are log
         probabilities (nats)
Source   Kudo 2018, arXiv 1804.10959, with the likeliest cut in place of all cuts
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, models

Floats = npt.NDArray[np.float64]

# Visible bytes stand for themselves, the rest for U+0100 onwards.
_VISIBLE = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
_HIDDEN = [byte for byte in range(256) if byte not in _VISIBLE]
ALPHABET = "".join(
    chr(byte) if byte in _VISIBLE else chr(0x100 + _HIDDEN.index(byte)) for byte in range(256)
)

_LONGEST = 16  # letters of a piece
_WORDS = 100_000  # the most frequent are learned from
_WORD_LETTERS = 64
_SUBSTRINGS = 8_000_000  # counted at most
_DISTINCT = 2_000_000  # words counted at a time; beyond, those seen once are forgotten
_SEEDS = 4  # pieces to begin with, for each that is wanted
_SHRINK = 0.75
_ROUNDS = 2
_AT_ONCE = 4096
# As the byte-level pattern of the library, up to marks and rarer digits.
SPLIT = re.compile(r"'(?:[stmd]|re|ve|ll)| ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s+")
_BYTES = {byte: ALPHABET[byte] for byte in range(256)}


def word_counts(texts: Iterable[str], min_count: int) -> Counter[str]:
    """How often each word occurs, spaces before it included, written in `ALPHABET`."""
    counts: Counter[str] = Counter()
    for text in texts:
        for start in range(0, len(text), 1 << 20):
            counts.update(SPLIT.findall(text[start : start + (1 << 20)]))
            if len(counts) > _DISTINCT:
                counts = Counter({word: n for word, n in counts.items() if n > 1})
    return Counter(
        {
            word.encode().decode("latin-1").translate(_BYTES): n
            for word, n in counts.items()
            if n >= min_count
        }
    )


def learn_pieces(counts: Mapping[str, int], size: int) -> list[tuple[str, float]]:
    """At most `size` pieces with their scores, all letters of `ALPHABET` among them.

    Args:
        counts: word -> occurrences; words in `ALPHABET`.
        size: at least 256.

    Returns:
        (piece, log probability), likeliest first.
    """
    words = sorted(counts, key=lambda word: (-counts[word], word))[:_WORDS]
    times = np.asarray([counts[word] for word in words], dtype=np.float64)
    pieces = [*ALPHABET, *_seeds(words, counts, _SEEDS * (size - 256))]
    scores: Floats = np.full(len(pieces), -np.log(len(pieces)))
    used: Floats = np.zeros(len(pieces))
    while True:
        for _ in range(_ROUNDS):
            used = _uses(words, times, pieces, scores)
            # Letters stay, whether used or not.
            kept = [i for i in range(len(pieces)) if i < 256 or used[i] > 0]
            pieces, used = [pieces[i] for i in kept], used[kept]
            scores = np.log(np.maximum(used, 0.5) / max(1.0, used.sum()))
        if len(pieces) <= size:
            break
        most = max(size, int(_SHRINK * len(pieces)))
        worth = _worth(pieces, scores, used)
        order = sorted(range(256, len(pieces)), key=lambda i: (-worth[i], pieces[i]))
        kept = [*range(256), *sorted(order[: most - 256])]
        pieces, scores = [pieces[i] for i in kept], scores[kept]
    # With ten binary places a score is written and read again exactly.
    found = zip(pieces, (np.round(scores * 1024) / 1024).tolist(), strict=True)
    return sorted(found, key=lambda item: (-item[1], item[0]))


def _seeds(words: list[str], counts: Mapping[str, int], most: int) -> list[str]:
    """Substrings of two letters or more that cover most of the text."""
    found: dict[str, int] = {}
    left = _SUBSTRINGS
    for word in words:
        text, times = word[:_WORD_LETTERS], counts[word]
        for start in range(len(text) - 1):
            for end in range(start + 2, min(len(text), start + _LONGEST) + 1):
                piece = text[start:end]
                found[piece] = found.get(piece, 0) + times
        left -= len(text) * _LONGEST
        if left < 0:
            break
    frequent = [piece for piece, times in found.items() if times > 1]
    return sorted(frequent, key=lambda piece: (-found[piece] * len(piece), piece))[:most]


def _uses(words: list[str], times: Floats, pieces: list[str], scores: Floats) -> Floats:
    """(pieces,) how often each is used when every word is cut at its likeliest."""
    scored = list(zip(pieces, scores.tolist(), strict=True))
    # The last is the unknown piece, which no word needs.
    library = Tokenizer(models.Unigram([*scored, ("[ unknown ]", 0.0)], len(scored), False))
    used = np.zeros(len(pieces) + 1)
    for start in range(0, len(words), _AT_ONCE):
        cut = library.encode_batch_fast(words[start : start + _AT_ONCE], add_special_tokens=False)
        ids = [encoded.ids for encoded in cut]
        weights = np.repeat(times[start : start + _AT_ONCE], [len(row) for row in ids])
        flat = np.asarray([i for row in ids for i in row], dtype=np.int64)
        used += np.bincount(flat, weights, minlength=len(used))
    return used[:-1]


def _worth(pieces: list[str], scores: Floats, used: Floats) -> Floats:
    """(pieces,) log likelihood that would be lost without each piece."""
    known = dict(zip(pieces, scores.tolist(), strict=True))
    other = np.asarray([_without(piece, known) if len(piece) > 1 else 0.0 for piece in pieces])
    worth: Floats = used * (scores - other)
    return worth


def _without(piece: str, known: Mapping[str, float]) -> float:
    """Score of the likeliest way to write a piece with other pieces."""
    best = [0.0]
    for end in range(1, len(piece) + 1):
        starts = range(1 if end == len(piece) else 0, end)
        best.append(
            max(
                best[start] + known[piece[start:end]]
                for start in starts
                if piece[start:end] in known
            )
        )
    return best[-1]
