"""One look a family: a colour, a mark shape and a dash, the same in every figure.

Idea     colour never carries a difference alone, so a grey print and every eye can tell them apart
Source   colours from Okabe and Ito 2008, "Color Universal Design", without the yellow
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

WIDTH = 390  # of a whole figure, so that a card fits a phone
HEIGHT = 330


@dataclass(frozen=True, slots=True)
class Look:
    """How one family is drawn."""

    colour: str
    shape: str
    dash: tuple[int, ...]


LOOKS = (
    Look("#0072B2", "circle", (1, 0)),
    Look("#D55E00", "square", (7, 3)),
    Look("#009E73", "triangle-up", (2, 2)),
    Look("#000000", "diamond", (9, 3, 2, 3)),
    Look("#CC79A7", "cross", (4, 2)),
    Look("#E69F00", "triangle-down", (12, 4)),
    Look("#56B4E9", "triangle-right", (6, 2, 2, 2, 2, 2)),
    Look("#7F7F7F", "triangle-left", (1, 3)),
)

# The look a well-known family prefers; any other takes the next free one.
_PREFERRED = {
    "tcn": 0, "gru": 1, "transformer": 2, "lstm": 3, "cnn": 4, "textcnn": 4, "rnn": 5, "elman": 5
}  # fmt: skip


def looks(families: Iterable[str]) -> dict[str, Look]:
    """Give every family its look; equal lists give equal looks.

    Beyond eight families colours come again, with another shape and dash beside them.
    """
    names = list(dict.fromkeys(families))
    slots: dict[str, int] = {}
    for name in names:
        slot = _PREFERRED.get(name)
        if slot is not None and slot not in slots.values():
            slots[name] = slot
    free = (i for i in range(len(names) + len(LOOKS)) if i not in set(slots.values()))
    for name in names:
        if name not in slots:
            slots[name] = next(free)
    return {name: _look(slots[name]) for name in names}


def _look(slot: int) -> Look:
    turn, base = divmod(slot, len(LOOKS))
    other = LOOKS[(base + 3 * turn) % len(LOOKS)]
    return Look(LOOKS[base].colour, other.shape, other.dash)


def config() -> dict[str, Any]:
    """Vega-Lite settings that all figures share."""
    font = "Arial, Liberation Sans, Helvetica, sans-serif"
    return {
        "font": font,
        "background": "white",
        "aria": True,
        "mark": {"aria": False},
        "view": {"stroke": None},
        "title": {"anchor": "start", "fontSize": 14, "subtitleFontSize": 11, "offset": 10,
                  "subtitleColor": "#444", "frame": "bounds", "subtitlePadding": 4},
        "axis": {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal",
                 "gridColor": "#e4e4e4", "domainColor": "#777", "tickColor": "#777",
                 "labelColor": "#333", "titleColor": "#222", "labelFlush": False},
        "legend": {"orient": "bottom", "title": None, "labelFontSize": 11, "symbolSize": 70,
                   "symbolOpacity": 1, "symbolStrokeWidth": 0, "offset": 8, "columnPadding": 12},
    }  # fmt: skip
