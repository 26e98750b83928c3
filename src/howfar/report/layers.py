"""The parts figures are made of: lines with bands and marks, rules, edges, dots, axes.

Idea     a figure is a list of layers over points in long form; field names are fixed here, so
         no text from outside ever becomes part of an expression
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from howfar.report.style import HEIGHT, WIDTH, Look, config

_GREY = "#555555"
_NEAR = 1e4  # a noise floor is drawn when the least value is within this factor of it


@dataclass(frozen=True, slots=True)
class Point:
    """One drawn value of one family; `part` separates lines, `last` marks a stop before zero."""

    family: str
    y: float
    x: float
    low: float | None = None
    high: float | None = None
    part: str = "0"
    last: bool = False

    def stopped(self) -> "Point":
        """The same point, marked as the last one before zero."""
        return dataclasses.replace(self, last=True)


@dataclass(frozen=True, slots=True)
class Heading:
    """Title, subtitle and the description read to those who do not see the figure."""

    title: str
    subtitle: str | list[str]  # a list: its lines
    description: str


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: title with unit, scale, ticks (None: chosen), tick label, and ends if fixed."""

    title: str
    scale: alt.Scale
    values: Sequence[float] | None = None
    label: str | None = None
    ends: tuple[float, float] | None = None

    def made(self) -> alt.Axis:
        """The altair axis."""
        more: dict[str, Any] = {"labelExpr": self.label} if self.label else {}
        # On a log scale a tick count would thin out even the ticks that are asked for.
        more |= {"tickCount": 6} if self.values is None else {"values": list(self.values)}
        return alt.Axis(title=self.title, **more)


def log2_axis(title: str, points: Sequence[Point]) -> Axis:
    """A log axis of token counts with ticks at powers of two, thinned where there are many."""
    low, high = min(p.x for p in points), max(p.x for p in points)
    if low == high:
        low, high = low / 2, high * 2
    powers = range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)
    ticks = [2.0**p for p in powers][:: 1 + len(powers) // 10]
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    return Axis(title, scale, ticks, "format(datum.value, ',~g')")


def log10_axis(title: str, points: Sequence[Point], floor: float = 0.0) -> Axis:
    """A log axis from below the least to above the greatest value, and to the floor where near.

    Ticks stand at 1, 2 and 5 within two decades, at powers of ten beyond.
    """
    least, greatest = min(p.y for p in points), max(p.y for p in points)
    if 0 < floor < least < _NEAR * floor:
        least = floor
    steps = (1, 2, 5) if greatest / least < 100 else (1,)
    first, last = math.floor(math.log10(least)), math.ceil(math.log10(greatest)) + 1
    ladder = [m * 10.0**p for p in range(first, last + 1) for m in steps]
    low = max(t for t in ladder if t <= least)
    high = min(t for t in ladder if t >= greatest and t > low)
    ticks = [t for t in ladder if low <= t <= high]
    scale = alt.Scale(type="log", domain=[low, high], nice=False, clamp=True)
    label = "datum.value < 0.001 ? format(datum.value, '.0e') : format(datum.value, ',~r')"
    return Axis(title, scale, ticks[:: -1 - len(ticks) // 9], label, (low, high))


def loss_axis(title: str, points: Sequence[Point], fine: float) -> Axis:
    """A symmetric log axis, linear within `fine` of zero."""
    ends = [v for p in points for v in (p.low, p.high, p.y) if v is not None]
    low, high = min(0.0, *ends), max(fine, *ends)
    ladder = [fine * 10.0**p for p in range(6)]
    ticks = [t for t in (*(-t for t in reversed(ladder)), 0.0, *ladder) if low <= t <= high]
    scale = alt.Scale(type="symlog", constant=fine, domain=[low, high], nice=False)
    return Axis(title, scale, ticks, "format(datum.value, '~g')", (low, high))


def bytes_axis(title: str, points: Sequence[Point]) -> Axis:
    """A log axis of bytes with ticks at KiB, MiB and GiB and their multiples of eight."""
    low = math.floor(math.log2(min(p.y for p in points)))
    high = max(low + 1, math.ceil(math.log2(max(p.y for p in points))))
    ticks = [2.0**p for p in range(low, high + 1)][:: 1 + (high - low) // 7]
    label = (
        "datum.value >= 1073741824 ? format(datum.value / 1073741824, '~r') + ' GiB' : "
        "datum.value >= 1048576 ? format(datum.value / 1048576, '~r') + ' MiB' : "
        "datum.value >= 1024 ? format(datum.value / 1024, '~r') + ' KiB' : "
        "format(datum.value, '~r') + ' B'"
    )
    return Axis(title, alt.Scale(type="log", domain=[2.0**low, 2.0**high]), ticks, label)


def curves(
    points: Sequence[Point], styles: Mapping[str, Look], x: Axis, y: Axis
) -> list[alt.Chart]:
    """Bands, lines, marks, and an x at points marked as last."""
    names = list(dict.fromkeys(p.family for p in points))
    seen = {name: styles[name] for name in names}
    base = alt.Chart(alt.InlineData(values=[_values(p) for p in points])).encode(
        x=alt.X("x:Q", scale=x.scale, axis=x.made()),
        color=alt.Color(
            "family:N",
            scale=_scale(names, [s.colour for s in seen.values()]),
            legend=_legend(names),
        ),
        detail="part:N",
    )
    place = alt.Y("y:Q", scale=y.scale, axis=y.made())
    dashes, shapes = [list(s.dash) for s in seen.values()], [s.shape for s in seen.values()]
    dash = alt.StrokeDash("family:N", scale=_scale(names, dashes), legend=None)
    shape = alt.Shape("family:N", scale=_scale(names, shapes), legend=_legend(names))
    parts = [
        base.mark_line(strokeWidth=2, clip=True).encode(y=place, strokeDash=dash),
        base.mark_point(filled=True, size=38, opacity=1).encode(y=place, shape=shape),
    ]
    if any(p.low is not None and p.high is not None for p in points):
        band = base.mark_area(opacity=0.14, clip=True).encode(
            y=alt.Y("low:Q", scale=y.scale, axis=y.made()), y2="high:Q"
        )
        parts.insert(0, band)
    ends = [_values(p) for p in points if p.last]
    if ends:
        cross = "M-1,-1L1,1M1,-1L-1,1"
        parts.append(
            base.mark_point(shape=cross, size=110, strokeWidth=2.5, filled=False, opacity=1)
            .encode(y=place)
            .properties(data=alt.InlineData(values=ends))
        )
    return parts


def level(value: float, label: str, points: Sequence[Point], y: Axis) -> list[alt.Chart]:
    """A horizontal rule with its name at the left end; nothing where it is out of sight."""
    if y.ends is not None and not y.ends[0] <= value <= y.ends[1]:
        return []
    left = min(p.x for p in points)
    data = alt.InlineData(values=[{"y": value, "x": left, "label": label}])
    rule = alt.Chart(data).mark_rule(color=_GREY, strokeDash=[3, 3]).encode(y="y:Q")
    text = alt.Chart(data).mark_text(align="left", dx=4, dy=-6, fontSize=10, color=_GREY)
    return [rule, text.encode(x="x:Q", y="y:Q", text="label:N")]


def edges(
    reaches: Mapping[str, int], styles: Mapping[str, Look], points: Sequence[Point]
) -> list[alt.Chart]:
    """A vertical rule in the family's colour where its structural reach ends, if in sight."""
    low, high = min(p.x for p in points), max(p.x for p in points)
    return [
        alt.Chart(alt.InlineData(values=[{"x": reach}]))
        .mark_rule(color=styles[family].colour, strokeDash=list(styles[family].dash), opacity=0.8)
        .encode(x="x:Q")
        for family, reach in reaches.items()
        if low <= reach <= high
    ]


def dots(
    points: Sequence[Point],
    styles: Mapping[str, Look],
    heading: Heading,
    title: str,
    *,
    log: bool = False,
) -> alt.LayerChart:
    """One line a name: a dot with its interval; names without a look are not families.

    A point marked as last is censored: an arrow head instead of a dot. `log`: powers of two.
    """
    names = list(dict.fromkeys(p.family for p in points))
    place = alt.Y(
        "family:N",
        sort=None,
        scale=alt.Scale(domain=names),
        axis=alt.Axis(title=None, labelLimit=130),
    )
    scale = alt.Scale(zero=False, nice=False, padding=14)
    axis = alt.Axis(title=title)
    if log:
        ends = [v for p in points for v in (p.low, p.high, p.y) if v is not None]
        least, most = math.floor(math.log2(min(ends))), math.ceil(math.log2(max(ends)))
        ticks = [2.0**p for p in range(least, most + 1)]
        scale = alt.Scale(type="log", domain=[ticks[0] / 1.2, ticks[-1] * 1.2], nice=False)
        thin = ticks[:: 1 + len(ticks) // 10]
        axis = alt.Axis(title=title, values=thin, labelExpr="format(datum.value, ',~g')")
    parts: list[alt.Chart] = []
    for name in names:
        look = styles.get(name)
        data = alt.InlineData(values=[_values(p) for p in points if p.family == name])
        colour = look.colour if look else _GREY
        base = alt.Chart(data).encode(y=place)
        value = alt.X("y:Q", scale=scale, axis=axis)
        beyond = any(p.last for p in points if p.family == name)
        if all(p.low is not None and p.high is not None for p in points if p.family == name):
            span = base.mark_rule(color=colour, strokeWidth=2)
            parts.append(span.encode(x=alt.X("low:Q", scale=scale), x2="high:Q"))
        mark = base.mark_point(
            shape="triangle-right" if beyond else look.shape if look else "square",
            filled=look is not None,
            color=colour,
            size=70,
            opacity=1,
        )
        parts.append(mark.encode(x=value))
    return figure(parts, heading, height=max(150, 95 + 26 * len(names)))


def figure(parts: Sequence[alt.Chart], heading: Heading, height: int = HEIGHT) -> alt.LayerChart:
    """Lay the parts over each other at the size of a card."""
    return alt.LayerChart(
        layer=list(parts),
        title=alt.TitleParams(heading.title, subtitle=heading.subtitle),
        description=heading.description,
        width=WIDTH,
        height=height,
        autosize=alt.AutoSizeParams(type="fit", contains="padding"),
        padding={"left": 5, "top": 5, "right": 14, "bottom": 5},
        config=alt.Config.from_dict(config()),
    )


def _scale(names: list[str], values: list[Any]) -> alt.Scale:
    return alt.Scale(domain=names, range=values)


def _legend(names: Sequence[str]) -> alt.Legend:
    short = max(map(len, names)) <= 12
    return alt.Legend(columns=3 if short else 2, labelLimit=80 if short else 130)


def _values(point: Point) -> dict[str, Any]:
    return {k: v for k, v in dataclasses.asdict(point).items() if v is not None}
