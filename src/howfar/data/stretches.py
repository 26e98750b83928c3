"""A text file larger than memory, read in a stream as its three stretches.

Idea     a first pass measures it; every later pass gives pieces of about 131,072 characters, each
         of train, validation or test, cut where `running.cut_text` would cut the whole text
Text     as `read.read_text` gives it: strictly decoded, LF line ends, no NUL
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from howfar.core.errors import DataError
from howfar.data.decode import Errors, Text, decoded
from howfar.data.faults import place
from howfar.data.source import Source, opened

Progress: TypeAlias = Callable[[float], None]
Part: TypeAlias = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")

CUTS = (0.8, 0.9)
_NEAR = 1000  # characters in which a line break is looked for, at most a hundredth of the text


def stamp(source: Source) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds of an open file."""
    state = os.fstat(source.file.fileno())
    return state.st_size, state.st_mtime_ns


class LargeText:
    """A measured text file.

    Attributes:
        characters: after line ends were made LF.
        stamp: size and time of change, when it was measured.
        sha256: of the file's bytes.
        notes: on what was changed.

    Raises:
        DataError: E-EMPTY, E-ENCODING, E-NUL, E-ARCHIVE, E-CHANGED.
        UsageError: E-NO-FILE, E-REMOTE, E-OPTION.
        EnvironmentFault: E-PERMISSION, E-READ.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        encoding: str | None,
        errors: Errors,
        progress: Progress,
    ) -> None:
        self.path = Path(path)
        self._encoding: tuple[str | None, Errors] = (encoding, errors)
        self.characters = 0
        self.notes: tuple[str, ...] = ()
        blank = True
        with opened(path) as source:
            self.stamp = stamp(source)
            how = Text(*self._encoding)
            for text in self._normalised(source, how, progress):
                blank = blank and text.isspace()
                self.characters += len(text)
            self.notes += how.notes
            self.sha256 = source.sha256()
        if blank:
            raise DataError("E-EMPTY", f"Nothing to read in {place(str(path))}: no text.")

    def parts(self, progress: Progress) -> Iterator[tuple[Part, str]]:
        """Pieces in order, each with the part that it belongs to.

        Raises:
            DataError: E-CHANGED where the file is not the one that was measured.
        """
        near = min(_NEAR, self.characters // 100)
        cuts = [round(share * self.characters) for share in CUTS]
        part, held, before = 0, "", 0  # characters before those held
        with opened(self.path) as source:
            self._check_same(source)
            for text in self._normalised(source, Text(*self._encoding), progress):
                held += text
                while part < len(cuts) and before + len(held) >= cuts[part] + near:
                    at = line_break(held, cuts[part] - before, near)
                    yield PARTS[part], held[:at]
                    held, before, part = held[at:], before + at, part + 1
                # Until then the last characters may still lie near the next cut.
                safe = cuts[part] - near - before if part < len(cuts) else len(held)
                if safe > 0:
                    yield PARTS[part], held[:safe]
                    held, before = held[safe:], before + min(safe, len(held))
            self._check_same(source)
        if held:
            yield PARTS[part], held

    def _say(self, note: str) -> None:
        if note not in self.notes:
            self.notes += (note,)

    def _check_same(self, source: Source) -> None:
        if stamp(source) != self.stamp:
            message = f"{place(str(self.path))} changed while it was read."
            raise DataError("E-CHANGED", message, "read it again when done")

    def _normalised(self, source: Source, how: Text, progress: Progress) -> Iterator[str]:
        """Decoded pieces with LF line ends."""
        size, row, waiting = max(1, self.stamp[0]), 1, ""
        for piece in decoded(source, how):
            text = waiting + piece
            # A CR at the end may be the first half of CR LF.
            waiting = "\r" if text.endswith("\r") else ""
            text = text.removesuffix(waiting)
            if "\r" in text or waiting:
                self._say("Line ends CR LF and CR were read as LF.")
                text = text.replace("\r\n", "\n").replace("\r", "\n")
            _refuse_nul(text, row, str(self.path))
            row += text.count("\n")
            if text:
                yield text
            progress(min(1.0, source.file.tell() / size))
        if waiting:
            yield "\n"


def line_break(text: str, at: int, near: int) -> int:
    """The place after the line break nearest to `at` within `near` characters, else `at`."""
    before = text.rfind("\n", max(0, at - near), at) + 1
    after = text.find("\n", at, at + near) + 1
    # 0 means none: find and rfind say -1.
    found = [place for place in (before, after) if place]
    return min(found, key=lambda place: abs(place - at)) if found else at


def _refuse_nul(text: str, row: int, path: str) -> None:
    if "\0" in text:
        row += text.count("\n", 0, text.index("\0"))
        raise DataError(
            "E-NUL",
            f"NUL character in {place(path, row)}: text holds none.",
            "is it UTF-16 without a mark? --encoding utf-16-le",
        )
