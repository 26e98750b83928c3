r"""What one token is, and where a long text can be cut without changing its tokens.

Units    byte     UTF-8 byte         char  Unicode code point
         word     lower-cased \w+, or one other character that is not white space
         bpe      byte-level byte-pair encoding
         unigram  byte-level pieces of a unigram language model
Ids      0 padding, 1 unknown, then the vocabulary; for bytes 0 padding, then byte value + 1
"""

import re
from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["byte", "char", "word", "bpe", "unigram"]

PADDING, UNKNOWN = 0, 1
UNITS = {
    "byte": "byte",
    "char": "character",
    "word": "word",
    "bpe": "piece",
    "unigram": "piece",
}
# With a space inside, no text can produce these names in any of the units.
SPECIAL = ("[ padding ]", "[ unknown ]")

_CHUNK = 1 << 16
_LONGEST = 1 << 20  # characters held in a stream while no place to cut is found
# The byte-level pattern takes one space with what follows it, and a line break alone, where each
# stands between two visible characters.
_BYTE_LEVEL = re.compile(r"(?<=\S)(?= \S)|(?<=\S)\n(?=\S)")
_CUT = {"word": re.compile(r"(?<=\S)\s(?=\S)"), "bpe": _BYTE_LEVEL, "unigram": _BYTE_LEVEL}


def pieces(text: str, kind: Kind) -> Iterator[str]:
    """A text in stretches of at least 65,536 characters that tokenise as they do together."""
    start, cut = 0, _CUT.get(kind)
    while cut is not None and len(text) - start > _CHUNK:
        found = cut.search(text, start + _CHUNK)
        if found is None:
            break
        yield text[start : found.end()]
        start = found.end()
    yield text[start:]


def streamed(parts: Iterable[str], kind: Kind) -> Iterator[str]:
    """A text that comes in parts, in stretches that tokenise as they do together.

    A stretch without any place to cut is cut after 1,048,576 characters all the same, so that
    memory stays bounded.
    """
    cut = _CUT.get(kind)
    if cut is None:
        yield from parts
        return
    held: list[str] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size < _CHUNK:
            continue
        text = "".join(held)
        at = _last_cut(text, cut)
        if at:
            yield text[:at]
        held, size = [text[at:]], len(text) - at
    if size:
        yield "".join(held)


def _last_cut(text: str, cut: re.Pattern[str]) -> int:
    """The last place to cut, 0 for none; the end of a text that is too long to hold."""
    back, found = 256, [0]
    while found == [0] and back <= 8 * len(text) + 256:
        start = max(0, len(text) - back)
        found = [0, *(match.end() for match in cut.finditer(text, start))][-1:]
        back *= 8
    return len(text) if found == [0] and len(text) >= _LONGEST else found[0]
