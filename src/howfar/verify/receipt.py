"""A receipt: a claim, where it was made, the band a measurement must fall into, and its cost.

Idea     one TOML file a receipt, committed beside this file, so that what was checked can be read;
         unknown keys are refused, since a setting that is ignored is a wrong check
Keys     claim, source (list), minutes (on two cores), check (a kind of `checks`), [settings] of the
         check, and [[expect]]: what, low, high, and why where the band is not the source's own
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any

from howfar.core.errors import DataError, UsageError, closest, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """What a measured number must lie between. low, high: None is open."""

    what: str
    low: float | None = None
    high: float | None = None
    why: str = ""

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            raise DataError("E-RECEIPT", f"The band of {shown(self.what)} has no end.", "low, high")

    @property
    def text(self) -> str:
        """Such as ".1 to .2", "at least .9"."""
        if self.low is None:
            return f"at most {self.high:g}"
        if self.high is None:
            return f"at least {self.low:g}"
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One claim that can be checked."""

    name: str
    claim: str
    source: tuple[str, ...]
    minutes: float
    check: str
    expect: tuple[Band, ...]
    settings: Mapping[str, Any]


def parse(name: str, text: str) -> Receipt:
    """A receipt of its file's text.

    Raises:
        DataError: E-RECEIPT for a key that is unknown or missing.
    """
    said = tomllib.loads(text)
    bands = tuple(_made(Band, band, name) for band in said.pop("expect", ()))
    said["source"] = tuple(said.get("source", ()))
    said.setdefault("settings", {})
    receipt: Receipt = _made(Receipt, said | {"name": name, "expect": bands}, name)
    return receipt


@cache
def receipts() -> dict[str, Receipt]:
    """All receipts by name."""
    folder = files(__package__) / "receipts"
    found = sorted(place.name for place in folder.iterdir() if place.name.endswith(".toml"))
    texts = {place: (folder / place).read_text(encoding="utf-8") for place in found}
    return {place[:-5]: parse(place[:-5], text) for place, text in texts.items()}


def named(name: str) -> Receipt:
    """The receipt of this name.

    Raises:
        UsageError: E-RECEIPT with the nearest name.
    """
    known = receipts()
    if name not in known:
        message = f"No receipt is called {shown(name)}. {closest(name, known)}"
        raise UsageError("E-RECEIPT", message.strip(), "`howfar verify list`")
    return known[name]


def _made(kind: Any, said: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 - of that kind
    known = {field.name for field in fields(kind)}
    for key in said:
        if key not in known:
            message = f"The receipt {name} has an unknown key {shown(key)}. {closest(key, known)}"
            raise DataError("E-RECEIPT", message.strip(), f"one of {', '.join(sorted(known))}")
    try:
        return kind(**said)
    except TypeError as error:
        raise DataError("E-RECEIPT", f"The receipt {name}: {error}.", "the missing key") from error
