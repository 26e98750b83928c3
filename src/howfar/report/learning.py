"""How one run learned, as a figure: training and validation loss against tokens seen.

Idea     one point a validation; the weights that were kept are a vertical line. Of very many points
         some are drawn: evenly, with the last and the kept one among them
"""

import math
from collections.abc import Sequence

import altair as alt

from howfar.record.training import Point as Moment
from howfar.record.training import Training
from howfar.report import draw, layers
from howfar.report.layers import Axis, Point
from howfar.report.style import LOOKS

MOST = 100  # points of a line
_STYLES = {"training": LOOKS[0], "validation": LOOKS[1]}
_GREY = "#555555"


def learning_svg(training: Training) -> str | None:
    """The learning curve of one run as SVG; None where no loss is known."""
    chart = learning_chart(training)
    return None if chart is None else draw.svg(chart, "learning")


def learning_chart(training: Training) -> alt.LayerChart | None:
    """The learning curve of one run; None where no loss is known.

    Args:
        training: the record; its points, its best step, its aim and what chose it are read.
    """
    seen = _thinned([point for point in training.points if _drawn(point)], training.best_step)
    if not seen:
        return None
    points = [
        Point(name, value, float(point.tokens))
        for name, pick in (("training", 0), ("validation", 1))
        for point in seen
        for value in ((point.loss, point.validation)[pick],)
        if math.isfinite(value)
    ]
    x = Axis("tokens seen", _scale(points), label="format(datum.value, '~s')")
    regression = training.aim == "regression"
    unit = "squared standard deviations" if regression else "nats a target"
    y = Axis(f"loss, {unit}", alt.Scale(zero=False))
    best = next((point for point in seen if point.step == training.best_step), None)
    heading = layers.Heading(
        "How it learned",
        _subtitle(training, best),
        f"Training and validation loss in {unit} against tokens seen in training.",
    )
    parts = layers.curves(points, _STYLES, x, y) + ([] if best is None else _mark(best, points))
    return layers.figure(parts, heading)


def _drawn(point: Moment) -> bool:
    return math.isfinite(point.loss) or math.isfinite(point.validation)


def _thinned(points: Sequence[Moment], best_step: int) -> list[Moment]:
    """At most `MOST` of the points and the best one, in order."""
    count = min(len(points), MOST)
    if not count:
        return []
    last = len(points) - 1
    chosen = {round(last * i / max(1, count - 1)) for i in range(count)} | {last}
    chosen |= {i for i, point in enumerate(points) if point.step == best_step}
    return [points[i] for i in sorted(chosen)]


def _scale(points: Sequence[Point]) -> alt.Scale:
    return alt.Scale(domain=[0, max(1.0, *(1.02 * p.x for p in points))], nice=False)


def _subtitle(training: Training, best: Moment | None) -> list[str]:
    said = ["training: as minimised, the mean since the point before"]
    if best is not None:
        by = "score" if training.settings.get("select") == "score" else "loss"
        said.append(f"vertical line: step {best.step:,}, kept for its best validation {by}")
    return said


def _mark(best: Moment, points: Sequence[Point]) -> list[alt.Chart]:
    """A vertical line where the kept weights were reached."""
    data = alt.InlineData(values=[{"x": float(best.tokens)}])
    rule = alt.Chart(data).mark_rule(color=_GREY, strokeDash=[4, 3], strokeWidth=1.5)
    return [rule.encode(x=alt.X("x:Q", scale=_scale(points)))]
