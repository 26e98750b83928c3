"""One to three sources become train, validation and test, with every row accounted for.

Idea     what no file is named for is held out of the main one: by time or group where a column is
         named, else as the aim says; equal texts never stand in two parts of one file
Leaks    between files are counted and said; `dedup` leaves the training copies out
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from howfar.core.errors import DataError
from howfar.data.aims.opening import Source
from howfar.data.aims.options import CorpusOptions
from howfar.data.aims.reading import Read, Roles, read_source
from howfar.data.faults import counted
from howfar.data.leaks import find_leaks, leak_note
from howfar.data.split import Parts, duplicates
from howfar.data.split_by import split_apart, split_times

Shares: TypeAlias = tuple[float, float, float]
Split: TypeAlias = Callable[[Read, Shares], Parts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parted:
    """train, validation, test; rows left out so far; what is to be said; equal texts."""

    parts: tuple[Read, Read, Read]
    dropped: int
    notes: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of text and target in a table; none of a text or a folder."""
        main = self.parts[0]
        return tuple(name for name in main.columns if name) if main.kind == "table" else ()

    @property
    def duplicates(self) -> int:
        """Rows of all parts whose text stands in an earlier row too."""
        return duplicates([key for part in self.parts for key in part.keys])


def read_parts(source: Source, options: CorpusOptions, roles: Roles, split: Split) -> Parted:
    """Read the main source and the files beside it, and split.

    Args:
        source: the training data.
        options: files, columns and seed.
        roles: what the aim reads.
        split: how the aim splits where no column decides it.

    Raises:
        DataError, UsageError, EnvironmentFault: whatever is wrong with a source or its size.
    """
    main = read_source(source, options, roles)
    files = {
        name: read_source(path, _beside(options, name), roles, main)
        for name, path in (("validation", options.validation), ("test", options.test))
        if path is not None
    }
    rows, said = _divide(main, options, split)
    parts = [main.take(part) for part in rows]
    left = len(main) - sum(map(len, rows))
    notes = [*main.notes, *said]
    if left:
        notes.append(f"Left out: {counted(left)} with a label that has too few texts.")
    for name, file in files.items():
        notes += [f"{name.capitalize()} file: {note}" for note in file.notes]
        notes.append(f"The {name} file has the SHA-256 {file.sha256}.")
        parts[1 if name == "validation" else 2] = file
    parts[0], cleaned, leaked = _leaks(parts[0], main, files, options)
    if {"validation", "test"} <= set(files):
        between = find_leaks(
            (files["validation"].texts, files["validation"].keys),
            (files["test"].texts, files["test"].keys),
        )
        leaked.append(leak_note(between, "test", files["test"].lines, "validation") or "")
    dropped = main.dropped + left + cleaned + sum(file.dropped for file in files.values())
    notes += [note for note in leaked if note]
    return Parted(parts=(parts[0], parts[1], parts[2]), dropped=dropped, notes=tuple(notes))


def _beside(options: CorpusOptions, name: str) -> CorpusOptions:
    """The options for a file beside the main one, with a list of rejects of its own."""
    if options.rejects is None:
        return options
    path = Path(options.rejects)
    return replace(options, rejects=str(path.with_name(f"{path.stem}.{name}{path.suffix}")))


def apart(options: CorpusOptions) -> Split:
    """Split at random, equal texts together."""
    return lambda main, shares: split_apart(main.keys, fractions=shares, seed=options.seed)


def _divide(main: Read, options: CorpusOptions, split: Split) -> tuple[Parts, tuple[str, ...]]:
    shares = options.fractions
    if main.times is not None and shares[0] < 1:
        parts, moved = split_times(main.keys, main.times, fractions=shares)
        said = ["Split by time: the oldest rows train, the newest test."]
        if moved:
            said.append(
                f"{counted(moved)} stand in an older part than their time says: their text was "
                "known before."
            )
        return parts, tuple(said)
    if main.groups is not None and shares[0] < 1:
        parts = split_apart(main.keys, groups=main.groups, fractions=shares, seed=options.seed)
        return parts, (f"Split by group: none of {len(set(main.groups)):,} is in two parts.",)
    return split(main, shares), ()


def _leaks(
    train: Read, main: Read, files: dict[str, Read], options: CorpusOptions
) -> tuple[Read, int, list[str]]:
    """Training rows without copies (if asked), how many went, and what is to be said.

    Leaks are counted against all of the main file, whichever part its rows went to.
    """
    notes = []
    known: set[int] = set()
    for name, file in files.items():
        leak = find_leaks((main.texts, main.keys), (file.texts, file.keys))
        notes.append(leak_note(leak, name, file.lines) or "")
        known |= {file.keys[i] for i in leak.known}
    if not options.dedup or not known:
        return train, 0, notes
    stay = [i for i, key in enumerate(train.keys) if key not in known]
    gone = len(train) - len(stay)
    if not stay:
        why = "every training row stands in a test or validation file"
        raise DataError("E-EMPTY", f"Nothing to train on: {why}.", "another file for --test")
    notes.append(f"Left out: {counted(gone)} of train that stand in a file beside it.")
    return train.take(stay), gone, notes
