"""Charts to SVG and PNG without a browser.

Idea     one SVG a chart, PNG from that SVG; ids are numbered anew, so that equal records give
         equal files and several SVGs can share one page
"""

from xml.etree import ElementTree

import altair as alt
import vl_convert

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_PNG_SCALE = 2


def svg(chart: alt.LayerChart, prefix: str) -> str:
    """Draw a chart as SVG; every id in it starts with `prefix`, and it names itself to readers.

    Raises:
        ValueError: the chart is not valid Vega-Lite.
    """
    specification = chart.to_dict()
    root = ElementTree.fromstring(vl_convert.vegalite_to_svg(specification))
    _renumber(root, prefix)
    root.set("role", "img")
    root.set("aria-label", f"{specification['title']['text']}. {specification['description']}")
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def png(svg_text: str) -> bytes:
    """Draw an SVG as PNG at twice its size."""
    return bytes(vl_convert.svg_to_png(svg_text, scale=_PNG_SCALE))


def _renumber(root: ElementTree.Element, prefix: str) -> None:
    new: dict[str, str] = {}
    for element in root.iter():
        old = element.get("id")
        if old is not None:
            new[old] = f"{prefix}-{len(new)}"
            element.set("id", new[old])
    for element in root.iter():
        for key, value in element.attrib.items():
            if value.startswith("url(#") and value.endswith(")"):
                element.set(key, f"url(#{new[value[5:-1]]})")
