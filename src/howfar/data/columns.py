"""Which column is the text and which the label: named, or guessed where it is obvious.

Idea     a guess is by well-known names, else for two columns by their content; each guess is said
Rule     what is not obvious is an error that lists the columns
"""

from collections.abc import Callable, Sequence

from howfar.core.errors import DataError, closest, shown
from howfar.data.faults import place

# Earlier lines win over later ones.
TEXT_NAMES = (
    ("text", "texts"),
    ("review", "sentence", "content", "comment", "document", "body", "question"),
)
LABEL_NAMES = (
    ("label", "labels"),
    ("class", "category", "target", "sentiment", "polarity"),
    ("stars", "rating"),
)
_MOST_GUESSED_LABELS = 50
# Formats in which every column has its name.
_NAMED = (".jsonl", ".ndjson", ".parquet", ".arrow", ".feather", ".ipc")


def check_names(names: Sequence[str], path: str, row: int | None) -> None:
    """Raise E-DUP-COLUMN for an empty name, or names equal but for case and white space."""
    seen: dict[str, int] = {}
    for position, name in enumerate(names, start=1):
        key = name.strip().casefold()
        if not key or key in seen:
            why = (
                f"column {position} has no name"
                if not key
                else (f"columns {seen[key]} and {position} are both called {shown(name)}")
            )
            raise DataError(
                "E-DUP-COLUMN",
                f"Unclear column names in {place(path, row)}: {why}.",
                "give each column its own name",
            )
        seen[key] = position


def choose(
    names: Sequence[str],
    asked: tuple[str | None, str | None],
    column: Callable[[int], Sequence[object]],
    path: str,
) -> tuple[int, int, tuple[str, ...]]:
    """Positions of the text and the label column, and what was guessed.

    Args:
        names: all columns.
        asked: the names of the text and the label column, where the user gave them.
        column: the values of one column, to guess from.
        path: for messages.

    Raises:
        DataError: E-COLUMN for an unknown name or where no guess is obvious.
    """
    text, label = (_named(names, name, path) for name in asked)
    if text is not None and text == label:
        raise _unclear(names, path, "text and label are the same column")
    guessed_text, guessed_label = text is None, label is None
    if text is None:
        text = _well_known(names, TEXT_NAMES, label)
    if label is None:
        label = _well_known(names, LABEL_NAMES, text)
    if (text is None) != (label is None) and len(names) == 2:
        text, label = (text, 1 - text) if text is not None else (1 - (label or 0), label)
    if text is None and label is None and len(names) == 2:
        text, label = _by_content(names, column, path)
    if text is None or label is None:
        missing = "text" if text is None else "label"
        raise _unclear(names, path, f"it is not obvious which column is the {missing}")
    said = [
        f"The {role} column {shown(names[position])} was guessed."
        for role, position, guessed in (
            ("text", text, guessed_text),
            ("label", label, guessed_label),
        )
        if guessed
    ]
    return text, label, tuple(said)


def _named(names: Sequence[str], name: str | None, path: str) -> int | None:
    if name is None:
        return None
    if name in names:
        return names.index(name)
    if name.strip() in names:
        return names.index(name.strip())
    raise DataError(
        "E-COLUMN",
        f"No column {shown(name)} in {place(path)}: its columns are {_list(names)}. "
        f"{closest(name, names)}".strip(),
        f"name one of them with --text or --label{or_no_header(names, path)}",
    )


def _well_known(
    names: Sequence[str], known: Sequence[Sequence[str]], taken: int | None
) -> int | None:
    for tier in known:
        found = [i for i, name in enumerate(names) if i != taken and name.casefold() in tier]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _by_content(
    names: Sequence[str], column: Callable[[int], Sequence[object]], path: str
) -> tuple[int | None, int | None]:
    columns = [[str(value or "").strip() for value in column(i)] for i in (0, 1)]
    for text, label in ((0, 1), (1, 0)):
        if not _look_like(columns[text], columns[label]):
            continue
        if names[label].casefold() in {value.casefold() for value in columns[label]}:
            raise _unclear(names, path, "the first row looks like data, not like a header")
        return text, label
    return None, None


def _look_like(texts: list[str], labels: list[str]) -> bool:
    distinct = len(set(labels))
    few = distinct <= min(_MOST_GUESSED_LABELS, len(labels) // 2) and distinct < len(set(texts))
    return few and sum(map(len, texts)) >= 2 * sum(map(len, labels))


def _unclear(names: Sequence[str], path: str, why: str) -> DataError:
    return DataError(
        "E-COLUMN",
        f"Unclear columns in {place(path)}: {why}. Its columns are {_list(names)}.",
        f"name them with --text and --label{or_no_header(names, path)}",
    )


def or_no_header(names: Sequence[str], path: str) -> str:
    """What ends a hint, where the first row may have been taken for names."""
    numbered = list(names) == [str(i + 1) for i in range(len(names))]
    named = path.startswith("hf:") or path.lower().removesuffix(".gz").endswith(_NAMED)
    return "" if numbered or named else ", or --no-header if the first row is data"


def _list(names: Sequence[str]) -> str:
    first = ", ".join(shown(name, 40) for name in names[:20])
    return f"{first} and {len(names) - 20} more" if len(names) > 20 else first
