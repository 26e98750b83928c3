"""A labelled table becomes parts of token ids, and a record of all that happened to its rows.

Idea     read, split by label with equal texts kept together, learn the tokeniser from train alone,
         cut to one length, count everything that was dropped, cut or unknown
Length   by default the 95th percentile of training lengths, at most 512 tokens
"""

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Unpack

import numpy as np
import numpy.typing as npt

from howfar.core.errors import DataError, UsageError, shown
from howfar.data.faults import counted, listed, place, share
from howfar.data.read import Reading, Table, read_table
from howfar.data.shipped import licence_of, resolve
from howfar.data.split import (
    FRACTIONS,
    duplicates,
    leaks,
    normalised,
    split_rows,
)
from howfar.data.tokenise import Ids, Kind, Tokeniser, script_note, train_tokeniser
from howfar.record.comparison import Data

LONGEST_DEFAULT = 512
_COVERED = 95  # per cent of the training rows stay whole at the default length
_WITH_TEST = (0.9, 0.1, 0.0)
_LOPSIDED = 0.9


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Rows of one part: `ids[i]` is (tokens,) int32, `labels` is (rows,) int64."""

    ids: tuple[Ids, ...]
    labels: npt.NDArray[np.int64]
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labelled:
    """A labelled data set, ready to batch. `label_names[k]` is the name of class k."""

    train: Part
    validation: Part
    test: Part
    label_names: tuple[str, ...]
    tokeniser: Tokeniser
    length: int
    data: Data


@dataclass(frozen=True, slots=True)
class _Texts:
    """Texts and labels of one part, before tokenising."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Raw:
    """Train, validation and test, and what happened so far."""

    parts: tuple[_Texts, _Texts, _Texts]
    dropped: int
    notes: tuple[str, ...]


def load_labelled(  # noqa: PLR0913 - each is an option of the command line
    path: str | os.PathLike[str],
    *,
    text: str | None = None,
    label: str | None = None,
    test: str | os.PathLike[str] | None = None,
    tokens: Kind = "word",
    length: int | None = None,
    keep: Literal["start", "end"] = "start",
    seed: int = 0,
    rare: Literal["error", "drop"] = "error",
    name: str | None = None,
    **reading: Unpack[Reading],
) -> Labelled:
    """Load a table of texts with labels.

    Args:
        path: a file that `read_table` reads, or the name of a shipped data set.
        text: the column of texts, if it is not obvious.
        label: the column of labels, likewise.
        test: a file of test rows with the same columns; else a tenth of the rows is held out.
        tokens: "byte", "char", "word" or "bpe".
        length: the most tokens of a row; None: see the header.
        keep: which end of a longer text stays.
        seed: of the split.
        rare: "drop" leaves out labels with too few texts to stand in each part.
        name: what the record calls the data; by default the file's name.
        **reading: further options of `read_table`.

    Raises:
        DataError: whatever is wrong with the content; E-UNSEEN-LABEL for a test label that no
            training row has.
        UsageError: E-OPTION, E-NO-FILE, E-REMOTE.
        EnvironmentFault: E-PERMISSION, E-READ.
    """
    if length is not None and length < 1:
        raise UsageError("E-OPTION", f"--length {length} is less than 1.", "--length 256")
    if keep not in ("start", "end"):
        raise UsageError("E-OPTION", f"--keep {shown(keep)} is neither start nor end.")
    found = resolve(path)
    table = read_table(found, text=text, label=label, **reading)
    if test is None:
        raw = _split(table, FRACTIONS, seed, rare)
    else:
        held = read_table(
            resolve(test), text=table.text_column, label=table.label_column, **reading
        )
        raw = _with_test(_split(table, _WITH_TEST, seed, rare), table, held)
    tokeniser = train_tokeniser(tokens, raw.parts[0].texts)
    whole = [tokeniser.encode(part.texts) for part in raw.parts]
    most = length or _default_length(whole[0])
    label_names = _ordered(raw.parts[0].labels)
    train, validation, tested = (
        _part(part, ids, label_names, slice(most) if keep == "start" else slice(-most, None))
        for part, ids in zip(raw.parts, whole, strict=True)
    )
    lengths = np.asarray([len(ids) for part in whole for ids in part])
    labels = Counter(known for part in raw.parts for known in part.labels)
    data = Data(
        kind="labels",
        name=name or Path(found).name.split(".")[0],
        unit=tokeniser.unit,
        rows=len(lengths),
        dropped=raw.dropped,
        truncated_rows=int((lengths > most).sum()),
        truncated_tokens=int(np.maximum(lengths - most, 0).sum()),
        duplicates=duplicates([normalised(t) for part in raw.parts for t in part.texts]),
        train=len(train.ids),
        validation=len(validation.ids),
        test=len(tested.ids),
        vocabulary=tokeniser.vocabulary,
        unknown_tokens=sum(
            tokeniser.count_unknown(ids) for part in (validation, tested) for ids in part.ids
        ),
        length=most,
        labels={known: labels[known] for known in label_names},
        sha256=table.sha256,
        notes=(*raw.notes, *_notes(raw, lengths, tokeniser, most, keep)),
        licence=licence_of(found),
    )
    return Labelled(
        train=train,
        validation=validation,
        test=tested,
        label_names=label_names,
        tokeniser=tokeniser,
        length=most,
        data=data,
    )


def _split(
    table: Table, fractions: tuple[float, float, float], seed: int, rare: Literal["error", "drop"]
) -> _Raw:
    keys = [normalised(text) for text in table.texts]
    rows = split_rows(keys, table.labels, fractions=fractions, seed=seed, rare=rare)
    train, validation, test = (
        _Texts(tuple(table.texts[i] for i in part), tuple(table.labels[i] for i in part))
        for part in rows
    )
    few = table.num_rows - sum(map(len, rows))
    said = (f"Left out: {counted(few)} with a label that has too few texts.",) if few else ()
    return _Raw((train, validation, test), table.num_dropped + few, (*table.notes, *said))


def _with_test(raw: _Raw, table: Table, held: Table) -> _Raw:
    """Put the rows of the test file in the place of the test part."""
    known = set(raw.parts[0].labels)
    unseen = [i for i, label in enumerate(held.labels) if label not in known]
    if unseen:
        where = place(held.path, held.lines[unseen[0]], held.label_column)
        raise DataError(
            "E-UNSEEN-LABEL",
            f"Unknown label in {where}: {share(len(unseen), held.num_rows)} have a label that no "
            f"training row has, such as {shown(held.labels[unseen[0]])}.",
            "add such rows to the training file, or leave them out of the test file",
        )
    leaked = leaks([normalised(t) for t in table.texts], [normalised(t) for t in held.texts])
    said = [f"Test file: {note}" for note in held.notes]
    said.append(f"The test file has the SHA-256 {held.sha256}.")
    if len(leaked):
        said.append(
            f"W-LEAK: {share(len(leaked), table.num_rows)} of the training file stand in the test "
            f"file too ({listed([table.lines[i] for i in leaked])})."
        )
    parts = (raw.parts[0], raw.parts[1], _Texts(held.texts, held.labels))
    return _Raw(parts, raw.dropped + held.num_dropped, (*raw.notes, *said))


def _default_length(ids: Sequence[Ids]) -> int:
    covered: int = math.ceil(np.percentile([len(row) for row in ids], _COVERED))
    return max(1, min(LONGEST_DEFAULT, covered))


def _ordered(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels in order, as numbers where all are whole numbers."""
    known = set(labels)
    if all(label.isascii() and label.isdigit() and len(label) < 19 for label in known):
        return tuple(sorted(known, key=lambda label: (int(label), label)))
    return tuple(sorted(known))


def _part(part: _Texts, ids: Sequence[Ids], label_names: Sequence[str], kept: slice) -> Part:
    codes = {name: code for code, name in enumerate(label_names)}
    labels = np.asarray([codes[label] for label in part.labels], dtype=np.int64)
    return Part(tuple(row[kept] for row in ids), labels, part.texts)


def _notes(
    raw: _Raw, lengths: npt.NDArray[np.int64], tokeniser: Tokeniser, most: int, keep: str
) -> list[str]:
    notes = []
    over = lengths[lengths > most]
    if len(over):
        lost = "end" if keep == "start" else "start"
        notes.append(
            f"W-TRUNC: {share(len(over), len(lengths))} are longer than {most:,} "
            f"{tokeniser.unit}s (longest {over.max():,}): their {lost} was cut, "
            f"{(over - most).sum():,} {tokeniser.unit}s in all."
        )
    script = script_note(tokeniser, raw.parts[0].texts)
    if script is not None:
        notes.append(script)
    label, count = Counter(raw.parts[0].labels).most_common(1)[0]
    if count > _LOPSIDED * len(raw.parts[0].labels):
        notes.append(
            f"W-IMBALANCE: {share(count, len(raw.parts[0].labels))} of train have the label "
            f"{shown(label)}; always saying so is hard to beat."
        )
    return notes
