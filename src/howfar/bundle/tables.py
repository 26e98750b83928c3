"""Predictions as CSV or JSON Lines.

Safety   a spreadsheet runs a cell that begins with = + - @, TAB, CR or LF, or with their full-width
         forms, as a formula, and may take what stands behind a separator or a quote for a cell.
         Texts get a ' in front of each such place; one more ' goes in front of those that stand
         there already, so that taking one away restores every text. Numbers stay numbers
Source   https://owasp.org/www-community/attacks/CSV_Injection
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from howfar.bundle.predict import Prediction

_FORMULA = re.compile(
    r"""(^|[;,|"\t\r\n])(?='*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])""",
)
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
MARK = "'"


def neutral(text: str) -> str:
    """A text that no spreadsheet takes for a formula; one that is a number is none."""
    if _NUMBER.fullmatch(text):
        return text
    return _FORMULA.sub(rf"\1{MARK}", text)


def rows_of(
    predictions: Sequence[Prediction],
    lines: Sequence[int],
    *,
    probabilities: bool = False,
    kept: Mapping[str, Sequence[object]] | None = None,
) -> Iterator[dict[str, Any]]:
    """One flat or nested row a prediction, as JSON Lines have it.

    Args:
        predictions: the answers.
        lines: where each text stands in its file.
        probabilities: those of every name, under "probabilities".
        kept: columns of the input that go in front; one that has a name of ours keeps it, and ours
            is then called "howfar.NAME".
    """
    columns = kept or {}
    taken = {name.strip().casefold() for name in columns}

    def own(name: str) -> str:
        return f"howfar.{name}" if name in taken else name

    for place, (one, line) in enumerate(zip(predictions, lines, strict=True)):
        row = {name: plain(values[place]) for name, values in columns.items()}
        row[own("line")] = line
        row[own("prediction")] = plain(one.label)
        if one.probabilities is not None:
            if not isinstance(one.label, tuple):
                row[own("probability")] = max(one.probabilities.values())
            if probabilities:
                row[own("probabilities")] = dict(one.probabilities)
        row |= {own("tokens"): one.tokens, own("cut"): one.cut, own("empty"): one.empty}
        yield row


def json_lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """One JSON object a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def csv_bytes(rows: Iterable[Mapping[str, Any]], *, raw: bool = False) -> bytes:
    """RFC 4180, UTF-8, a header in front; lists are joined with "|", inner objects are columns.

    Args:
        rows: as of `rows_of`; the first says which columns there are.
        raw: texts as they are, formulas too.
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\r\n")
    header: list[str] | None = None
    for row in rows:
        flat = _flat(row)
        if header is None:
            header = list(flat)
            writer.writerow([name if raw else neutral(name) for name in header])
        writer.writerow([_cell(flat.get(name), raw) for name in header])
    return file.getvalue().encode()


def plain(value: object) -> Any:  # noqa: ANN401 - JSON
    """A value that JSON holds: numbers that are none become null, other objects their text."""
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, float):
        return value if value - value == 0 else None
    if value is None or isinstance(value, (str, bool, int)):
        return value
    return str(value)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            found |= {f"p({inner})": number for inner, number in value.items()}
        else:
            found[name] = value
    return found


def _cell(value: Any, raw: bool) -> object:  # noqa: ANN401
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, (int, float)):
        return value
    text = "|".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if raw else neutral(text)
