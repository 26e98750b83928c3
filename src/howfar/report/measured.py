"""A figure of any measured curve: one model, one line with its interval.

Idea     kept tokens, lags and lengths on a log axis; the value on a log axis where no point is
         negative, since tails are what is looked for
"""

from pathlib import Path

from howfar.record.comparison import Curve
from howfar.report import draw, layers
from howfar.report.layers import Point
from howfar.report.style import looks


def measured_chart(
    name: str, model: str, curve: Curve, unit: str, floor: float = 0.0
) -> str | None:
    """One curve as SVG; None where there is no point to draw.

    Args:
        name: of the measure.
        model: as the legend names it.
        curve: axis, points, means and intervals.
        unit: of the value.
        floor: the noise floor, 0 for none.
    """
    rows = list(zip(curve.x, curve.mean, curve.low, curve.high, strict=True))
    rows = [row for row in rows if row[0] > 0]
    log = all(mean >= 0 for _, mean, _, _ in rows) and any(mean > 0 for _, mean, _, _ in rows)
    rows = [row for row in rows if row[1] > 0 or not log]
    points = [Point(model, mean, float(x), low, high) for x, mean, low, high in rows]
    if not points:
        return None
    y = layers.log10_axis(unit, points, floor) if log else layers.loss_axis(unit, points, 0.01)
    parts = layers.curves(points, looks([model]), layers.log2_axis(curve.axis, points), y)
    parts += layers.level(floor, "noise floor", points, y) if log and floor > 0 else []
    heading = layers.Heading(
        name, "band: interval over sequences", f"{unit} against {curve.axis}, measured on {model}."
    )
    return draw.svg(layers.figure(parts, heading), name.replace(" ", "-"))


def save_measured(drawings: dict[str, str], folder: Path) -> list[Path]:
    """Write drawings by name as SVG and PNG; returns the paths.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in drawings.items():
        for path, content in (
            (folder / f"{name}.svg", text.encode()),
            (folder / f"{name}.png", draw.png(text)),
        ):
            path.write_bytes(content)
            written.append(path)
    return written
