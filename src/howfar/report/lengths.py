"""How long the texts of a file are, as a figure.

Idea     rows by length, in bins that double; where training cuts is a vertical line
"""

import altair as alt

from howfar.record.described import Described
from howfar.report import draw, layers, words
from howfar.report.style import LOOKS


def length_chart(found: Described) -> str | None:
    """Rows by length as SVG; None where there are none."""
    clean = words.shown(found)
    drawn = clean.lengths or clean.characters
    if drawn is None:
        return None
    ends = [*drawn.starts[1:], 2 * max(1, drawn.starts[-1])]
    bins = [
        {"low": max(low, 0.5), "high": high, "rows": rows}
        for low, high, rows in zip(drawn.starts, ends, drawn.counts, strict=True)
    ]
    scale = alt.Scale(type="log", domain=[bins[0]["low"], ends[-1]], nice=False)
    ticks = [max(low, 0.5) for low in (*drawn.starts, ends[-1])]
    axis = alt.Axis(
        title=f"{drawn.unit}s a {clean.of}",
        values=ticks[:: 1 + len(ticks) // 9],
        labelExpr="datum.value < 1 ? '0' : format(datum.value, ',~g')",
    )
    bars = (
        alt.Chart(alt.InlineData(values=bins))
        .mark_bar(color=LOOKS[0].colour, stroke="white", strokeWidth=1)
        .encode(
            x=alt.X("low:Q", scale=scale, axis=axis, bin="binned"),
            x2="high:Q",
            y=alt.Y("rows:Q", axis=alt.Axis(title=f"{clean.of}s", tickCount=6)),
        )
    )
    parts: list[alt.Chart] = [bars]
    if clean.cutting is not None and bins[0]["low"] <= clean.cutting.length <= ends[-1]:
        cut = alt.Chart(alt.InlineData(values=[{"at": clean.cutting.length}]))
        parts.append(cut.mark_rule(color=LOOKS[1].colour, strokeDash=[4, 3]).encode(x="at:Q"))
    heading = layers.Heading(
        "How long the texts are",
        "bins that double; dashed: where training cuts" if len(parts) > 1 else "bins that double",
        f"Number of {clean.of}s of {clean.name} by length in {drawn.unit}s, on a log axis.",
    )
    return draw.svg(layers.figure(parts, heading), "lengths")
