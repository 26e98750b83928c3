r"""Frozen dataclasses to JSON and back, strictly.

Idea     a record is a tree of frozen dataclasses; its JSON is that tree without absent fields
Rule     None means "does not apply" and is left out; NaN, infinity and unknown keys are refused
Names    a path of bytes that are no text holds half surrogate pairs, which no file can: JSON has
         them as escapes, \udcff, and gives them back; `printable` spells them out for good
"""

import dataclasses
import json
import math
import types
import typing
from typing import Any, TypeVar

T = TypeVar("T")


def to_data(value: Any) -> Any:  # noqa: ANN401 - any record, list or scalar
    """Turn a record into plain dicts, lists and scalars; fields that are None are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: to_data(item) for name, item in fields if item is not None}
    if isinstance(value, dict):
        return {str(key): to_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_data(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"A record may not hold {value!r}: say it is absent instead.")
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"A record may not hold a {type(value).__name__}.")


def from_data(cls: type[T], data: Any) -> T:  # noqa: ANN401 - parsed JSON
    """Build `cls` from parsed JSON. Unknown or missing keys raise ValueError naming them."""
    return typing.cast(T, _convert(cls, data, cls.__name__))


def dumps(value: Any, *, indent: int | None = 2) -> str:  # noqa: ANN401
    """Write a record as JSON text; equal records give equal text."""
    text = json.dumps(to_data(value), indent=indent, ensure_ascii=False, allow_nan=False)
    return printable(text)  # what it writes is JSON's own escape


def loads(cls: type[T], text: str) -> T:
    """Read a record written by `dumps`."""
    return from_data(cls, json.loads(text))


def printable(text: str) -> str:
    r"""The text with half surrogate pairs spelled out, as \udcff: any file can hold it."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _convert(kind: Any, data: Any, where: str) -> Any:  # noqa: ANN401
    origin = typing.get_origin(kind)
    if kind is Any:
        return data
    if origin in (typing.Union, types.UnionType):
        return _convert_union(kind, data, where)
    if origin in (tuple, list):
        item = typing.get_args(kind)[0]
        return tuple(_convert(item, x, f"{where}[{i}]") for i, x in enumerate(data))
    if origin is dict:
        item = typing.get_args(kind)[1]
        return {key: _convert(item, x, f"{where}.{key}") for key, x in data.items()}
    if dataclasses.is_dataclass(kind):
        return _convert_record(kind, data, where)
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if not isinstance(data, kind) or (kind in (int, float) and isinstance(data, bool)):
        raise ValueError(f"{where}: expected {kind.__name__}, found {type(data).__name__}.")
    return data


def _convert_union(kind: Any, data: Any, where: str) -> Any:  # noqa: ANN401
    options = [option for option in typing.get_args(kind) if option is not type(None)]
    if data is None:
        return None
    for option in options:
        if isinstance(option, type) and type(data) is option:
            return data
    return _convert(options[0], data, where)


def _convert_record(kind: Any, data: Any, where: str) -> Any:  # noqa: ANN401
    if not isinstance(data, dict):
        raise ValueError(f"{where}: expected an object, found {type(data).__name__}.")
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(data) - set(hints))
    if unknown:
        message = f"{where}: unknown field {unknown[0]!r}. Was it written by a newer version?"
        raise ValueError(message)
    try:
        fields = {key: _convert(hints[key], item, f"{where}.{key}") for key, item in data.items()}
        return kind(**fields)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error
