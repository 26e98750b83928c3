"""From an exception to one line on stderr and an exit code.

Form     howfar: error[E-CODE]: WHAT in PATH:ROW (column NAME): WHY. Try: FIX
JSON     {"error": {"code", "message", "hint"}} on stdout with --json
"""

import sys
import traceback
from collections.abc import Sequence

import click

from howfar.cli.write import document
from howfar.core.errors import HowfarError, shown


def explain(error: BaseException, arguments: Sequence[str]) -> int:
    """Say what went wrong and return the exit code."""
    if "--debug" in arguments:
        traceback.print_exception(error)
    code, message, hint, status = _told(error)
    message, hint = _one_line(message.strip()), _one_line(hint.strip().removesuffix("."))
    if "--json" in arguments:
        told = {"code": code, "message": message, "hint": hint}
        document({"error": {key: value for key, value in told.items() if value}})
    line = f"howfar: error[{code}]: {message}" + (f" Try: {hint}" if hint else "")
    try:
        print(line, file=sys.stderr)
    except BrokenPipeError:
        return status
    return status


def _told(error: BaseException) -> tuple[str, str, str, int]:
    """Code, message, hint and exit status."""
    if isinstance(error, HowfarError):
        return error.code, error.message, error.hint, error.exit_code
    # Python 3.11 wraps a Ctrl-C that meets an import inside a class in a RuntimeError.
    if isinstance(error.__cause__, KeyboardInterrupt):
        error = error.__cause__
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return "E-STOPPED", "Stopped before there was a result.", "", 130
    if isinstance(error, click.ClickException):
        return _told_by_click(error)
    if isinstance(error, MemoryError):
        return "E-MEMORY", "Memory ran out.", "a smaller --batch, --length or --workers", 4
    if isinstance(error, OSError):
        where = f" ({shown(error.filename)})" if error.filename else ""
        return "E-IO", f"{error.strerror or error}{where}.", "another --out, or free some space", 4
    what = str(error).partition("\n")[0]
    hint = "the same command with --debug, and report what it prints"
    return "E-BUG", f"{type(error).__name__}: {what}", hint, 1


def _told_by_click(error: click.ClickException) -> tuple[str, str, str, int]:
    hint = "`howfar --help`"
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f"`{error.ctx.command_path} --help`"
    message = error.format_message()
    return "E-OPTION", message if message.endswith((".", ")")) else f"{message}.", hint, 2


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text.replace("\n", " "))
