"""Nested Python values with tensors inside, as JSON and a table of tensors, and back unchanged.

Idea     JSON has no tuples, no keys but text and no nan, and no tensors: each is marked with a one-
         key table, {"tuple": [...]}, {"table": [[key, value], ...]}, {"real": "nan"},
         {"tensor": name}; all else stands as it is
"""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from howfar.core.errors import StoreError


def split(value: object, prefix: str, tensors: dict[str, Tensor]) -> Any:  # noqa: ANN401 - JSON
    """The JSON of a value; its tensors are put into `tensors` under names with this prefix.

    Raises:
        TypeError: something that is no None, bool, int, float, str, list, tuple, dict or tensor.
    """
    if isinstance(value, Tensor):
        name = f"{prefix}.{len(tensors)}"
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, Mapping):
        pairs = [[_key(k), split(v, prefix, tensors)] for k, v in value.items()]
        return {"table": pairs}
    if isinstance(value, tuple):
        return {"tuple": [split(item, prefix, tensors) for item in value]}
    if isinstance(value, list):
        return [split(item, prefix, tensors) for item in value]
    return _scalar(value)


def join(value: object, tensors: Mapping[str, Tensor]) -> Any:  # noqa: ANN401 - whatever it was
    """The value that `split` was given.

    Raises:
        StoreError: E-CKPT, this JSON does not come from `split`, or a tensor is missing.
    """
    try:
        return _join(value, tensors)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        message = f"The state does not hold together: {type(error).__name__} {str(error)[:80]}."
        raise StoreError("E-CKPT", message, "an earlier checkpoint") from error


def _join(value: object, tensors: Mapping[str, Tensor]) -> object:
    if isinstance(value, list):
        return [_join(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((mark, inner),) = value.items()
    if mark == "tensor":
        return tensors[inner]
    if mark == "real":
        return float(inner)
    if mark == "tuple":
        return tuple(_join(item, tensors) for item in inner)
    if mark == "table":
        return {key: _join(item, tensors) for key, item in inner}
    raise ValueError(f"unknown mark {mark!r}")


def _key(key: object) -> str | int:
    if type(key) is str or type(key) is int:
        return key
    raise TypeError(f"{key!r} ({type(key).__name__}) cannot be a key of a stored table.")


def _scalar(value: object) -> object:
    if isinstance(value, float):  # also numpy's
        return float(value) if math.isfinite(value) else {"real": repr(float(value))}
    if value is None or type(value) in (bool, int, str):
        return value
    raise TypeError(f"{type(value).__name__} cannot be stored in a checkpoint.")
