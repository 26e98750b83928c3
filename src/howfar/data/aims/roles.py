"""Which columns an aim reads, guessed by well-known names where the user named none.

Idea     a guess is said; what is not obvious is an error that lists the columns
"""

from collections.abc import Sequence

from howfar.core.errors import DataError, shown
from howfar.data.aims.reading import Names, position
from howfar.data.anything import Rows
from howfar.data.columns import LABEL_NAMES, TEXT_NAMES, choose, or_no_header
from howfar.data.faults import place

NUMBER_NAMES = (*LABEL_NAMES, ("score", "value", "number", "y"))
TOKEN_NAMES = (("tokens", "words"), ("text", "sentence"))
TAG_NAMES = (("tags", "ner_tags", "pos_tags"), ("labels", "label"), ("ner", "pos"))
SOURCE_NAMES = (("source", "src", "input", "inputs"), ("question", "prompt", "text"))
TARGET_NAMES = (("target", "tgt", "output", "outputs"), ("answer", "response", "label"))

Tiers = Sequence[Sequence[str]]


def text_and_label(rows: Rows, asked: Names) -> tuple[int, int | None, tuple[str, ...]]:
    """The columns of a labelled table, by name or by content."""
    _refuse_text(rows)
    return choose(list(rows.names), asked, rows.column, rows.path)


def text_alone(rows: Rows, asked: Names) -> tuple[int, int | None, tuple[str, ...]]:
    """The column of documents: named, well known, or the only one."""
    if asked[0] is not None:
        return position(rows, asked[0], "--text"), None, ()
    if len(rows.names) == 1:
        return 0, None, ()
    at = _known(rows.names, TEXT_NAMES, None)
    if at is None:
        raise _unclear(rows, "text", "--text")
    return at, None, (f"The text column {shown(rows.names[at])} was guessed.",)


class Pair:
    """Two columns by well-known names, or the only two in their order."""

    def __init__(self, first: tuple[str, Tiers], second: tuple[str, Tiers]) -> None:
        self.first, self.second = first, second

    def __call__(self, rows: Rows, asked: Names) -> tuple[int, int | None, tuple[str, ...]]:
        """Positions of both, and what was guessed."""
        _refuse_text(rows)
        named = [
            None if name is None else position(rows, name, option)
            for name, option in zip(asked, ("--text", "--label"), strict=True)
        ]
        one, other = named
        if one is None:
            one = _known(rows.names, self.first[1], other)
        if other is None:
            other = _known(rows.names, self.second[1], one)
        if len(rows.names) == 2 and (one is None or other is None):
            one = one if one is not None else (0 if other is None else 1 - other)
            other = other if other is not None else 1 - one
        if one is None or other is None:
            what, option = (self.first[0], "--text") if one is None else (self.second[0], "--label")
            raise _unclear(rows, what, option)
        if one == other:
            raise _unclear(rows, f"{self.first[0]} and which the {self.second[0]}", "--text")
        said = tuple(
            f"The {what} column {shown(rows.names[at])} was guessed."
            for (what, _), at, name in ((self.first, one, asked[0]), (self.second, other, asked[1]))
            if name is None
        )
        return one, other, said


def _known(names: Sequence[str], tiers: Tiers, taken: int | None) -> int | None:
    for tier in tiers:
        found = [i for i, name in enumerate(names) if i != taken and name.casefold() in tier]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _refuse_text(rows: Rows) -> None:
    if rows.kind == "text":
        raise DataError(
            "E-FORMAT",
            f"{place(rows.path)} is running text: it has no labels.",
            "a table such as .csv or .jsonl, a folder with one folder a class, or --aim lm",
        )


def _unclear(rows: Rows, what: str, option: str) -> DataError:
    listed = ", ".join(shown(name, 40) for name in rows.names[:20])
    return DataError(
        "E-COLUMN",
        f"It is not obvious which column of {place(rows.path)} is the {what}: {listed}.",
        f"name it with {option}{or_no_header(rows.names, rows.path)}",
    )
