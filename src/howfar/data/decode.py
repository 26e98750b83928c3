"""Bytes to lines of text, strictly: a wrong byte is named by row and offset, never replaced.

Idea     UTF-8 unless an encoding is named; a guess is offered in the hint, never applied
Lines    end at LF, CR LF or CR only: U+2028, VT, FF and NEL belong to the text
Memory   a line is refused as soon as it passes the cap, so a huge line costs no more than the cap
"""

import codecs
import io
from collections.abc import Iterator

import charset_normalizer

from howfar.core.errors import DataError, UsageError, shown
from howfar.data.faults import place
from howfar.data.source import Source

_CHUNK = 1 << 17
# Longest mark first: the UTF-32 mark begins with the UTF-16 mark.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Codecs that rewrite escapes or names rather than decode a file.
_NOT_FOR_FILES = {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "utf-7"}


def decoded(source: Source, encoding: str | None) -> Iterator[str]:
    """Yield the file's text in pieces, without its byte-order mark.

    Raises:
        DataError: E-ENCODING with row and byte offset.
        UsageError: E-OPTION for an unknown encoding.
    """
    decoder = codecs.getincrementaldecoder(_named(source, encoding))("strict")
    offset, line, begun, last = 0, 1, False, ""
    while True:
        data = source.read(_CHUNK)
        try:
            text = decoder.decode(data, not data)
        except UnicodeError as fault:
            raise _undecodable(source, fault, data, (offset, line, last)) from fault
        if text and not begun:
            text, begun = text.removeprefix("\ufeff"), True
        if text:
            line += _breaks(last + text) - _breaks(last)
            last = text[-1]
            yield text
        offset += len(data)
        if not data:
            return


def lines(source: Source, encoding: str | None, cap: int) -> Iterator[str]:
    """Yield physical lines with their endings.

    Args:
        source: an open file.
        encoding: a Python codec, or None for UTF-8.
        cap: the most characters one line may have.

    Raises:
        DataError: E-LINE for a longer line, else as `decoded`.
    """
    number, held, size = 1, "", 0
    parts: list[str] = []
    for text in decoded(source, encoding):
        whole = held + text
        # A CR at the end may be the first half of CR LF.
        held = "\r" if whole.endswith("\r") else ""
        # newline="" splits at LF, CR LF and CR, and keeps them.
        for piece in io.StringIO(whole.removesuffix(held), newline=""):
            parts.append(piece)
            size += len(piece)
            _check_length(size, cap, source.path, number)
            if piece[-1] in "\r\n":
                yield "".join(parts)
                number, size = number + 1, 0
                parts.clear()
    if parts or held:
        yield "".join([*parts, held])


def _breaks(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def _check_length(size: int, cap: int, path: str, number: int) -> None:
    if size > cap:
        raise DataError(
            "E-LINE",
            f"Line too long in {place(path, number)}: it has more than {cap:,} characters.",
            "check that the file is text with one row a line",
        )


def _named(source: Source, encoding: str | None) -> str:
    if encoding is not None:
        return _known(encoding)
    for mark, name in _MARKS.items():
        if source.head.startswith(mark):
            raise DataError(
                "E-ENCODING",
                f"Cannot read {place(source.path)} as UTF-8: it is {name.upper()}.",
                f"use --encoding {name}",
            )
    return "utf-8"


def _known(encoding: str) -> str:
    try:
        info = codecs.lookup(encoding)
    except (LookupError, ValueError):
        info = None
    plain = info is not None and getattr(info, "_is_text_encoding", True)
    if info is None or not plain or info.name.replace("_", "-") in _NOT_FOR_FILES:
        raise UsageError(
            "E-OPTION",
            f"{shown(encoding)} is not an encoding for --encoding.",
            "such as utf-8, utf-16, latin-1, cp1252, gb18030",
        )
    return info.name


def _undecodable(
    source: Source, fault: UnicodeError, data: bytes, at: tuple[int, int, str]
) -> DataError:
    offset, line, last = at
    sample, name = data, "in the encoding named"
    if isinstance(fault, UnicodeDecodeError):
        # The decoder may hold bytes of the chunk before.
        held = len(fault.object) - len(data)
        good = fault.object[: fault.start].decode(fault.encoding, "replace")
        offset += fault.start - held
        line += _breaks(last + good) - _breaks(last)
        name = fault.encoding.upper()
        sample = fault.object[max(0, fault.start - 4096) : fault.start + 4096]
    return DataError(
        "E-ENCODING",
        f"Cannot decode byte {offset:,} in {place(source.path, line)}: it is not {name}.",
        _guess(sample),
    )


def _guess(sample: bytes) -> str:
    match = charset_normalizer.from_bytes(sample).best()
    # ASCII and UTF-8 cannot be right here: the bytes were refused.
    if match is None or match.encoding in ("ascii", "utf_8"):
        return "name it, such as --encoding latin-1, --encoding cp1252 or --encoding gb18030"
    return f"name it; a guess from the bytes near it: --encoding {match.encoding.replace('_', '-')}"
