"""What is held of each row: all of it, or of a row in a file as little as can be.

Idea     cells are judged in one walk; a text of a file is not held, but read again from its row
Held     8 bytes for a row's key and line each; labels once each, however many rows have them
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from howfar.data.cells import Cells, Kept, Ledger, checked, clean
from howfar.data.faults import Fault
from howfar.data.split import key_of
from howfar.data.spool import Stored

_NO_CAP = 1 << 62  # characters of a document that is a file of its own

# value, text, line, column -> the target, or what is wrong with it
Convert: TypeAlias = Callable[[object, str, int, str], Any]
Columns: TypeAlias = tuple[Sequence[object], Sequence[object] | None]


class Reading(Protocol):
    """What an aim says of its cells; see `reading.Roles`."""

    @property
    def convert(self) -> Convert | None:
        """A target from its cell."""
        ...

    @property
    def plain(self) -> bool:
        """The target's cell is a clean string first."""
        ...

    @property
    def long(self) -> bool:
        """Targets are as large as texts."""
        ...

    @property
    def texts(self) -> Callable[[object], object]:
        """A cell of the text column as the text it stands for."""
        ...


class _Keys(list[str]):
    """Gathers the keys of texts, and the texts themselves unless they lie in a file."""

    def __init__(self, *, held: bool) -> None:
        super().__init__()
        self.keys = array("Q")
        self.held = held

    def append(self, text: str) -> None:
        self.keys.append(key_of(text))
        if self.held:
            super().append(text)


class _Once(list[str]):
    """Gathers labels, equal ones once, or none at all."""

    def __init__(self, *, held: bool) -> None:
        super().__init__()
        self.known: dict[str, str] = {}
        self.held = held

    def append(self, label: str) -> None:
        if self.held:
            super().append(self.known.setdefault(label, label))


class Gathered:
    """The rows that stay; texts and labels are empty where they lie in a file."""

    def __init__(self, *, texts: bool, labels: bool) -> None:
        self._texts, self._labels = _Keys(held=texts), _Once(held=labels)
        self._lines = array("q")
        lines = cast("list[int]", self._lines)  # it is only appended to
        self.kept = Kept(texts=self._texts, labels=self._labels, lines=lines)

    @property
    def keys(self) -> "array[int]":
        """Of each text."""
        return self._texts.keys

    @property
    def texts(self) -> list[str]:
        """Where they are held."""
        return self._texts

    @property
    def labels(self) -> list[str]:
        """Where they are held; "-" where no column has any."""
        return self._labels

    @property
    def lines(self) -> "array[int]":
        """Physical lines."""
        return self._lines


class _Told(Sequence[object]):
    """Cells of the text column as the texts they stand for, one by one."""

    def __init__(self, cells: Sequence[object], tell: Callable[[object], object]) -> None:
        self.cells, self.tell = cells, tell

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401 - asked for in order only
        return self.tell(self.cells[index])

    def __iter__(self) -> Iterator[object]:
        return map(self.tell, self.cells)


def judged(
    columns: Columns,
    cells: tuple[Sequence[str], Sequence[int]],
    roles: Reading,
    ledger: Ledger,
    *,
    empty: str,
    max_field: int | None,
) -> Gathered:
    """Judge every row's text and, where it is plain, its target.

    Args:
        columns: of texts and of targets.
        cells: the names of both columns, and the line of each row.
        roles: what they are.
        ledger: of the rows left out.
        empty: what to do with rows without text.
        max_field: the most characters of a cell; None: any number.
    """
    names, lines = cells
    stored = isinstance(columns[0], Stored)
    found = Gathered(texts=not stored, labels=not (stored and roles.long))
    texts = _Told(columns[0], roles.texts)
    plain = roles.plain and columns[1] is not None
    labels = columns[1] if plain and columns[1] is not None else ("-",) * len(lines)
    clean(
        Cells(names=names, lines=lines, column=lambda i: labels if i else texts),
        (0, 1),
        ledger,
        empty=empty,
        max_field=_NO_CAP if max_field is None else max_field,
        into=found.kept,
    )
    return found


def told(column: Stored[Any], places: npt.NDArray[np.int64], roles: Reading) -> Stored[str]:
    """The texts of these rows, read when they are asked for."""
    cells = column.take(places)
    return Stored(cells.spool, cells.numbers, lambda row: _text(roles.texts(cells.make(row))))


def answers(column: Stored[Any], texts: Stored[str], roles: Reading) -> Stored[Any]:
    """The targets of rows that were judged before, likewise."""

    def made(row: list[Any]) -> Any:  # noqa: ANN401 - whatever the aim makes
        value = column.make(row)
        if roles.plain:
            value = _text(value).strip()
        return value if roles.convert is None else roles.convert(value, texts.make(row), 0, "")

    return Stored(texts.spool, texts.numbers, made)


def converted(
    convert: Convert,
    rows: tuple[Sequence[object], Sequence[str], Sequence[int]],
    column: str,
    ledger: Ledger,
    *,
    held: bool,
) -> tuple[list[int], tuple[Any, ...]]:
    """Which rows' targets can be used, and, if they are to be held, those.

    Args:
        convert: a target from its cell.
        rows: cell, text and line of each.
        column: the cells' name.
        ledger: of the rows left out.
        held: whether the targets are wanted.
    """
    stay: list[int] = []
    made: list[Any] = []
    known: dict[object, object] = {}
    for i, (value, text, line) in enumerate(zip(*rows, strict=True)):
        found = convert(value, text, line, column)
        if isinstance(found, Fault):
            ledger.add(found)
            continue
        stay.append(i)
        if held:
            # Equal numbers may differ, as 0 and -0 do.
            made.append(known.setdefault(found, found) if isinstance(found, tuple) else found)
    return stay, tuple(made)


def _text(value: object) -> str:
    # It was judged before.
    return value if isinstance(value, str) else cast("str", checked(value, 0, "", _NO_CAP))
