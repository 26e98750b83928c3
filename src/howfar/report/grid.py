"""The tables behind the terminal and the page: headers and cells as text, made once.

Idea     one grid, two renderers; a cell is written from the record and from nothing else
"""

from collections.abc import Callable
from dataclasses import dataclass

from howfar.record.comparison import Comparison, CostPoint, Row
from howfar.report import words


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `priority` 0 is never dropped; the largest is dropped first."""

    key: str
    header: str
    priority: int = 0
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Line:
    """One row of cells. `message` stands instead of the cells after the first, where given."""

    cells: tuple[str, ...]
    kind: str = "family"  # or "baseline"
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Grid:
    """A titled table of text."""

    title: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]


def main_grid(comparison: Comparison) -> Grid:
    """One line a family, then one a baseline: quality, reach and cost side by side."""
    cells = _main_cells(comparison)
    columns = tuple(column for column, _ in cells)
    blanks = ("",) * (len(columns) - 2)
    families = tuple(
        Line((row.family, *("",) * (len(columns) - 1)), message=words.failure(row))
        if words.failure(row)
        else Line(tuple(write(row) for _, write in cells))
        for row in comparison.rows
    )
    baselines = tuple(
        Line((baseline.name, words.score_text(baseline.score), *blanks), kind="baseline")
        for baseline in comparison.baselines
    )
    return Grid("Quality, reach and cost", columns, families + baselines)


def distance_grid(comparison: Comparison) -> Grid | None:
    """Accuracy by distance: one column a bin, one line a family, and the task reach."""
    rows = [row for row in comparison.rows if row.by_distance]
    if not rows:
        return None
    bins = sorted({(p.distance, p.last) for row in rows for p in row.by_distance or ()}, key=_bin)
    heads = [f"{a:,}" if b is None or a == b else f"{a:,}-{b:,}" for a, b in bins]
    columns = (
        Column("family", "distance", numeric=False),
        *(Column(f"d{i}", head, _spare(i, len(heads))) for i, head in enumerate(heads)),
        Column("task_reach", "task\nreach"),
    )
    lines = []
    for row in rows:
        found = {(p.distance, p.last): f"{p.accuracy:.2f}" for p in row.by_distance or ()}
        cells = (found.get(b, words.ABSENT) for b in bins)
        lines.append(Line((row.family, *cells, words.task_reach_text(row))))
    guess = words.chance(comparison.baselines)
    if guess is not None:
        level = f"{guess.score.value:.3f}"
        lines.append(Line((guess.name, *(level for _ in bins), ""), kind="baseline"))
    return Grid("Accuracy by distance", columns, tuple(lines))


def reach_kinds(comparison: Comparison) -> set[str]:
    """The kinds of reach that were measured: "swap", "interaction", both or none."""
    return {row.reach.kind for row in comparison.rows if row.reach is not None}


def last_cost(row: Row) -> CostPoint | None:
    """The cost at the longest measured length."""
    return max(row.cost, key=lambda point: point.length, default=None)


def _main_cells(comparison: Comparison) -> list[tuple[Column, Callable[[Row], str]]]:
    cells: list[tuple[Column, Callable[[Row], str]]] = [
        (Column("family", "family", numeric=False), lambda row: row.family),
        (Column("score", _score_name(comparison)), lambda row: words.score_text(row.score)),
    ]
    cells += _beside_cells(comparison)
    kinds = reach_kinds(comparison)
    if kinds:
        header = {"swap": "R95", "interaction": "inter-\naction lag"}
        name = header.get(next(iter(kinds)), "reach") if len(kinds) == 1 else "reach"
        cells.append((Column("reach", name), lambda row: words.reach_text(row.reach)))
    if any(row.by_distance for row in comparison.rows):
        cells.append((Column("task_reach", "task\nreach", 1), words.task_reach_text))
    if any(row.reach is not None and row.reach.card is not None for row in comparison.rows):
        cells += [
            _card("structural", "struc-\ntural", 3),
            _card("detectable", "detec-\ntable", 10),
            _card("used99", "R99", 9),
            _card("useful", "useful", 2),
        ]
    return cells + _cost_cells(comparison)


def _beside_cells(comparison: Comparison) -> list[tuple[Column, Callable[[Row], str]]]:
    """Of a made task: chance, the best shortcut and the budget spent, in every family's row."""
    guess = words.chance(comparison.baselines)
    if comparison.data.kind != "task" or guess is None:
        return []
    rungs = [rung for rung in comparison.baselines if rung is not guess]
    best = words.best(rungs)
    cells: list[tuple[Column, Callable[[Row], str]]] = [
        (Column("chance", "chance", 5), lambda row: f"{guess.score.value:.3f}")
    ]
    if best is not None:
        value = f"{best.score.value:.3f}"
        cells.append((Column("shortcut", "best\nshortcut", 5), lambda row: value))
    return [*cells, (Column("tokens", "tokens\nseen", 6), lambda row: words.count(row.tokens_seen))]


def _card(field: str, header: str, priority: int) -> tuple[Column, Callable[[Row], str]]:
    return Column(field, header, priority), lambda row: words.card_text(row.reach, field)


def _cost_cells(comparison: Comparison) -> list[tuple[Column, Callable[[Row], str]]]:
    cells: list[tuple[Column, Callable[[Row], str]]] = [
        (Column("parameters", "param-\neters", 7), lambda row: words.count(row.parameters)),
        (Column("seconds", "training\nseconds", 4), lambda row: words.number(row.train_seconds)),
    ]
    points = [point for row in comparison.rows if (point := last_cost(row)) is not None]
    if points:
        lengths = {point.length for point in points}
        at = f"\nat {max(lengths):,}" if len(lengths) == 1 else ""
        cells.append((Column("time", f"us/token{at}", 5), lambda row: _time(row, bool(at))))
    if any(row.cost_exponent for row in comparison.rows):
        cells.append(
            (
                Column("exponent", "exponent p", 6),
                lambda row: words.exponent_text(row.cost_exponent),
            )
        )
    if any(row.state_bytes is not None for row in comparison.rows):
        cells.append((Column("state", "state", 8), lambda row: words.size(row.state_bytes)))
    return cells


def _time(row: Row, same_length: bool) -> str:
    point = last_cost(row)
    if point is None:
        return words.ABSENT
    forward = point.train_us_per_token is None
    time = (
        point.forward_us_per_token if point.train_us_per_token is None else point.train_us_per_token
    )
    text = f"{words.number(time)}{' fwd' if forward else ''}"
    return text if same_length else f"{text} at {point.length:,}"


def _spare(index: int, total: int) -> int:
    # Odd bins go first where room is short, then every second of the rest; the ends stay.
    return 0 if index in (0, total - 1) else 32 - (index & -index).bit_length()


def _score_name(comparison: Comparison) -> str:
    scores = [row.score for row in comparison.rows if row.score is not None]
    scores += [baseline.score for baseline in comparison.baselines]
    return scores[0].name if scores else "score"


def _bin(pair: tuple[int, int | None]) -> tuple[int, int]:
    return pair[0], pair[0] if pair[1] is None else pair[1]
