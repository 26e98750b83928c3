"""A settings file in a form that is known: TOML, each value of the type that is asked for.

Idea     what is not known is refused, with the place it stands at (`axes.rate[2]`) and the nearest
         name that is known: a setting that is ignored is a wrong measurement
Source   TOML 1.0, https://toml.io/en/v1.0.0: numbers beyond 64 bits are an error there too
"""

import math
import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from howfar.core.disk import named
from howfar.core.errors import EnvironmentFault, UsageError, closest, shown

LONGEST_FILE = 1 << 20  # bytes
WHOLE, NUMBER, TEXT, FLAG = "a whole number", "a number", "a text", "true or false"
LIST, TABLE = "a list", "a table"
FITTING: dict[str, tuple[type, ...]] = {
    WHOLE: (int,),
    NUMBER: (int, float),
    TEXT: (str,),
    FLAG: (bool,),
    LIST: (list,),
    TABLE: (dict,),
}
_PLAIN = re.compile(r"[A-Za-z0-9_.\[\]-]{1,80}")
_LINE = re.compile(r"at line (\d+)")


@dataclass(frozen=True, slots=True)
class Part:
    """A table of the file. at: the keys that lead to it, "a.b"; empty for the whole file."""

    file: str
    content: dict[str, Any]
    at: str = ""

    def wrong(self, key: str, why: str, hint: str = "") -> UsageError:
        """The error that says what is wrong with a key."""
        where = f"{self.at}.{key}" if self.at and key else self.at or key
        where = where if _PLAIN.fullmatch(where) else shown(where)
        return UsageError("E-CONFIG", f"{self.file}, {where}: {why}", hint)

    def only(self, known: Sequence[str]) -> None:
        """Refuse keys that are not known.

        Raises:
            UsageError: E-CONFIG.
        """
        for key in self.content:
            if key not in known:
                why = f"no such key is known. {closest(key, known)}".strip()
                raise self.wrong(key, why, f"one of {', '.join(known)}")

    def one_of(self, known: Sequence[str]) -> str:
        """The one of these keys that is there.

        Raises:
            UsageError: E-CONFIG where none is, or several are.
        """
        there = [key for key in known if key in self.content]
        if len(there) != 1:
            had = " and ".join(there) or "none"
            raise self.wrong("", f"holds {had} of {', '.join(known)}.", "exactly one of them")
        return there[0]

    def get(self, key: str, kind: str, default: Any = None) -> Any:  # noqa: ANN401 - of the kind
        """A value of a kind, or the default; without a default it must be there.

        Raises:
            UsageError: E-CONFIG.
        """
        if key not in self.content:
            if default is None:
                raise self.wrong(key, f"is missing; {kind} is needed.")
            return default
        self._fit(key, self.content[key], kind)
        return self.content[key]

    def listed(self, key: str, kind: str) -> tuple[Any, ...]:
        """The values of a list, all of one kind.

        Raises:
            UsageError: E-CONFIG.
        """
        values = self.get(key, LIST)
        for i, value in enumerate(values):
            self._fit(f"{key}[{i}]", value, kind)
        return tuple(values)

    def part(self, key: str, *, needed: bool = False) -> "Part":
        """A table below this one; empty where it is not there."""
        content = self.get(key, TABLE, None if needed else {})
        return Part(self.file, content, f"{self.at}.{key}" if self.at else key)

    @contextmanager
    def blamed(self, key: str) -> Iterator[None]:
        """Errors of usage inside become ones of this key."""
        try:
            yield
        except UsageError as error:
            raise self.wrong(key, error.message, error.hint) from error

    def _fit(self, key: str, value: object, kind: str) -> None:
        if type(value) not in FITTING[kind]:  # true is no number
            raise self.wrong(key, f"{_told(value)} is not {kind}.")


def read_form(path: str | os.PathLike[str]) -> Part:
    """The content of a TOML file.

    Raises:
        UsageError: E-NO-FILE; E-CONFIG for what is no TOML, a key that stands twice, or a number
            that is none, is infinite or has more than 64 bits.
        EnvironmentFault: E-READ.
    """
    place = Path(path)
    file = named(place)  # whole: the end of a path says most
    if not place.is_file():
        raise UsageError("E-NO-FILE", f"There is no file {file}.", "the path of a TOML file")
    try:
        with place.open("rb") as opened:
            content = opened.read(LONGEST_FILE + 1)
    except OSError as error:
        message = f"Cannot read {file}: {error.strerror}."
        raise EnvironmentFault("E-READ", message, "check the path and its permissions") from error
    if len(content) > LONGEST_FILE:
        raise UsageError("E-CONFIG", f"{file} has more than {LONGEST_FILE:,} bytes.", "a TOML file")
    text = ""
    try:
        text = content.decode("utf-8-sig")
        found = tomllib.loads(text)
    except RecursionError as error:
        raise UsageError("E-CONFIG", f"{file} is nested too deeply.", "flat lists") from error
    except ValueError as error:  # of TOML, of UTF-8, or of a number too long to be read
        message = f"{file} is no TOML: {_where(str(error), text)}."
        raise UsageError("E-CONFIG", message, "TOML, each key once") from error
    top = Part(file, found)
    _sane(top)
    return top


def _where(said: str, text: str) -> str:
    """The parser's words, with the line and the table that they are about."""
    match = _LINE.search(said)
    lines = text.splitlines()
    number = int(match[1]) if match else len(lines)
    if not 0 < number <= len(lines):
        return said
    tables = [line.strip() for line in lines[: number - 1] if line.lstrip().startswith("[")]
    below = f" below {shown(tables[-1], 40)}" if tables else ""
    return f"{said}: {shown(lines[number - 1].strip(), 60)}{below}"


def _sane(top: Part) -> None:
    """Refuse numbers that are none, anywhere; without recursion, however deep it is nested."""
    waiting: list[tuple[str, object]] = list(top.content.items())
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{key[:200]}.{name}", below) for name, below in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{key}[{i}]", below) for i, below in enumerate(value)]
        elif isinstance(value, float) and not math.isfinite(value):
            raise top.wrong(key, f"{value} is not a finite number.")
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise top.wrong(key, "the number has more than 64 bits.")


def _told(value: object) -> str:
    """A value in short; tables and lists by their kind, as they may be deeper than can be said."""
    if isinstance(value, dict | list):
        return TABLE if isinstance(value, dict) else LIST
    if isinstance(value, bool):
        return str(value).lower()
    return shown(value) if isinstance(value, str) else str(value)
