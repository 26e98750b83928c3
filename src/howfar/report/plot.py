"""Figures from a record: reach, benefit, interaction, distance, cost, memory, scores, learning.

Idea     one function a figure, points in long form, nothing computed here beyond where to draw
Log      zero has no place on a log axis: a line stops there, and an x marks its last point
Units    kept tokens, lags and lengths in tokens; nats, microseconds and bytes as the axes say
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import altair as alt

from howfar.record.comparison import Comparison, Curve, Need, Row
from howfar.report import layers, words
from howfar.report.layers import Axis, Point
from howfar.report.style import Look, looks

Chart: TypeAlias = alt.LayerChart
_TENTHS = (0, 0.2, 0.4, 0.6, 0.8, 1)
Looks: TypeAlias = Mapping[str, Look]


def figures(comparison: Comparison, drawn: Looks | None = None) -> dict[str, Chart]:
    """Draw every figure that applies, by name.

    Args:
        comparison: what to draw.
        drawn: the look of each family, where several comparisons share a page.

    Returns:
        Charts by name, in reading order: scores, demand, reach, benefit, interaction, distance,
        time, memory, learning. A figure without data is left out.
    """
    clean = words.shown(comparison)
    styles = looks(row.family for row in clean.rows) if drawn is None else drawn
    charts = {name: draw(clean, styles) for name, draw in FIGURES.items()}
    return {name: chart for name, chart in charts.items() if chart is not None}


def score_chart(comparison: Comparison, styles: Looks) -> Chart | None:
    """Families and baselines as dots with their intervals, best read against each other."""
    rows = [row for row in comparison.rows if row.score is not None and row.status == "done"]
    if not rows:
        return None
    name = rows[0].score.name if rows[0].score else ""
    pairs = [(row.family, row.score) for row in rows]
    taken = {row.family for row in comparison.rows}
    others = [
        (f"{b.name} (baseline)" if b.name in taken else b.name, b.score)
        for b in comparison.baselines
        if b.score.name == name
    ]
    points = [
        Point(label, score.value, 0.0, score.low, score.high)
        for label, score in (*pairs, *others)
        if score is not None and score.name == name
    ]
    better = rows[0].score.better if rows[0].score else "higher"
    return layers.dots(
        points,
        styles,
        layers.Heading(
            "How well",
            f"{better} is better; hollow squares: baselines",
            f"{name} of each family and baseline with its interval.",
        ),
        name,
    )


def reach_chart(comparison: Comparison, styles: Looks) -> Chart | None:
    """r(k): the share of the output's change that kept tokens do not explain."""
    rows = _reaching(comparison, "swap")
    points = _curve_points(rows, lambda row: row.reach.curve if row.reach else None, log=True)
    if not points:
        return None
    heading = layers.Heading(
        "How far back each looks",
        "x: exactly zero at the next point; vertical line: structural reach",
        "Change of the output when everything older than the kept tokens is replaced, as a share "
        "of the change when all is replaced, on log axes.",
    )
    floor = max((row.reach.noise_floor for row in rows if row.reach), default=0.0)
    y = layers.log10_axis("r(k), share of the change", points, floor)
    parts = layers.curves(points, styles, layers.log2_axis("kept tokens k", points), y)
    parts += layers.level(floor, "noise floor", points, y) if floor > 0 else []
    parts += layers.edges(_structural(rows), styles, points)
    return layers.figure(parts, heading)


def demand_chart(comparison: Comparison, styles: Looks) -> Chart | None:
    """How far each family looks and how far the data reaches, on one axis."""
    reached = [_reached(row) for row in comparison.rows if row.reach is not None]
    if not comparison.demand or not any(reached):
        return None
    points = [*reached, *(_needed(need) for need in comparison.demand)]
    drawn = [point for point in points if point is not None]
    heading = layers.Heading(
        "How far they look, and how far the data reaches",
        "hollow: the data itself; an arrow head: at least this far",
        "Reach of each family with its interval, and what the data offers, in tokens on a log "
        "axis.",
    )
    return layers.dots(drawn, styles, heading, "tokens", log=True)


def _reached(row: Row) -> Point | None:
    reach = row.reach
    if reach is None:
        return None
    if reach.censored and reach.value is None:
        return Point(row.family, float(reach.window), 0.0, last=True)
    if not reach.value:
        return None
    high = reach.high if reach.high is not None else reach.window
    low = reach.low if reach.low is not None else reach.value
    return Point(row.family, float(reach.value), 0.0, max(1, low), high)


def _needed(need: Need) -> Point | None:
    if need.censored:
        return Point(need.name, float(max(1, need.window)), 0.0, last=True)
    return Point(need.name, float(need.value), 0.0) if need.value else None


def need_charts(needs: Iterable[Need]) -> dict[str, Chart]:
    """One figure a measure of demand, by its name."""
    charts = {}
    for need in needs:
        if need.curve is None:
            continue
        log = bool(need.floor)
        points = _one_curve(need.name, need.curve, log=log)
        if not points:
            continue
        title = need.name[:1].upper() + need.name[1:]
        heading = layers.Heading(
            title,
            "of the data itself; shaded: 95 % interval",
            f"{need.unit} against {need.curve.axis}: {need.says}.",
        )
        axis = layers.log2_axis(need.curve.axis, points)
        if log:
            y = layers.log10_axis(need.unit, points, max(need.floor))
        else:
            y = Axis(need.unit, alt.Scale(zero=False))
        parts = layers.curves(points, looks([need.name]), axis, y)
        if log and max(need.floor) > 0:
            parts += layers.level(max(need.floor), "shuffled", points, y)
        charts[need.name] = layers.figure(parts, heading)
    return charts


def benefit_chart(comparison: Comparison, styles: Looks) -> Chart | None:
    """The extra loss when only k tokens are kept."""
    rows = _reaching(comparison, "swap")
    points = _curve_points(rows, lambda row: row.reach.benefit if row.reach else None, log=False)
    if not points:
        return None
    heading = layers.Heading(
        "How far back it pays to look",
        "under the line at 0.01 nats, looking further no longer pays",
        "Extra loss in nats per target when only the kept tokens are real, on a log x-axis.",
    )
    y = layers.loss_axis("extra loss, nats per target", points, 0.01)
    parts = layers.curves(points, styles, layers.log2_axis("kept tokens k", points), y)
    return layers.figure(parts + layers.level(0.01, "0.01 nats", points, y), heading)


def interaction_chart(comparison: Comparison, styles: Looks) -> Chart | None:
    """I(d): how far the joint effect of two tokens at lag d differs from the sum."""
    rows = _reaching(comparison, "interaction")
    points = _curve_points(rows, lambda row: row.reach.curve if row.reach else None, log=True)
    if not points:
        return None
    heading = layers.Heading(
        "How far apart two tokens still work together",
        "x: exactly zero at the next point",
        "Joint effect of two tokens beyond the sum of their single effects, against their lag, "
        "on log axes.",
    )
    floor = max((row.reach.noise_floor for row in rows if row.reach), default=0.0)
    y = layers.log10_axis("I(d), share of the single effect", points, floor)
    parts = layers.curves(points, styles, layers.log2_axis("lag d, tokens", points), y)
    parts += layers.level(floor, "noise floor", points, y) if floor > 0 else []
    return layers.figure(parts, heading)


def distance_chart(comparison: Comparison, styles: Looks) -> Chart | None:
    """Accuracy against how far back the deciding token stands."""
    rows = [row for row in comparison.rows if row.by_distance]
    points = [
        Point(row.family, p.accuracy, math.sqrt(p.distance * (p.last or p.distance)), p.low, p.high)
        for row in rows
        for p in row.by_distance or ()
        if p.distance > 0
    ]
    if not points:
        return None
    heading = layers.Heading(
        "Accuracy by distance",
        "a bin stands at its geometric middle; vertical line: structural reach",
        "Accuracy against the distance in tokens of the deciding token, with Wilson intervals.",
    )
    y = Axis("accuracy", alt.Scale(domain=[0, 1]), _TENTHS, "format(datum.value, '~r')")
    parts = layers.curves(points, styles, layers.log2_axis("distance, tokens", points), y)
    guess = words.chance(comparison.baselines)
    parts += layers.level(guess.score.value, "chance", points, y) if guess else []
    # Kept tokens count the target's own place, so the furthest distance seen is one less.
    declared = {row.family: row.declared_reach - 1 for row in rows if row.declared_reach}
    return layers.figure(parts + layers.edges(declared, styles, points), heading)


def time_chart(comparison: Comparison, styles: Looks) -> Chart | None:
    """Time a token against length: flat means linear cost, rising means worse."""
    trained = any(p.train_us_per_token is not None for row in comparison.rows for p in row.cost)
    points = _cost_points(
        comparison, lambda p: p.train_us_per_token if trained else p.forward_us_per_token
    )
    if not points:
        return None
    what = "forward + backward" if trained else "forward"
    heading = layers.Heading(
        "What a token costs",
        f"{what}, one sequence; a flat line is linear cost",
        f"Microseconds per token, {what}, against sequence length, on log axes.",
    )
    x, y = layers.log2_axis("length, tokens", points), layers.log10_axis("us per token", points)
    return layers.figure(layers.curves(points, styles, x, y), heading)


def memory_chart(comparison: Comparison, styles: Looks) -> Chart | None:
    """Peak memory of forward and backward against length."""
    points = _cost_points(comparison, lambda p: p.peak_bytes)
    if not points:
        return None
    heading = layers.Heading(
        "What memory it takes",
        "peak of forward + backward, above model and input",
        "Peak bytes of forward and backward against sequence length, on log axes.",
    )
    y = layers.bytes_axis("peak memory, bytes", points)
    parts = layers.curves(points, styles, layers.log2_axis("length, tokens", points), y)
    return layers.figure(parts, heading)


def learning_chart(comparison: Comparison, styles: Looks) -> Chart | None:
    """Validation loss against tokens seen, one line a seed."""
    points = [
        Point(row.family, nats, float(tokens), part=str(curve.seed))
        for row in comparison.rows
        for curve in row.learning
        for tokens, nats in zip(curve.tokens, curve.validation_nats, strict=True)
    ]
    if not points:
        return None
    heading = layers.Heading(
        "Learning curves",
        "one line a seed, at the learning rate that was chosen",
        "Validation loss in nats per target against tokens seen in training.",
    )
    x = Axis("tokens seen", alt.Scale(nice=False, zero=False), label="format(datum.value, '~s')")
    y = Axis("validation loss, nats per target", alt.Scale(zero=False))
    return layers.figure(layers.curves(points, styles, x, y), heading)


FIGURES: dict[str, Callable[[Comparison, Looks], Chart | None]] = {
    "scores": score_chart,
    "demand": demand_chart,
    "reach": reach_chart,
    "benefit": benefit_chart,
    "interaction": interaction_chart,
    "distance": distance_chart,
    "time": time_chart,
    "memory": memory_chart,
    "learning": learning_chart,
}


def _reaching(comparison: Comparison, kind: str) -> list[Row]:
    return [row for row in comparison.rows if row.reach is not None and row.reach.kind == kind]


def _structural(rows: Iterable[Row]) -> dict[str, int]:
    cards = ((row.family, row.reach.card) for row in rows if row.reach and row.reach.card)
    return {family: card.structural for family, card in cards if not card.structural_unbounded}


def _curve_points(
    rows: Iterable[Row], pick: Callable[[Row], Curve | None], *, log: bool
) -> list[Point]:
    points: list[Point] = []
    for row in rows:
        curve = pick(row)
        if curve is not None:
            points += _one_curve(row.family, curve, log=log)
    return points


def _one_curve(family: str, curve: Curve, *, log: bool) -> list[Point]:
    points: list[Point] = []
    part = 0
    for x, mean, low, high in zip(curve.x, curve.mean, curve.low, curve.high, strict=True):
        if x <= 0:
            continue
        if log and mean <= 0:
            if points and not points[-1].last and points[-1].part == str(part):
                points[-1] = points[-1].stopped()
            part += 1
            continue
        points.append(Point(family, mean, float(x), low, high, part=str(part)))
    return points


def _cost_points(comparison: Comparison, pick: Callable[[Any], float | None]) -> list[Point]:
    return [
        Point(row.family, float(value), float(point.length))
        for row in comparison.rows
        for point in row.cost
        if (value := pick(point)) is not None and value > 0
    ]
