"""Texts to ask a model about, from any file, without what would be true of them.

Idea     a table needs its text column alone; a text file is one text a line, so that its lines and
         the answers stand side by side; a folder is one text a file. Lines of token and tag (CoNLL)
         are sentences to a model for tagging, and the tags are not read
Empty    empty texts stay, as every row gets an answer
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from howfar.core.errors import DataError, shown
from howfar.data.aims.opening import refuse_on_text
from howfar.data.aims.reading import position
from howfar.data.aims.roles import SOURCE_NAMES, TOKEN_NAMES
from howfar.data.aims.tagging import _joined, sentences
from howfar.data.anything import Rows, open_rows
from howfar.data.cells import Cells, clean
from howfar.data.columns import TEXT_NAMES
from howfar.data.faults import place
from howfar.data.read import MAX_FIELD
from howfar.data.source import ending

_CONLL = (".conll", ".conll2003", ".conllu", ".bio", ".iob", ".iob2", ".iobes", ".bioes")
_KNOWN = {"tagging": TOKEN_NAMES, "seq2seq": (*SOURCE_NAMES, *TEXT_NAMES)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Texts, and what their file says beside them; what stands at one index belongs to one row.

    lines: physical lines; numbers of rows in files without lines. columns: of a table, all of them.
    """

    path: str
    texts: tuple[str, ...]
    lines: tuple[int, ...]
    columns: Mapping[str, Sequence[object]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_inputs(
    source: object,
    aim: str = "classification",
    *,
    text: str | None = None,
    tags: Collection[str] = (),
    trained: str | None = None,
    max_field: int = MAX_FIELD,
    **reading: Any,  # noqa: ANN401 - as `open_rows` takes them
) -> Inputs:
    """Read the texts of a file.

    Args:
        source: as for `howfar.data.anything.open_rows`.
        aim: of the model; tokens of tagging may stand in lists.
        text: the column of texts; None: that of training, well known by its name, or the only one.
        trained: the column of texts in training, where it had one.
        tags: that a model for tagging knows; by them a text in lines of token and tag is told
            from one with a sentence a line, where its name does not say it (.conll, .bio, .iob).
        max_field: the most characters of a cell.
        reading: the other options of `open_rows`.

    Raises:
        DataError, UsageError, EnvironmentFault: as `open_rows`; E-COLUMN, E-NUL, E-FIELD,
            E-ENCODING, E-FORMAT for a cell that is no text.
    """
    rows = open_rows(source, max_field=max_field, **reading)
    if rows.kind == "text":
        refuse_on_text(rows.path, {"text": text, **reading})
        conll = aim == "tagging" and _in_columns(rows, tags)
        return _by_sentence(rows) if conll else _by_line(rows)
    at, said = _column(rows, text, aim, trained)
    lines = rows.lines
    if len(set(lines)) < len(lines):
        lines = range(1, len(lines) + 1)
    values: Sequence[object] = rows.column(at)
    if aim == "tagging":
        values = [_joined(value) for value in values]
    blank = ["-"] * len(values)  # in place of labels
    cells = Cells(names=(rows.names[at], "-"), lines=lines, column=lambda i: blank if i else values)
    kept = clean(cells, (0, 1), rows.ledger, empty="keep", max_field=max_field)
    index = {line: i for i, line in enumerate(lines)}
    places = [index[line] for line in kept.lines]
    columns = {}
    for number, name in enumerate(rows.names):
        column = rows.column(number)
        columns[name] = [column[i] for i in places]
    before = [note for note in rows.notes if not note.startswith("Left out: ")]
    return Inputs(
        path=rows.path,
        texts=tuple(kept.texts),
        lines=tuple(kept.lines),
        columns=columns,
        notes=(*before, *said, *rows.ledger.notes()),
    )


def _by_line(rows: Rows) -> Inputs:
    lines = str(rows.column(0)[0]).removesuffix("\n").split("\n")
    return Inputs(
        path=rows.path,
        texts=tuple(lines),
        lines=tuple(range(1, len(lines) + 1)),
        columns={"text": lines},
        notes=rows.notes,
    )


def _in_columns(rows: Rows, tags: Collection[str]) -> bool:
    """Whether a text has a token a line: by its name, or as most lines end in a known tag."""
    if ending(rows.path).removesuffix(".gz") in _CONLL:
        return True
    cells = [line.split() for line in str(rows.column(0)[0]).split("\n")]
    cells = [line for line in cells if line and line[0] != "-DOCSTART-"]
    known = sum(len(line) > 1 and line[-1] in tags for line in cells)
    return 2 * known > len(cells)


def _by_sentence(rows: Rows) -> Inputs:
    found = sentences(rows, least=1)
    tokens = tuple(str(_joined(words)) for words in found.column(0))
    if not tokens:
        raise DataError("E-EMPTY", f"Nothing to read in {place(rows.path)}: no sentence.")
    said = f"A token a line: {len(tokens):,} sentences were read; only the first column is asked."
    return Inputs(
        path=rows.path,
        texts=tokens,
        lines=tuple(found.lines),
        columns={"tokens": tokens},
        notes=(*rows.notes, said),
    )


def _column(
    rows: Rows, asked: str | None, aim: str, trained: str | None
) -> tuple[int, tuple[str, ...]]:
    if asked is not None:
        return position(rows, asked, "--text"), ()
    if len(rows.names) == 1:
        return 0, ()
    if rows.kind == "table" and trained is not None and trained in rows.names:
        return rows.names.index(trained), (f"The text column {shown(trained, 40)} is as trained.",)
    for tier in _KNOWN.get(aim, TEXT_NAMES):
        known = [i for i, name in enumerate(rows.names) if name.strip().casefold() in tier]
        if len(known) == 1:
            name = shown(rows.names[known[0]], 40)
            return known[0], (f"The text column {name} was guessed.",)
    listed = ", ".join(shown(name, 40) for name in rows.names[:20])
    message = f"It is not obvious which column of {place(rows.path)} is the text: {listed}."
    raise DataError("E-COLUMN", message, "name it with --text")
