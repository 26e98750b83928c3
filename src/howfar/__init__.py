"""Measure how far back a sequence model really looks, what it keeps, and what that costs.

>>> import howfar
>>> "gru" in howfar.families()
True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from howfar.api import Compared as Compared
    from howfar.api import attention as attention
    from howfar.api import audit as audit
    from howfar.api import build as build
    from howfar.api import build_seq2seq as build_seq2seq
    from howfar.api import compare as compare
    from howfar.api import context as context
    from howfar.api import demand as demand
    from howfar.api import families as families
    from howfar.api import fragments as fragments
    from howfar.api import gradient as gradient
    from howfar.api import influence as influence
    from howfar.api import interaction as interaction
    from howfar.api import reach as reach
    from howfar.api import retention as retention
    from howfar.api import structure as structure
    from howfar.api import task as task
    from howfar.api import tasks as tasks
    from howfar.core.errors import HowfarError as HowfarError

__version__ = "0.1.0"
__all__ = [
    "Compared",
    "HowfarError",
    "attention",
    "audit",
    "build",
    "build_seq2seq",
    "compare",
    "context",
    "demand",
    "families",
    "fragments",
    "gradient",
    "influence",
    "interaction",
    "reach",
    "retention",
    "structure",
    "task",
    "tasks",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a lazy import of anything public
    """Import what is asked for on first use: `import howfar` alone loads no torch."""
    if name == "HowfarError":
        return import_module("howfar.core.errors").HowfarError
    if name in __all__:
        return getattr(import_module("howfar.api"), name)
    raise AttributeError(f"module 'howfar' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
