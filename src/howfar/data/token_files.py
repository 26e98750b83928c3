"""The ids of a large text's three parts, written to a folder with a manifest as the last thing.

Idea     the training part is streamed once to learn the tokeniser and all parts once to encode them
Learned  characters from all of the training part; words and pieces from 100,000,000 characters of
         it, in stretches spread evenly
Time     about 13 s of CPU a GB for bytes and characters, 6 minutes or so for words and pieces
Memory   below 1 GB whatever the size of the text
"""

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from howfar.core.disk import Entry, check_writable, saying, write_file
from howfar.core.manifest import MANIFEST, manifest_bytes
from howfar.core.store import sweep
from howfar.data.mapped import Written, narrowest, write_ids
from howfar.data.stretches import PARTS, LargeText, Part, Progress
from howfar.data.tokenise import Ids, Kind, Tokeniser, script_note, train_tokeniser
from howfar.data.units import streamed

SAMPLE = 100_000_000  # characters that words and pieces are learned from
_AT_ONCE = 16  # stretches encoded together, on as many cores as there are


def write_token_files(
    path: str | os.PathLike[str], folder: Path, settings: dict[str, Any], progress: Progress
) -> None:
    """Write train.arrow, validation.arrow, test.arrow, tokenizer.json and the manifest.

    Args:
        path: a plain text file, also .gz.
        folder: made where it is missing; what the manifest says of the source, the settings and
            the counts is its `about`.
        settings: with "tokens", "max_vocabulary", "encoding" and "encoding_errors".
        progress: called with the share that is done.

    Raises:
        DataError, UsageError: whatever is wrong with the text or the path.
        EnvironmentFault: E-PERMISSION, E-READ, E-DISK, E-WRITE.
    """
    check_writable(folder, 0)
    sweep(folder)
    kind: Kind = settings["tokens"]
    how = settings["encoding"], settings["encoding_errors"]
    text = LargeText(path, *how, lambda share: progress(0.2 * share))
    tokeniser, notes = _learned(
        text, kind, settings["max_vocabulary"], lambda share: progress(0.2 + 0.2 * share)
    )
    least = narrowest(tokeniser.vocabulary).itemsize * text.characters
    check_writable(folder, least if kind in ("byte", "char") else 0)
    with saying(folder / MANIFEST):
        # Without it, what is there is not finished.
        (folder / MANIFEST).unlink(missing_ok=True)
    parts = text.parts(lambda share: progress(0.4 + 0.6 * share))
    found, unknown = _write_parts(parts, tokeniser, folder)
    learned = tokeniser.to_json()
    write_file(folder / "tokenizer.json", learned)
    entries = {f"{part}.arrow": written.entry for part, written in found.items()}
    entries["tokenizer.json"] = Entry(len(learned), hashlib.sha256(learned).hexdigest())
    about = {
        "source": {"size": text.stamp[0], "mtime_ns": text.stamp[1], "sha256": text.sha256},
        "settings": settings,
        "characters": text.characters,
        "tokens": {part: written.count for part, written in found.items()},
        "unknown": unknown,
        "notes": [*text.notes, *notes],
    }
    write_file(folder / MANIFEST, manifest_bytes(about, entries))


def _write_parts(
    pieces: Iterator[tuple[Part, str]], tokeniser: Tokeniser, folder: Path
) -> tuple[dict[Part, Written], int]:
    """What was written for each part, and the unknown tokens of validation and test."""
    found: dict[Part, Written] = {}
    unknown = [0]
    for part, group in itertools.groupby(pieces, key=lambda item: item[0]):
        ids = _encoded((piece for _, piece in group), tokeniser, unknown, part)
        found[part] = write_ids(folder / f"{part}.arrow", ids, vocabulary=tokeniser.vocabulary)
    for part in PARTS:
        if part not in found:  # of a very short text
            found[part] = write_ids(folder / f"{part}.arrow", [], vocabulary=tokeniser.vocabulary)
    return found, unknown[0]


def _learned(
    text: LargeText, kind: Kind, most: int, progress: Progress
) -> tuple[Tokeniser, list[str]]:
    """The tokeniser of the training part, and notes."""
    if kind == "byte":
        return train_tokeniser(kind, [], max_vocabulary=most), []
    train = (
        piece
        for _, piece in itertools.takewhile(lambda item: item[0] == "train", text.parts(progress))
    )
    if kind == "char":
        return train_tokeniser(kind, train, max_vocabulary=most), []
    first: list[str] = []
    total = round(0.8 * text.characters)
    sample = streamed(_spread(_remembered(train, first), SAMPLE / max(1, total)), kind)
    tokeniser = train_tokeniser(kind, sample, max_vocabulary=most)
    script = script_note(tokeniser, first)
    notes = [] if script is None else [script]
    if total > SAMPLE:
        notes.append(
            f"The {tokeniser.unit}s were learned from {SAMPLE:,} of the {total:,} characters to "
            "train on, in stretches spread evenly over them."
        )
    return tokeniser, notes


def _remembered(pieces: Iterable[str], first: list[str]) -> Iterator[str]:
    for piece in pieces:
        if not first:
            first.append(piece)
        yield piece


def _spread(pieces: Iterable[str], share: float) -> Iterator[str]:
    """This share of the pieces, evenly; all of them where it is 1 or more."""
    for number, piece in enumerate(pieces):
        if share >= 1:
            yield piece
        elif int((number + 1) * share) > int(number * share):
            yield piece + "\n"


def _encoded(
    pieces: Iterable[str], tokeniser: Tokeniser, unknown: list[int], part: Part
) -> Iterator[Ids]:
    """Ids of a part, stretch after stretch; counts the unknown ones of validation and test."""
    stretches = streamed(pieces, tokeniser.kind)
    while texts := list(itertools.islice(stretches, _AT_ONCE)):
        for ids in tokeniser.encode(texts):
            if part != "train":
                unknown[0] += tokeniser.count_unknown(ids)
            yield ids
