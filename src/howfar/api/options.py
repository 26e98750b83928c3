"""Options by name: from keyword arguments to an options dataclass, with the names that exist."""

import os
import types
import typing
from collections.abc import Mapping
from typing import Any

import numpy as np

from howfar.core.errors import UsageError, closest

_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}


def options(kind: Any, given: dict[str, Any]) -> Any:  # noqa: ANN401 - an options dataclass
    """Build an options dataclass; an unknown name is an error that lists the known ones.

    Numbers of numpy become those of Python, which any record can hold.

    Raises:
        UsageError: E-OPTION.
    """
    known = kind.__dataclass_fields__
    for name in given:
        if name not in known:
            near = closest(name, known)
            message = f"There is no option {name!r}. {near}Known: {', '.join(known)}."
            raise UsageError("E-OPTION", message, "one of these names")
    plain = {name: _plain(value) for name, value in given.items()}
    hints = typing.get_type_hints(kind)
    for name, value in plain.items():
        _check(name, value, hints[name])
    try:
        return kind(**plain)
    except TypeError as error:
        raise UsageError("E-OPTION", f"An option has a value of a wrong type: {error}.") from error


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return value


def _check(name: str, value: object, hint: Any) -> None:  # noqa: ANN401
    """Refuse a value of another type, where the type is one of Python's simple ones."""
    united = typing.get_origin(hint) in (typing.Union, types.UnionType)
    kinds = typing.get_args(hint) if united else (hint,)
    if value is None or not set(kinds) <= {*_WORDS, type(None)}:
        return
    fits = [*kinds, *((int,) if float in kinds else ()), *((os.PathLike,) if str in kinds else ())]
    if not isinstance(value, tuple(fits)):
        wanted = " or ".join(_WORDS[one] for one in kinds if one in _WORDS)
        message = f"{name} is of type {type(value).__name__}, not {wanted}."
        raise UsageError("E-OPTION", message, f"{name} as {wanted}")
