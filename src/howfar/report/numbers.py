"""The numbers behind each figure, as tables: whoever cannot see the figure reads the same.

Idea     one table a figure, the x-axis down, one column a family; an absent value is "-"
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from howfar.record.comparison import Comparison, CostPoint, Curve, Need, Row, Score
from howfar.report import words
from howfar.report.grid import Column, Grid, Line

Cells: TypeAlias = dict[str, dict[int, str]]  # family -> x -> cell


def figure_numbers(comparison: Comparison) -> dict[str, Grid]:
    """The table behind every figure, by the figure's name; empty ones are left out."""
    grids = {
        "scores": _scores(comparison),
        "demand": demand_grid(comparison.demand),
        "reach": _curves(comparison, "swap", "kept tokens", lambda row: _main(row)),
        "benefit": _curves(comparison, "swap", "kept tokens", lambda row: _benefit(row)),
        "interaction": _curves(comparison, "interaction", "lag", lambda row: _main(row)),
        "distance": _distances(comparison),
        "time": _costs(comparison, "us per token", _time),
        "memory": _costs(comparison, "peak memory", _memory),
        "learning": _learning(comparison),
    }
    return {name: grid for name, grid in grids.items() if grid is not None}


def baseline_grid(comparison: Comparison) -> Grid | None:
    """Every baseline with its score and what it does."""
    if not comparison.baselines:
        return None
    columns = (Column("name", "baseline", numeric=False), Column("score", "score"),
               Column("note", "what it does", numeric=False))  # fmt: skip
    noted = 2 + any(b.note for b in comparison.baselines)
    cells = [(b.name, _named(b.score), b.note or "") for b in comparison.baselines]
    lines = tuple(Line(cell[:noted]) for cell in cells)
    return Grid("Baselines", columns[:noted], lines)


def demand_grid(needs: Sequence[Need]) -> Grid | None:
    """How far the data itself reaches, by each way of asking."""
    if not needs:
        return None
    heads = ("asked by", "tokens", "meaning")
    columns = tuple(Column(h, h, numeric=h == "tokens") for h in heads)
    lines = tuple(Line((need.name, words.need_text(need), need.says)) for need in needs)
    return Grid("How far the data reaches", columns, lines)


def reach_grid(comparison: Comparison) -> Grid | None:
    """How each reach was measured: window, design, sequences, noise floor, and each seed's."""
    pairs = [(row.family, row.reach) for row in comparison.rows if row.reach is not None]
    if not pairs:
        return None
    heads = ("family", "measure", "design", "window", "sequences", "noise floor", "R50", "a seed")
    columns = tuple(Column(h, h, numeric=i > 2) for i, h in enumerate(heads))
    lines = tuple(
        Line(
            (
                family,
                reach.kind,
                reach.design or words.ABSENT,
                words.count(reach.window),
                words.count(reach.sequences),
                words.number(reach.noise_floor),
                words.card_text(reach, "used50"),
                ", ".join(map(words.count, reach.per_seed)) or words.ABSENT,
            )
        )
        for family, reach in pairs
    )
    return Grid("How reach was measured", columns, lines)


def training_grid(comparison: Comparison) -> Grid | None:
    """What each family is and how it was trained."""
    rows = [row for row in comparison.rows if words.failure(row) is None]
    if not rows:
        return None
    heads = ("family", "kind", "width", "depth", "parameters", "embedding", "head", "tokens seen",
             "steps", "seconds", "learning rate", "seeds", "score a seed")  # fmt: skip
    columns = tuple(Column(h, h, numeric=h not in ("family", "kind")) for h in heads)
    return Grid("Sizes and training", columns, tuple(Line(_training(row)) for row in rows))


def rate_grid(comparison: Comparison) -> Grid | None:
    """Validation loss in nats at every learning rate tried; the chosen one is marked *."""
    rows = [row for row in comparison.rows if row.learning_rates]
    rates = sorted({r for row in rows for r in row.learning_rates or {}}, key=_rate)
    if not rates:
        return None
    lines = [Line((row.family, *(_rate_cell(row, rate) for rate in rates))) for row in rows]
    columns = (Column("family", "family", numeric=False), *(Column(r, r) for r in rates))
    return Grid("Validation loss in nats by learning rate", columns, tuple(lines))


def _scores(comparison: Comparison) -> Grid | None:
    pairs = [(row.family, row.score) for row in comparison.rows if row.score is not None]
    pairs += [(baseline.name, baseline.score) for baseline in comparison.baselines]
    heads = ("name", "score", "low", "high")
    columns = tuple(Column(h, h, numeric=h != "name") for h in heads)
    lines = tuple(Line((name, _exact(s.value), _exact(s.low), _exact(s.high))) for name, s in pairs)
    return Grid("Scores", columns, lines) if lines else None


def _curves(
    comparison: Comparison, kind: str, axis: str, pick: Callable[[Row], Curve | None]
) -> Grid | None:
    cells: Cells = {}
    for row in comparison.rows:
        curve = pick(row)
        if curve is None or row.reach is None or row.reach.kind != kind:
            continue
        points = zip(curve.x, curve.mean, curve.low, curve.high, strict=True)
        cells[row.family] = {
            x: f"{words.number(mean)} [{words.number(low)}, {words.number(high)}]"
            for x, mean, low, high in points
        }
    return _by_x(axis, cells)


def _main(row: Row) -> Curve | None:
    return row.reach.curve if row.reach else None


def _benefit(row: Row) -> Curve | None:
    return row.reach.benefit if row.reach else None


def _distances(comparison: Comparison) -> Grid | None:
    bins: dict[int, str] = {}
    cells: Cells = {}
    for row in comparison.rows:
        for p in row.by_distance or ():
            whole = p.last is None or p.last == p.distance
            bins[p.distance] = f"{p.distance:,}" if whole else f"{p.distance:,} to {p.last:,}"
            text = f"{p.accuracy:.3f} [{p.low:.3f}, {p.high:.3f}]"
            cells.setdefault(row.family, {})[p.distance] = text + (
                f" of {p.count:,}" if p.count else ""
            )
    return _by_x("distance", cells, bins)


def _costs(comparison: Comparison, what: str, write: Callable[[CostPoint], str]) -> Grid | None:
    cells = {
        row.family: {p.length: write(p) for p in row.cost} for row in comparison.rows if row.cost
    }
    if not any(cell != words.ABSENT for column in cells.values() for cell in column.values()):
        return None
    return _by_x(f"length ({what})", cells)


def _time(point: CostPoint) -> str:
    forward = f"{words.number(point.forward_us_per_token)} forward"
    if point.flops_per_token is not None:
        forward += f", {words.number(point.flops_per_token)} FLOPs"
    both = point.train_us_per_token
    return forward if both is None else f"{words.number(both)} ({forward})"


def _memory(point: CostPoint) -> str:
    if point.peak_bytes is None or point.forward_peak_bytes is None:
        return words.size(point.peak_bytes)
    return f"{words.size(point.peak_bytes)} ({words.size(point.forward_peak_bytes)} forward)"


def _learning(comparison: Comparison) -> Grid | None:
    cells: Cells = {
        f"{row.family}, seed {curve.seed}": {
            tokens: words.number(nats)
            for tokens, nats in zip(curve.tokens, curve.validation_nats, strict=True)
        }
        for row in comparison.rows
        for curve in row.learning
    }
    return _by_x("tokens seen", cells)


def _by_x(axis: str, cells: Cells, names: dict[int, str] | None = None) -> Grid | None:
    places: Sequence[int] = sorted({x for column in cells.values() for x in column})
    if not places:
        return None
    columns = (Column("x", axis), *(Column(name, name) for name in cells))
    lines = tuple(
        Line(
            (
                names[x] if names else f"{x:,}",
                *(column.get(x, words.ABSENT) for column in cells.values()),
            )
        )
        for x in places
    )
    return Grid(axis, columns, lines)


def _training(row: Row) -> tuple[str, ...]:
    rate = words.ABSENT if row.learning_rate is None else f"{row.learning_rate:g}"
    sizes: Iterable[int] = (row.width, row.depth, row.parameters, row.embedding_parameters,
                            row.head_parameters, row.tokens_seen, row.steps)  # fmt: skip
    seeds = ", ".join(map(str, row.seeds)) or words.ABSENT
    scores = ", ".join(f"{s:.3f}" for s in row.seed_scores) or words.ABSENT
    numbers = map(words.count, sizes)
    return (row.family, row.kind, *numbers, words.number(row.train_seconds), rate, seeds, scores)


def _rate_cell(row: Row, rate: str) -> str:
    loss = (row.learning_rates or {}).get(rate)
    chosen = row.learning_rate is not None and _rate(rate)[0] == row.learning_rate
    return words.number(loss) + (" *" if chosen and loss is not None else "")


def _rate(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return float("inf"), text


def _named(score: Score) -> str:
    return f"{score.name} {words.score_text(score)}"


def _exact(value: float | None) -> str:
    return words.ABSENT if value is None else f"{value:.4f}"
