"""Bytes to lines of text: a wrong byte is named by row and offset, and never changed unasked.

Idea     UTF-8 unless an encoding is named; what else it may be is offered in the hint. Where bad
         rows may be left out, another encoding is guessed and the guess is said (`guess`)
Lines    end at LF, CR LF or CR only: U+2028, VT, FF and NEL belong to the text
Memory   a line is refused as soon as it passes the cap, so a huge line costs no more than the cap
"""

import codecs
import io
import threading
from collections.abc import Iterator
from typing import Literal, TypeAlias

from howfar.core.errors import DataError, UsageError, shown
from howfar.data.faults import place
from howfar.data.guess import MARKS, likely, settle
from howfar.data.source import Source

_CHUNK = 1 << 17
# Codecs that rewrite escapes or names rather than decode a file.
_NOT_FOR_FILES = {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "utf-7"}


Errors: TypeAlias = Literal["strict", "replace"]


class Text:
    """How the bytes of one file become text, and what had to be said about it.

    guess: whether another encoding than UTF-8 may be guessed where none is named; single wrong
    bytes in UTF-8 then arrive as U+DC80 to U+DCFF, so that their rows can be left out.
    notes: complete when everything has been read.
    """

    def __init__(
        self, encoding: str | None = None, errors: Errors = "strict", *, guess: bool = False
    ) -> None:
        if errors not in ("strict", "replace"):
            message = f"--encoding-errors {shown(errors)} is neither strict nor replace."
            raise UsageError("E-OPTION", message)
        self.encoding = encoding
        self.errors = errors
        self.guess = guess
        self.replaced = 0
        self._said: list[str] = []
        self._first = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what was guessed or replaced."""
        if not self.replaced:
            return tuple(self._said)
        bytes_ = (
            "1 wrong place was" if self.replaced == 1 else f"{self.replaced:,} wrong places were"
        )
        said = f"W-ENCODING: {bytes_} replaced by U+FFFD, the first in row {self._first:,}."
        return (*self._said, said)

    def codec(self, source: Source) -> tuple[str, str]:
        """The codec's name and its way with errors.

        Raises:
            DataError: E-ENCODING where a byte-order mark speaks against UTF-8.
            UsageError: E-OPTION for an unknown encoding.
        """
        self._said.clear()
        if self.encoding is not None:
            return _known(self.encoding), _HANDLERS[self.errors]
        if self.guess:
            found = settle(source, marks_only=self.errors == "replace")
            self._said += found.notes
            return found.codec, "surrogateescape" if found.mixed else _HANDLERS[self.errors]
        for mark, name in MARKS.items():
            if source.head.startswith(mark):
                raise DataError(
                    "E-ENCODING",
                    f"Cannot read {place(source.path)} as UTF-8: it is {name.upper()}.",
                    f"use --encoding {name}",
                )
        return "utf-8", _HANDLERS[self.errors]

    def count(self, new: int, line: int) -> None:
        """Count replaced places that a piece beginning in `line` has."""
        if new and not self.replaced:
            self._first = line
        self.replaced += new


def decoded(source: Source, how: Text | str | None) -> Iterator[str]:
    """Yield the file's text in pieces, without its byte-order mark.

    Args:
        source: an open file.
        how: which encoding, and what to do about wrong bytes; a codec or None: strictly.

    Raises:
        DataError: E-ENCODING with row and byte offset.
        UsageError: E-OPTION for an unknown encoding.
    """
    how = how if isinstance(how, Text) else Text(how)
    codec, errors = how.codec(source)
    decoder = codecs.getincrementaldecoder(codec)(errors)
    offset, line, begun, last = 0, 1, False, ""
    while True:
        data = source.read(_CHUNK)
        _replaced.count = 0
        try:
            text = decoder.decode(data, not data)
        except UnicodeError as fault:
            raise _undecodable(source, fault, data, (offset, line, last)) from fault
        if _replaced.count:
            how.count(_replaced.count, line + _breaks(last + _replaced.before) - _breaks(last))
        if text and not begun:
            text, begun = text.removeprefix("\ufeff"), True
        if text:
            line += _breaks(last + text) - _breaks(last)
            last = text[-1]
            yield text
        offset += len(data)
        if not data:
            return


def lines(source: Source, how: Text | str | None, cap: int) -> Iterator[str]:
    """Yield physical lines with their endings.

    Args:
        source: an open file.
        how: which encoding, and what to do about wrong bytes.
        cap: the most characters one line may have.

    Raises:
        DataError: E-LINE for a longer line, else as `decoded`.
    """
    number, held, size = 1, "", 0
    parts: list[str] = []
    for text in decoded(source, how):
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
    codec = likely(sample)
    if codec is None:
        return "name it, such as --encoding latin-1, --encoding cp1252 or --encoding gb18030"
    return f"name it; a guess from the bytes near it: --encoding {codec}"


class _Replaced(threading.local):
    """Counts within one call of a decoder, which never leaves its thread."""

    count = 0
    before = ""  # what stands in the piece before the first


_replaced = _Replaced()


def _replace(fault: UnicodeError) -> tuple[str | bytes, int]:
    if not _replaced.count and isinstance(fault, UnicodeDecodeError):
        _replaced.before = fault.object[: fault.start].decode(fault.encoding, "replace")
    _replaced.count += 1
    return codecs.replace_errors(fault)


# An error handler has a name for the whole process; ours counts, else it is "replace".
codecs.register_error("howfar.replace", _replace)
_HANDLERS = {"strict": "strict", "replace": "howfar.replace"}
