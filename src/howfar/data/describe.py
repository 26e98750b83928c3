"""A look at any file before training: what is in it, what is odd, what would be cut.

Idea     what a strict reading would refuse is counted and named here, cell by cell; what the
         readers themselves refuse (a broken row, an encoding) ends it, or is skipped where asked
Columns  guessed as training does; where no guess is obvious, the longest column is the text
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from howfar.core.errors import DataError, shown
from howfar.data.aims.cutting import COVERED, default_length
from howfar.data.aims.numbers import number
from howfar.data.aims.opening import Source, open_source, refuse_on_text
from howfar.data.aims.options import CorpusOptions
from howfar.data.aims.reading import position
from howfar.data.anything import Rows
from howfar.data.columns import choose
from howfar.data.faults import place
from howfar.data.leaks import find_leaks
from howfar.data.looking import Seen, cell_warnings, class_warnings, columns_of, look
from howfar.data.profile import lengths, repeats, scripts
from howfar.data.running import cut_at
from howfar.data.split_by import blocks, split_apart
from howfar.data.tokenise import Ids, Tokeniser, default_kind, train_tokeniser
from howfar.record.described import Beside, Cutting, Described, Numbers

_CLASSES = 50  # numbers with more different values are no classes
_LABELS = 1000  # labels that are listed


def describe(source: Source, options: CorpusOptions) -> Described:
    """Look at a source.

    Args:
        source: whatever `howfar.data.anything.open_rows` opens.
        options: columns, how to read, tokens, length, and a test file to compare with.

    Raises:
        DataError: what the readers refuse; E-COLUMN for a column that is not there.
        UsageError, EnvironmentFault: as for `open_rows`.
    """
    rows = open_source(source, options)
    if rows.kind == "text":
        refuse_on_text(rows.path, asdict(options))
        return _running(rows, options)
    text, label, said = _roles(rows, options)
    seen = look(rows, text, label, options)
    if not seen.texts:
        why = " ".join(cell_warnings(rows, seen))
        message = f"No row of {place(rows.path)} has a text in {shown(rows.names[text])}: {why}"
        raise DataError("E-EMPTY", message, "name another column with --text")
    kind = options.tokens or default_kind(seen.texts)[0]
    aim, classes, numbers = _aim(seen, label, options.label_separator)
    beside, other = _beside(rows, seen, (text, label), options)
    train, held = _held_out(seen, other)
    tokeniser = train_tokeniser(kind, train, max_vocabulary=options.max_vocabulary)
    ids = tokeniser.encode(seen.texts)
    sizes = np.asarray([len(row) for row in ids], dtype=np.int64)
    characters = lengths(np.asarray([len(t) for t in seen.texts], dtype=np.int64), "character")
    twice = repeats(seen.texts, seen.keys)
    torn = seen.conflicts() if classes and aim == "classification" else 0
    rare = seen.rare() if classes and aim == "classification" else []
    covered = 100 if aim == "seq2seq" else COVERED
    cutting = _cutting(sizes, tokeniser.unit, options, covered) if aim != "lm" else None
    odd = class_warnings(classes, rare, torn) if classes and aim == "classification" else []
    return Described(
        name=Path(rows.path).name,
        kind=rows.kind,
        rows=len(rows.lines),
        of="document" if aim == "lm" else "row",
        columns=columns_of(rows, text, label),
        text=rows.names[text],
        label=None if label is None else rows.names[label],
        aim=aim,
        tokens=kind,
        empty=len(seen.empty),
        characters=characters,
        lengths=None if kind == "char" else lengths(sizes, tokeniser.unit),
        labels=classes,
        unlabelled=seen.unlabelled,
        rare=len(rare),
        numbers=numbers,
        scripts=scripts(seen.texts),
        duplicates=twice[0],
        same=twice[1],
        near=twice[2],
        conflicts=torn,
        cutting=cutting,
        vocabulary=tokeniser.vocabulary,
        unknown=_unknown(tokeniser, held),
        beside=beside,
        warnings=(*cell_warnings(rows, seen), *odd),
        notes=(*rows.notes, *said),
        dropped=sum(rows.dropped.values()),
        sha256=rows.sha256,
    )


def _running(rows: Rows, options: CorpusOptions) -> Described:
    """A running text: its lines, and what its end holds that its beginning does not."""
    text = str(rows.column(0)[0])
    lines = text.split("\n")
    lines = lines[:-1] if not lines[-1] and len(lines) > 1 else lines
    kind = options.tokens or "char"
    train, held = cut_at(text, (0.8,))
    tokeniser = train_tokeniser(kind, [train], max_vocabulary=options.max_vocabulary)
    sizes = np.asarray([len(line) for line in lines], dtype=np.int64)
    ids = tokeniser.encode(lines) if kind != "char" else []
    return Described(
        name=Path(rows.path).name,
        kind="text",
        rows=len(lines),
        of="line",
        aim="lm",
        tokens=kind,
        empty=sum(not line.strip() for line in lines),
        characters=lengths(sizes, "character"),
        lengths=lengths(np.asarray([len(row) for row in ids]), tokeniser.unit) if ids else None,
        scripts=scripts([text]),
        vocabulary=tokeniser.vocabulary,
        unknown=_unknown(tokeniser, [held]),
        warnings=_like_a_table(lines),
        notes=rows.notes,
        sha256=rows.sha256,
    )


def _like_a_table(lines: Sequence[str]) -> tuple[str, ...]:
    """W-TABLE where nearly all lines of a text have the same number of tabs."""
    found = Counter(line.count("\t") for line in lines if line.strip())
    tabs, count = found.most_common(1)[0]
    if not tabs or count < 0.9 * found.total():
        return ()
    return (
        f"W-TABLE: {count:,} of {found.total():,} lines have {tabs} tab{'s' if tabs > 1 else ''}: "
        "a table? Give it a name that ends in .tsv.",
    )


def _roles(rows: Rows, options: CorpusOptions) -> tuple[int, int | None, list[str]]:
    """Columns of text and label: named, guessed as training does, or the longest alone."""
    names = list(rows.names)
    if len(names) == 1:
        if options.label is not None:
            position(rows, options.label, "--label")
        return 0 if options.text is None else position(rows, options.text, "--text"), None, []
    try:
        text, label, guessed = choose(names, (options.text, options.label), rows.column, rows.path)
        return text, label, list(guessed)
    except DataError as unclear:
        if unclear.code != "E-COLUMN":
            raise
    named = [
        None if name is None else position(rows, name, option)
        for name, option in ((options.text, "--text"), (options.label, "--label"))
    ]
    text = named[0] if named[0] is not None else _longest(rows, named[1])
    said = (
        [] if named[0] is not None else [f"The longest column, {shown(names[text])}, is the text."]
    )
    if named[1] is None:
        said.append("It is not obvious which column is the label; --label names it.")
    return text, named[1], said


def _longest(rows: Rows, taken: int | None) -> int:
    def size(at: int) -> int:
        return sum(len(value) for value in rows.column(at) if isinstance(value, str))

    return max((at for at in range(len(rows.names)) if at != taken), key=size)


def _aim(
    seen: Seen, label: int | None, separator: str
) -> tuple[str, dict[str, int] | None, Numbers | None]:
    """What the label column is good for, its labels, or its numbers."""
    if label is None or seen.labels is None:
        return "lm", None, None
    known = [name for name in seen.labels if name]
    counts = Counter(known)
    if seen.listed:
        parts = Counter(part for name in known for part in name.split(separator))
        return "multilabel", dict(parts.most_common(_LABELS)), None
    values = [number(name, "", 1, "") for name in counts]
    real = [value for value in values if isinstance(value, float)]
    whole = all(value.is_integer() for value in real)
    if len(real) == len(values) > (_CLASSES if whole else 2):
        return "regression", None, _numbers([float(name) for name in known])
    if len(counts) > max(_CLASSES, len(known) // 2) or len(counts) == len(known) > 2:
        return "seq2seq", None, None
    return "classification", dict(counts.most_common(_LABELS)), None


def _numbers(values: Sequence[float]) -> Numbers:
    array = np.asarray(values)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = float(array.mean()), float(array.std())
    if not (math.isfinite(mean) and math.isfinite(deviation)):
        mean, deviation = float(np.median(array)), 0.0
    return Numbers(
        least=float(array.min()), mean=mean, deviation=deviation, greatest=float(array.max())
    )


def _beside(
    rows: Rows, seen: Seen, at: tuple[int, int | None], options: CorpusOptions
) -> tuple[Beside | None, list[str] | None]:
    """What the test file shares with the data, and its texts."""
    if options.test is None:
        return None, None
    other = open_source(options.test, options)
    text, label = (
        None if i is None else position(other, rows.names[i], option)
        for i, option in zip(at, ("--text", "--label"), strict=True)
    )
    assert text is not None
    held = look(other, text, label, options)
    leak = find_leaks((seen.texts, seen.keys), (held.texts, held.keys))
    known = set(seen.labels or ())
    few = len(known) <= _LABELS
    unseen = sum(name not in known for name in held.labels or ()) if few else 0
    made = Beside(
        name=Path(other.path).name,
        rows=len(held.texts),
        known=len(leak.known),
        exact=leak.exact,
        unseen=unseen,
        sha256=other.sha256,
    )
    return made, held.texts


def _held_out(seen: Seen, other: list[str] | None) -> tuple[list[str], list[str]]:
    """Texts to learn a vocabulary from, and texts to try it on."""
    if other is not None:
        return seen.texts, other
    if len(blocks(seen.keys)) < 2:
        return seen.texts, []
    train, held, _ = split_apart(seen.keys, fractions=(0.9, 0.1, 0.0), seed=0)
    return [seen.texts[i] for i in train], [seen.texts[i] for i in held]


def _unknown(tokeniser: Tokeniser, held: Sequence[str]) -> float | None:
    if tokeniser.unknown is None:
        return None
    ids: list[Ids] = tokeniser.encode(held)
    total = sum(map(len, ids))
    return sum(map(tokeniser.count_unknown, ids)) / total if total else None


def _cutting(
    sizes: npt.NDArray[np.int64], unit: str, options: CorpusOptions, covered: float
) -> Cutting:
    length = options.length or default_length(sizes, covered)
    over = sizes[sizes > length]
    return Cutting(
        length=length,
        unit=unit,
        rows=len(over),
        tokens=int((over - length).sum()),
        asked=options.length is not None,
    )
