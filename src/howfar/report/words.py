"""How a number or a stranger's text is written, the same in table, figure and page.

Idea     text from outside is data: whatever would not be seen is spelled out as [U+XXXX]
Units    as in the record; bytes are written in powers of 1,024
Absent   a value that does not apply is written "-"
"""

import dataclasses
import unicodedata
from collections.abc import Sequence
from typing import Any, TypeVar, cast

from howfar.record.comparison import Baseline, Card, Data, Exponent, Need, Reach, Row, Score

ABSENT = "-"
T = TypeVar("T")
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def visible(text: str) -> str:
    """Spell out control, format, bidirectional and unassigned characters as [U+XXXX]."""
    return "".join(f"[U+{ord(c):04X}]" if unicodedata.category(c) in _HIDDEN else c for c in text)


def shown(record: T) -> T:
    """Copy a record with every string in it made `visible`, keys of dicts included."""
    return cast(T, _shown(record))


def _shown(value: Any) -> Any:  # noqa: ANN401 - walks any record
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, tuple):
        # Curves are long and hold numbers alone: leave them as they are.
        return value if value and isinstance(value[0], (int, float)) else tuple(map(_shown, value))
    if isinstance(value, dict):
        return {visible(key): _shown(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in dataclasses.fields(value)]
        return dataclasses.replace(value, **{name: _shown(getattr(value, name)) for name in names})
    return value


def cut(text: str, limit: int) -> str:
    """Shorten to `limit` characters, with "..." where something is left out."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def number(value: float | None) -> str:
    """Three significant digits, plain where it stays short: 0.00213, 41.2, 18,400, 3.1e-07."""
    if value is None:
        return ABSENT
    if value == 0:
        return "0"
    if abs(value) >= 999.5:
        return f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.3g}"
    return f"{value:.3g}" if abs(value) < 1e-4 else f"{value:#.3g}".rstrip(".")


def count(value: int | None) -> str:
    """A whole number with thousands separated."""
    return ABSENT if value is None else f"{value:,}"


def size(value: int | None) -> str:
    """Bytes in the largest unit that keeps at least 1: 512 B, 16.5 KiB, 2.0 MiB."""
    if value is None:
        return ABSENT
    amount = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            break
        amount /= 1024
    return f"{value} B" if unit == "B" else f"{amount:.1f} {unit}"


def score_text(score: Score | None) -> str:
    """A score with its interval: 0.912 [0.901, 0.923]."""
    if score is None:
        return ABSENT
    if score.low is None or score.high is None:
        return f"{score.value:.3f}"
    return f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"


def exponent_text(exponent: Exponent | None) -> str:
    """The fitted exponent with its interval: 1.02 [0.98, 1.06]."""
    if exponent is None:
        return ABSENT
    return f"{exponent.value:.2f} [{exponent.low:.2f}, {exponent.high:.2f}]"


def reach_text(reach: Reach | None) -> str:
    """A reach with its interval, "> window" where censored, "none" where nothing reaches."""
    if reach is None:
        return ABSENT
    if reach.censored:
        return f"> {reach.window:,}"
    if reach.value is None:
        return "none"
    if reach.low is None and reach.high is None:
        return f"{reach.value:,}"
    low = "0" if reach.low is None else f"{reach.low:,}"
    high = f"> {reach.window:,}" if reach.high is None else f"{reach.high:,}"
    return f"{reach.value:,} [{low}, {high}]"


def need_text(need: Need) -> str:
    """How far the data reaches: a number, "> window" where censored, "none"."""
    if need.censored:
        return f"> {need.window:,}"
    return "none" if need.value is None else f"{need.value:,}"


def card_text(reach: Reach | None, name: str) -> str:
    """One entry of the reach card; `name` is a field of `Card`."""
    if reach is None or reach.card is None:
        return ABSENT
    card: Card = reach.card
    if name == "structural" and card.structural_unbounded:
        return "all"
    if name in card.censored:
        return f"> {reach.window:,}"
    return count(getattr(card, name))


def task_reach_text(row: Row) -> str:
    """The task reach: the largest distance solved, every shorter one too."""
    if row.task_reach is None:
        return ABSENT if row.by_distance is None else "none"
    return f">= {row.task_reach:,}" if row.task_reach_censored else count(row.task_reach)


def failure(row: Row) -> str | None:
    """Status and reason of a family that did not finish, else None."""
    if row.status == "done":
        return None
    return f"{row.status}: {row.reason or 'no reason was recorded'}"


def best(baselines: Sequence[Baseline]) -> Baseline | None:
    """The baseline that does best, by what its score counts as better."""
    if not baselines:
        return None
    return max(
        baselines,
        key=lambda one: -one.score.value if one.score.better == "lower" else one.score.value,
    )


def chance(baselines: Sequence[Baseline]) -> Baseline | None:
    """The baseline called "chance", where there is one."""
    return next((b for b in baselines if b.name.strip().lower() == "chance"), None)


def data_line(data: Data) -> str:
    """What was read, dropped and cut, in one line."""
    unit = f"{data.unit}s" if data.unit else "tokens"
    parts = [f"{data.name}:"]
    if data.kind == "labels":
        parts.append(f"{data.rows:,} rows, {data.dropped:,} dropped,")
        lost = f" ({data.truncated_tokens:,} {unit} left out)" if data.truncated_rows else ""
        parts.append(f"{data.truncated_rows:,} cut{lost};")
    what = unit if data.kind == "text" else "rows" if data.kind == "labels" else "sequences"
    # A task makes its training sequences as they are asked for: there is no number of them.
    train = "fresh" if data.kind == "task" else f"{data.train:,}"
    parts.append(
        f"{train} {what} to train, {data.validation:,} to validate, {data.test:,} to test;"
    )
    parts.append(f"up to {data.length:,} {unit} a sequence, {data.vocabulary:,} different.")
    return " ".join(parts)
