"""Option types that say the range, and the options that commands share.

Why      `int("1_0")` is 10 and `float("nan")` passes a plain comparison: numbers are read strictly
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from howfar.core.errors import UsageError, shown

F = TypeVar("F", bound=Callable[..., Any])
WHOLE = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", re.ASCII)


class Whole(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5
    """A whole number in a range."""

    name = "number"

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read strictly: ASCII digits only, within the range."""
        if isinstance(value, int):
            return value
        if not WHOLE.fullmatch(value) or not self.least <= int(value) <= self.most:
            self.fail(
                f"{shown(value)} is not a whole number in {self.least} .. {self.most}.", param, ctx
            )
        return int(value)


class Several(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5
    """Numbers separated by commas, each in a range; no repeats."""

    name = "a,b,c"

    def __init__(
        self, least: float, most: float, *, whole: bool = False, none: bool = False
    ) -> None:
        self.least, self.most, self.whole, self.none = least, most, whole, none

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Read strictly; "none" is the empty tuple where allowed."""
        if isinstance(value, tuple):
            return value
        if self.none and value == "none":
            return ()
        form = WHOLE if self.whole else REAL
        parts = [part.strip() for part in value.split(",")]
        good = [part for part in parts if form.fullmatch(part) and math.isfinite(float(part))]
        numbers = tuple(int(part) if self.whole else float(part) for part in good)
        inside = all(self.least <= number <= self.most for number in numbers)
        if len(good) < len(parts) or not inside or len(set(numbers)) < len(numbers):
            what = "whole numbers" if self.whole else "numbers"
            span = f"{self.least:,g} .. {self.most:,.0f}, with commas between"
            self.fail(f"{shown(value)} is not a list of different {what} in {span}.", param, ctx)
        return numbers


class Real(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5
    """A finite number in a range."""

    name = "number"

    def __init__(self, least: float, most: float) -> None:
        self.least, self.most = least, most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read strictly: no nan, no inf, ASCII digits only."""
        if isinstance(value, float):
            return value
        if not REAL.fullmatch(value) or not self.least <= float(value) <= self.most:
            self.fail(
                f"{shown(value)} is not a number in {self.least:g} .. {self.most:g}.", param, ctx
            )
        return float(value)


def all_of(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, in this order in the help."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


table_options = all_of(
    click.option("--encoding", metavar="NAME", help="Of the file; UTF-8 by default."),
    click.option(
        "--sep",
        "--separator",
        "separator",
        metavar="CHARACTER",
        help='Between columns, "tab" or "auto"; by default a comma, in .tsv a tab.',
    ),
    click.option("--no-header", is_flag=True, help="The first row is data; columns are 1, 2, ..."),
    click.option(
        "--quote",
        type=click.Choice(['"', "none"]),
        default='"',
        help="none: quotation marks are text like any other, and every line is a row.",
    ),
    click.option(
        "--bad-rows",
        type=click.Choice(["error", "skip"]),
        default="error",
        show_default=True,
        help="What to do with rows that cannot be read.",
    ),
)

run_options = all_of(
    click.option("--out", default=None, metavar="FOLDER", help="Where the report goes."),
    click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout."),
    click.option(
        "--seed", type=Whole(0, 2**62), default=0, show_default=True, help="Of everything drawn."
    ),
    click.option(
        "--workers", type=Whole(1, 256), default=None, help="Processes; by default one a core."
    ),
    click.option(
        "--threads",
        type=Whole(1, 256),
        default=1,
        show_default=True,
        help="Threads in each process.",
    ),
    click.option(
        "--device", default="cpu", metavar="NAME", show_default=True, help="cpu, cuda or mps."
    ),
    click.option("--debug", is_flag=True, help="Show the traceback of an error."),
)


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """What was said by `--set NAME=VALUE`, several times.

    Raises:
        UsageError: E-OPTION for a text without an equals sign, or a name said twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(
                "E-OPTION", f"--set {shown(text)} is no NAME=VALUE.", "--set length=64"
            )
        if name.strip() in found:
            message = f"--set {shown(name.strip())} is said twice."
            raise UsageError("E-OPTION", message, "one value a name")
        found[name.strip()] = value
    return found
