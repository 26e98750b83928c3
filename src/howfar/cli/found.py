"""What a measure found, as lines on a terminal and as plain data for JSON.

Idea     every result has the fields of `measure.curve.Measured`; whatever else it holds is written
         out by its own names, so that a new measure needs nothing here
"""

import dataclasses
import math
from typing import Any

import numpy as np
from torch import Tensor

from howfar.report.words import number

CARD = ("structural", "detectable", "used99", "used95", "used50", "useful")
UNITS = {
    "swap": "kept tokens",
    "gradient": "kept tokens",
    "influence": "kept tokens",
    "context": "context tokens",
    "attention": "kept tokens",
    "retention": "tokens back",
    "interaction": "tokens apart",
    "structure": "kept tokens",
}
MOST_NUMBERS = 10_000
COMMON = ("value", "low", "high", "censored", "window", "curve", "num_sequences", "warnings")


def plain(value: Any) -> Any:
    """A result as JSON data: absent fields left out, arrays and tensors too."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if hasattr(value, "plain"):
            return (
                plain(value.plain()) if dataclasses.is_dataclass(value.plain()) else value.plain()
            )
        pairs = ((f.name, plain(getattr(value, f.name))) for f in dataclasses.fields(value))
        return {name: item for name, item in pairs if item is not None}
    if isinstance(value, dict):
        pairs = ((str(key), plain(item)) for key, item in value.items())
        return {key: item for key, item in pairs if item is not None}
    if isinstance(value, (list, tuple)):
        return [item for item in map(plain, value) if item is not None]
    if isinstance(value, np.ndarray) and value.size <= MOST_NUMBERS:
        return _cells(value.tolist())  # a map of layers and lags, say
    if isinstance(value, (np.ndarray, Tensor)) or callable(value):
        return None
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _cells(value: Any) -> Any:
    """Numbers in lists of lists; what has no value is null, as each has its place."""
    if isinstance(value, list):
        return [_cells(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def found_data(kind: str, result: Any) -> dict[str, Any]:
    """One measure's result for JSON; a field that does not apply is absent."""
    data: dict[str, Any] = {"kind": kind, **plain(result)}
    if kind == "swap":
        data["card"] = {k: v for k, v in card(result).items() if v is not None}
    curve = getattr(result, "curve", None)
    if curve is not None:
        data["curve"] |= {"unit": curve.unit, "design": curve.design}
    data["result"] = headline(kind, result)
    return data


def card(result: Any) -> dict[str, int | None]:
    """The reach card of a swap reach."""
    return {
        "structural": result.structural,
        "detectable": result.detectable,
        "used99": result.ladder.get(0.01),
        "used95": result.ladder.get(0.05),
        "used50": result.ladder.get(0.5),
        "useful": result.useful,
    }


def headline(kind: str, result: Any) -> str:
    """The one number in words: with its interval, where it is censored, or why there is none."""
    value = getattr(result, "value", None)
    window = getattr(result, "window", None)
    unit = UNITS.get(kind, "tokens")
    if getattr(result, "censored", False):
        # A lag that holds at the longest one tried is a value and a bound at once.
        bound = f">= {value:,}" if value is not None else f"> {window:,}" if window else "beyond"
        return f"{bound} {unit} (censored: no longer distance was measured)"
    if value is None:
        said = [w for w in getattr(result, "warnings", ()) if w.startswith("no ")]
        said = [w for w in said if not w.startswith(("no interval", "no half-life"))]
        return said[0] if said else "nothing found"
    low, high = getattr(result, "low", None), getattr(result, "high", None)
    if low is None and high is None:
        return f"{value:,} {unit} (no interval)"
    top = f"> {window:,}" if high is None and window else f"{high:,}"
    return f"{value:,} [{low:,}, {top}] {unit}"


def lines(kind: str, result: Any) -> list[str]:
    """A result as a small table for a terminal."""
    said = [f"{kind}: {headline(kind, result)}"]
    design = getattr(result, "design", "") or getattr(getattr(result, "curve", None), "design", "")
    count = getattr(result, "num_sequences", None)
    how = [f"{count:,} sequences" if count else "", f"design {design}" if design else ""]
    said += [f"  measured    {', '.join(part for part in how if part)}"] if any(how) else []
    if kind == "swap":
        said += [f"  {name:<11} {text}" for name, text in _card_lines(result)]
    else:
        said += [f"  {name:<11} {text}" for name, text in _others(result)]
    said += _curve_lines(getattr(result, "curve", None))
    if hasattr(result, "table"):
        said += [f"  {line}" for line in result.table().splitlines()]
    return said + [f"  warning     {warning}" for warning in getattr(result, "warnings", ())]


def _card_lines(result: Any) -> list[tuple[str, str]]:
    texts = []
    seen = result.value is not None or result.censored
    for name, value in card(result).items():
        beyond = name in ("detectable", "useful") and getattr(result, f"{name}_censored")
        beyond = beyond or (name.startswith("used") and seen and value is None)
        if value is not None or beyond:
            bound = ">= " if name == "structural" and not result.structural_declared else ""
            texts.append((name, f"> {result.window:,}" if beyond else f"{bound}{value:,}"))
    return texts


def _others(result: Any) -> list[tuple[str, str]]:
    """Further numbers of a result, by name."""
    texts = []
    for field in dataclasses.fields(result) if dataclasses.is_dataclass(result) else ():
        value = getattr(result, field.name)
        if field.name in COMMON or isinstance(value, bool):
            continue
        if isinstance(value, (int, float)):
            text = f"{value:,}" if isinstance(value, int) else number(value)
            texts.append((field.name.replace("_", " "), text))
    return texts


def _curve_lines(curve: Any) -> list[str]:
    """The curve at up to eight points, evenly among those measured."""
    if curve is None or not len(curve.x):
        return []
    chosen = sorted({int(i) for i in np.linspace(0, len(curve.x) - 1, 8).round()})
    cells = [(f"{curve.x[i]:,}", number(curve.mean[i])) for i in chosen]
    wide = [max(map(len, cell)) for cell in cells]
    rows = [" ".join(c[j].rjust(w) for c, w in zip(cells, wide, strict=True)) for j in (0, 1)]
    width = max(len(curve.axis), len(curve.unit))
    heads = (curve.axis, curve.unit)
    return [f"  {head:<{width}}  {row}" for head, row in zip(heads, rows, strict=True)]
