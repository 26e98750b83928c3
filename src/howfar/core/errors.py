"""Errors a user can act on: what, where, why, and what to try. Imports no torch."""

import difflib
from collections.abc import Iterable, Mapping


class HowfarError(Exception):
    """Base of all errors meant for users.

    Args:
        code: short stable name, such as "E-COLUMN".
        message: what is wrong, where and why, in one line.
        hint: what to do about it, in one line.
    """

    exit_code = 1

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.code, self.message, self.hint)

    def __str__(self) -> str:
        return f"{self.message} Try: {self.hint}" if self.hint else self.message


class UsageError(HowfarError, ValueError):
    """A wrong option, name or path: exit code 2."""

    exit_code = 2


class DataError(HowfarError, ValueError):
    """Something in the user's data: exit code 3."""

    exit_code = 3


class EnvironmentFault(HowfarError, RuntimeError):  # noqa: N818 - EnvironmentError is taken
    """Disk, permission or memory: exit code 4."""

    exit_code = 4


class StoreError(HowfarError, RuntimeError):
    """A damaged or foreign store, checkpoint or model: exit code 5."""

    exit_code = 5


def in_range(options: object, checks: Mapping[str, bool], hint: str) -> None:
    """Refuse an options dataclass with a field out of its range; `checks`: field -> whether fine.

    Raises:
        UsageError: E-OPTION, naming the first wrong field and its value.
    """
    for name, fine in checks.items():
        if not fine:
            message = f"{name}={getattr(options, name)!r} is out of range."
            raise UsageError("E-OPTION", message, hint)


def shown(text: object, limit: int = 80) -> str:
    """Quote text from a user safely: `repr`, cut, no control or bidirectional characters."""
    quoted = ascii(str(text)) if any(_hides(c) for c in str(text)) else repr(str(text))
    return quoted if len(quoted) <= limit else quoted[: limit - 3] + "..."


def _hides(character: str) -> bool:
    if not character.isprintable():
        return True
    return "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"


def closest(name: str, known: Iterable[str]) -> str:
    """Say "Did you mean 'x'? " where a known name is near, else nothing."""
    names = list(known)
    lowered = {candidate.lower(): candidate for candidate in names}
    near = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.6)
    return f"Did you mean {shown(lowered[near[0]])}? " if near else ""
