"""Every cell of a text and a label column, judged without being refused.

Idea     what a strict reading would stop at is gathered under its reason: one look shows all
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from howfar.core.errors import shown
from howfar.data.aims.labels import several
from howfar.data.aims.numbers import number
from howfar.data.aims.options import CorpusOptions
from howfar.data.anything import Rows
from howfar.data.cells import checked, near_duplicates
from howfar.data.faults import Fault, listed, share
from howfar.data.split import normalised
from howfar.record.described import Column

_LEAST = 3  # different texts a label needs, one for each part
_RATIO = 100  # times as many rows of the commonest label as of the rarest
_LOPSIDED = 0.9
_NO_CAP = 1 << 62  # characters of a document that is a file of its own


@dataclass(slots=True)
class Seen:
    """What stands at one index of texts, keys, labels and lines belongs to one row.

    texts: those that are there. keys: their normal forms. labels: as one text each, "" where there
    is none; None: no such column. listed: labels come in lists. empty: lines without text. faults:
    reason -> lines of texts that cannot be used. unlabelled: rows without label.
    """

    texts: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    labels: list[str] | None = None
    lines: list[int] = field(default_factory=list)
    listed: bool = False
    empty: list[int] = field(default_factory=list)
    faults: dict[str, list[int]] = field(default_factory=dict)
    unlabelled: int = 0

    def rare(self) -> list[str]:
        """Labels with too few different texts to split."""
        texts: dict[str, set[str]] = {}
        for key, name in zip(self.keys, self.labels or (), strict=True):
            known = texts.setdefault(name, set())
            if len(known) < _LEAST:
                known.add(key)
        return sorted(name for name, known in texts.items() if name and len(known) < _LEAST)

    def conflicts(self) -> int:
        """Rows whose text, in normal form, stands under another label too."""
        known: dict[str, set[str]] = {}
        for key, label in zip(self.keys, self.labels or (), strict=True):
            known.setdefault(key, set()).add(label)
        return sum(len(known[key]) > 1 for key in self.keys)


def look(rows: Rows, text: int, label: int | None, options: CorpusOptions) -> Seen:
    """Judge every cell of the text column, and of the label column if there is one."""
    cells: Sequence[Any] | None = rows.column(label) if label is not None else None
    seen = Seen(labels=None if cells is None else [])
    seen.listed = any(isinstance(cell, list) for cell in (cells or ())[:1000])
    cap = options.max_field if rows.kind == "table" else _NO_CAP
    for i, value in enumerate(rows.column(text)):
        line = rows.lines[i]
        joined = " ".join(map(str, value)) if isinstance(value, list) else value
        found = checked(joined, line, rows.names[text], cap)
        if isinstance(found, Fault):
            seen.faults.setdefault(found.reason, []).append(line)
            continue
        if not found.strip():
            seen.empty.append(line)
            continue
        if cells is not None and seen.labels is not None:
            name = _label(cells[i], line, rows.names[label or 0], options)
            seen.unlabelled += not name
            seen.labels.append(name)
        seen.texts.append(found)
        seen.keys.append(normalised(found))
        seen.lines.append(line)
    return seen


def _label(cell: object, line: int, column: str, options: CorpusOptions) -> str:
    """A label as one text; several with the separator between."""
    if isinstance(cell, list):
        found = several(cell, options.label_separator, line, column)
        return "" if isinstance(found, Fault) else options.label_separator.join(found)
    text = checked(cell, line, column, options.max_field)
    return "" if isinstance(text, Fault) else text.strip()


def columns_of(rows: Rows, text: int, label: int | None) -> tuple[Column, ...]:
    """What each column holds."""
    roles = {text: "text", label: "label"}
    return tuple(
        _column(name, rows.column(at), roles.get(at)) for at, name in enumerate(rows.names)
    )


def _column(name: str, values: Sequence[object], role: str | None) -> Column:
    there = [v for v in values if v is not None and v == v and v not in ("", [])]
    tests: tuple[tuple[str, Callable[[object], bool]], ...] = (
        ("truth values", lambda v: isinstance(v, bool)),
        ("numbers", lambda v: isinstance(v, int | float)),
        ("numbers", lambda v: isinstance(v, str) and isinstance(number(v, "", 1, ""), float)),
        ("lists", lambda v: isinstance(v, list)),
        ("text", lambda v: isinstance(v, str)),
    )
    holds = next((kind for kind, test in tests if all(map(test, there))), "mixed")
    return Column(
        name=name,
        holds=holds if there else "nothing",
        distinct=len({v if isinstance(v, str | int | float) else repr(v) for v in there}),
        missing=len(values) - len(there),
        role=role,
    )


def cell_warnings(rows: Rows, seen: Seen) -> list[str]:
    """What a strict reading would stop at."""
    total = len(rows.lines)
    said = []
    if seen.empty:
        said.append(
            f"E-EMPTY-TEXT: {share(len(seen.empty), total)} have no text ({listed(seen.empty)}); "
            "--empty drop leaves them out."
        )
    for reason, lines in sorted(seen.faults.items()):
        said.append(
            f"{share(len(lines), total)}: {reason} ({listed(lines)}); --bad-rows skip leaves them "
            "out."
        )
    if seen.unlabelled and not seen.listed:
        said.append(
            f"E-LABEL: {share(seen.unlabelled, total)} have no label; --bad-rows skip leaves them "
            "out."
        )
    return said


def class_warnings(classes: dict[str, int], rare: Sequence[str], torn: int) -> list[str]:
    """What is odd about classes.

    Args:
        classes: label -> rows, the commonest first.
        rare: labels with too few different texts.
        torn: rows whose text stands under another label.
    """
    said = list(near_duplicates(list(classes)))
    total, most, least = sum(classes.values()), max(classes.values()), min(classes.values())
    if len(classes) == 1:
        said.append("E-ONE-CLASS: all rows have one label; there is nothing to learn.")
    elif most > _LOPSIDED * total or most >= _RATIO * least:
        said.append(
            f"W-IMBALANCE: {shown(next(iter(classes)))} is the label of {share(most, total)}, "
            f"{shown(list(classes)[-1])} of {least:,}; look at macro F1, not at accuracy alone."
        )
    if rare:
        names = ", ".join(shown(name, 40) for name in rare[:5])
        more = f" and {len(rare) - 5:,} more" if len(rare) > 5 else ""
        said.append(
            f"E-TOO-FEW: labels with fewer than {_LEAST} different texts, one for each part: "
            f"{names}{more}; --rare drop leaves them out."
        )
    if torn:
        said.append(
            f"W-CONFLICT: {share(torn, total)} have a text that stands under another label."
        )
    return said
