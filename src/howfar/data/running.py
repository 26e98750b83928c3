"""Running text becomes three stretches of token ids: train, then validation, then test.

Idea     the text is cut in order at 80 % and 90 % of its characters, at a line break where one is
         near; the tokeniser is learned from the first stretch alone
"""

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from howfar.core.errors import DataError, UsageError
from howfar.data.read import read_text
from howfar.data.shipped import licence_of, resolve
from howfar.data.tokenise import Ids, Kind, Tokeniser, script_note, train_tokeniser
from howfar.record.comparison import Data

CUTS = (0.8, 0.9)
TRAIN_WINDOWS, HELD_WINDOWS = 20, 4
_NEAR = 1000  # characters in which a line break is looked for, at most a hundredth of the text


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Running:
    """A text, ready to batch: each part is (tokens,) int32."""

    train: Ids
    validation: Ids
    test: Ids
    tokeniser: Tokeniser
    length: int
    characters_per_token: float  # over the whole text
    data: Data


def load_running(
    path: str | os.PathLike[str],
    *,
    tokens: Kind = "char",
    length: int = 128,
    name: str | None = None,
    encoding: str | None = None,
) -> Running:
    """Load running text for language modelling.

    Args:
        path: a plain text file, also .gz, or the name of a shipped data set.
        tokens: "byte", "char", "word" or "bpe".
        length: tokens of a window.
        name: what the record calls the data; by default the file's name.
        encoding: a Python codec; UTF-8 by default.

    Raises:
        DataError: whatever is wrong with the content; E-TOO-SHORT for fewer than 20 windows of
            training text, or 4 of validation or test text.
        UsageError: E-OPTION, E-NO-FILE, E-REMOTE.
        EnvironmentFault: E-PERMISSION, E-READ.
    """
    if length < 2:
        raise UsageError("E-OPTION", f"--length {length} is less than 2.", "--length 128")
    found = resolve(path)
    text, said, sha256 = read_text(found, encoding=encoding)
    parts = cut_text(text)
    tokeniser = train_tokeniser(tokens, parts[:1])
    train, validation, test = tokeniser.encode(parts)
    _check_size((len(train), len(validation), len(test)), length, tokeniser.unit)
    script = script_note(tokeniser, parts[:1])
    data = Data(
        kind="text",
        name=name or Path(found).name.split(".")[0],
        unit=tokeniser.unit,
        train=len(train),
        validation=len(validation),
        test=len(test),
        vocabulary=tokeniser.vocabulary,
        unknown_tokens=tokeniser.count_unknown(validation) + tokeniser.count_unknown(test),
        length=length,
        sha256=sha256,
        notes=(*said, *(() if script is None else (script,))),
        licence=licence_of(found),
    )
    return Running(
        train=train,
        validation=validation,
        test=test,
        tokeniser=tokeniser,
        length=length,
        characters_per_token=len(text) / (len(train) + len(validation) + len(test)),
        data=data,
    )


def cut_text(text: str) -> tuple[str, str, str]:
    """Cut a text in order at 80 % and 90 %, after the nearest line break where one is near."""
    train, validation, test = cut_at(text, CUTS)
    return train, validation, test


def cut_at(text: str, shares: Sequence[float]) -> list[str]:
    """Cut a text in order at these shares of its characters, at a near line break if there is."""
    cuts = [0, *(_line_break(text, round(share * len(text))) for share in shares), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(cuts)]


def _line_break(text: str, at: int) -> int:
    near = min(_NEAR, len(text) // 100)
    before = text.rfind("\n", at - near, at) + 1
    after = text.find("\n", at, at + near) + 1
    # 0 means none: find and rfind say -1.
    found = [place for place in (before, after) if place]
    return min(found, key=lambda place: abs(place - at)) if found else at


def _check_size(sizes: tuple[int, int, int], length: int, unit: str) -> None:
    train, *held = sizes
    needed = TRAIN_WINDOWS * length + 1, HELD_WINDOWS * length + 1
    if train >= needed[0] and min(held) >= needed[1]:
        return
    fitting = min((train - 1) // TRAIN_WINDOWS, (min(held) - 1) // HELD_WINDOWS)
    raise DataError(
        "E-TOO-SHORT",
        f"The text is too short for windows of {length:,} {unit}s: train, validation and test have "
        f"{train:,}, {held[0]:,} and {held[1]:,} {unit}s, and need {needed[0]:,}, {needed[1]:,} "
        f"and {needed[1]:,}.",
        f"--length {fitting}" if fitting >= 2 else "give more text",
    )
