"""Writing to stdout and stderr so that nothing breaks where nobody reads, as in `| head -1`."""

import json
import os
import sys
from typing import Any

from rich.console import Console
from rich.text import Text


class Screen(Console):
    """A console that falls silent where its reader has gone; off a terminal it breaks no lines."""

    def on_broken_pipe(self) -> None:
        """Go on without a reader."""
        self.quiet = True
        hush()


def log() -> Screen:
    """The console for all that is not a result: stderr."""
    return Screen(stderr=True, highlight=False)


def note(console: Console, line: str) -> None:
    """One line of plain text; broken at the terminal's width, and whole in a file."""
    console.print(Text(line), soft_wrap=not console.is_terminal)


def columns(usual: int) -> int:
    """Columns that a line may take: the terminal's, or what COLUMNS says; in a file `usual`."""
    screen = Screen()
    if screen.is_terminal or os.environ.get("COLUMNS", "").isdecimal():
        return max(20, screen.width)
    return usual


def result(text: str) -> None:
    """Print a line on stdout, the place of results."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        hush()


def document(data: dict[str, Any]) -> None:
    """Print one JSON document on stdout; ASCII, so that any terminal and locale carries it."""
    result(json.dumps(data, allow_nan=False))


def settle() -> None:
    """Write out what is still held, before the interpreter tries to at its end."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (BrokenPipeError, ValueError):
        hush()


def hush() -> None:
    """Send what is still to come on stdout nowhere."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        return  # stdout is no real file, such as in a test
