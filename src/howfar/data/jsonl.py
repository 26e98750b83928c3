"""JSON Lines: one object a line, keys are columns.

Idea     numbers and truth values keep their JSON text, so a label 1 is "1" and 1.0 is "1.0"
Faults   E-JSON for a line that is not an object; E-DUP-COLUMN for a key that stands twice
Source   https://jsonlines.org
"""

import json
from collections.abc import Iterator
from dataclasses import replace

from howfar.core.errors import shown
from howfar.data.faults import RAW_KEPT, Fault

Object = dict[str, object]


class _TwiceError(ValueError):
    """A key that stands twice in one object."""


def parse(lines: Iterator[str]) -> Iterator[tuple[int, Object] | Fault]:
    """Yield objects as (line, object) and faults; blank lines are passed over."""
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            hint = "write the file again as text; UTF-16 without a mark: --encoding utf-16-le"
            name, raw = "NUL character", _cut(line)
            yield Fault(number, "E-NUL", name, "text holds none", name, hint, raw=raw)
        elif line.strip(" \t\r\n"):
            found = _object(number, line)
            yield replace(found, raw=_cut(line)) if isinstance(found, Fault) else found


def _object(number: int, line: str) -> tuple[int, Object] | Fault:
    try:
        # NaN and Infinity are not JSON, and mean that nothing was there.
        value = json.loads(
            line,
            parse_int=str,
            parse_float=str,
            parse_constant=lambda _: None,
            object_pairs_hook=_unique,
        )
    except _TwiceError as twice:
        why = f"the key {shown(twice)} stands twice"
        return Fault(number, "E-DUP-COLUMN", "Double key", why, "double key", "keep one of them")
    except json.JSONDecodeError as broken:
        why = f"{broken.msg} at character {broken.colno}"
        return _fault(number, "Not JSON", why, "one JSON object a line")
    except RecursionError:
        return _fault(number, "Not JSON", "it is nested too deeply", "one flat object a line")
    if isinstance(value, dict):
        return number, value
    why = f"the line holds {_kind(value)}"
    return _fault(number, "No JSON object", why, 'one object a line, such as {"text": "..."}')


def _cut(line: str) -> str:
    return line[:RAW_KEPT].rstrip("\r\n")


def _fault(number: int, what: str, why: str, hint: str) -> Fault:
    return Fault(number, "E-JSON", what, why, "not a JSON object", hint)


def _kind(value: object) -> str:
    # Numbers arrive as their text.
    return "an array" if isinstance(value, list) else "a single value"


def _unique(pairs: list[tuple[str, object]]) -> Object:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        raise _TwiceError(next(key for key, _ in pairs if key in seen or seen.add(key)))  # type: ignore[func-returns-value]
    return made
