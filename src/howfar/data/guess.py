"""What encoding a file is likely in, where nobody said.

Idea     a byte-order mark decides; else UTF-8 if it fits; else, by the bytes around the first that
         does not fit: UTF-8 with a few wrong bytes, UTF-16 without a mark, or an older encoding
Source   charset-normalizer, over the encodings that texts are still met in
"""

import codecs
import re
from dataclasses import dataclass

import charset_normalizer

from howfar.core.errors import DataError
from howfar.data.faults import place
from howfar.data.source import Source

# Longest mark first: the UTF-32 mark begins with the UTF-16 mark.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_CHUNK = 1 << 17
_SAMPLE = 1 << 14
_CANDIDATES = (
    *("cp1252", "gb18030", "big5", "cp932", "euc_jp", "cp949", "cp1251", "koi8_r", "cp1250"),
    *("cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874", "latin_1"),
)
_LATIN = ("cp1252", "cp1250", "cp1254", "cp1257")  # the more usual first
# Neither ASCII, nor a letter, nor an apostrophe.
_SIGN_IN_WORD = re.compile(r"(?<=[A-Za-z])(?:[^\x00-\x7f\u2018\u2019](?<!\w)|\ufffd)")


@dataclass(frozen=True, slots=True)
class Settled:
    """codec: what to read with. mixed: UTF-8 with some wrong bytes. notes: the guess, said."""

    codec: str
    mixed: bool
    notes: tuple[str, ...]


def settle(source: Source, *, marks_only: bool = False) -> Settled:
    """Read the source up to its first byte that is not UTF-8, guess, and rewind.

    Args:
        source: an open file.
        marks_only: UTF-8 without a byte-order mark, whatever the bytes.

    Raises:
        DataError: E-ENCODING where nothing fits; E-ARCHIVE.
    """
    for mark, name in MARKS.items():
        if source.head.startswith(mark):
            said = f"It was read as {name.upper()}, as its byte-order mark says."
            return Settled(name, False, (said,))
    if marks_only:
        return Settled("utf-8", False, ())
    unmarked = _utf16(source.head)
    if unmarked is not None:
        said = f"W-ENCODING: no encoding was named and it has no mark; it was read as {unmarked}."
        return Settled(unmarked, False, (said,))
    sample = _around_first_wrong(source)
    source.rewind()
    if sample is None:
        return Settled("utf-8", False, ())
    text = sample.decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    if sum(not c.isascii() for c in text) - wrong > 4 * wrong:
        return Settled("utf-8", True, ())
    codec = likely(sample)
    if codec is None:
        message = f"Cannot tell the encoding of {place(source.path)}: it is not UTF-8."
        raise DataError("E-ENCODING", message, "name it, such as --encoding cp1252")
    said = f"W-ENCODING: it is not UTF-8; it was read as {codec}, a guess from its bytes."
    return Settled(codec, False, (said,))


def likely(sample: bytes) -> str | None:
    """The codec that makes the most sense of bytes that are not UTF-8, or None."""
    best = charset_normalizer.from_bytes(sample, cp_isolation=list(_CANDIDATES)).best()
    if best is None or best.encoding in ("ascii", "utf_8"):
        return None
    # Where several codecs read the same, the most usual one is named.
    same = [name for name in _CANDIDATES if name in best.could_be_from_charset]
    named = (same or [best.encoding])[0]
    if named in _LATIN:
        named = _fitting(sample)
    return named.replace("_", "-")


def _fitting(sample: bytes) -> str:
    """Of the codecs for Latin letters, the one with the fewest signs inside words."""

    def signs(codec: str) -> int:
        return len(_SIGN_IN_WORD.findall(sample.decode(codec, "replace")))

    return min(_LATIN, key=signs)


def _utf16(head: bytes) -> str | None:
    if len(head) < 4:
        return None
    first, second = head[0::2].count(0), head[1::2].count(0)
    most = 0.4 * (len(head) // 2)
    if second > most and not first:
        return "utf-16-le"
    return "utf-16-be" if first > most and not second else None


def _around_first_wrong(source: Source) -> bytes | None:
    """Up to 32 KiB around the first byte that is not UTF-8, cut at line ends."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    before = b""
    while True:
        data = source.read(_CHUNK)
        try:
            decoder.decode(data, not data)
        except UnicodeDecodeError as fault:
            whole = before[-_SAMPLE:] + data
            at = len(whole) - len(fault.object) + fault.start
            while data and len(whole) < at + _SAMPLE:
                data = source.read(_CHUNK)
                whole += data
            return _whole_lines(whole[max(0, at - _SAMPLE) : at + _SAMPLE])
        if not data:
            return None
        before = data


def _whole_lines(sample: bytes) -> bytes:
    start, end = sample.find(b"\n") + 1, sample.rfind(b"\n") + 1
    inner = sample[start:end]
    # A border may cut a character in two.
    return sample if inner.isascii() else inner
