"""Measure how far back a sequence model really looks, what it keeps, and what that costs.

>>> import howfar
>>> "gru" in howfar.families()
True

Idea     names are imported when they are first asked for. `train` and `tasks` are the names of
         functions and of packages: the packages can be called, so that `howfar.train(...)` and
         `import howfar.train.loop` both work, whichever came first
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from howfar.api.bundles import load as load
    from howfar.api.comparing import Compared as Compared
    from howfar.api.comparing import compare as compare
    from howfar.api.comparing import demand as demand
    from howfar.api.estimator import TextClassifier as TextClassifier
    from howfar.api.families import families as families
    from howfar.api.measures import attention as attention
    from howfar.api.measures import audit as audit
    from howfar.api.measures import context as context
    from howfar.api.measures import fragments as fragments
    from howfar.api.measures import gradient as gradient
    from howfar.api.measures import influence as influence
    from howfar.api.measures import interaction as interaction
    from howfar.api.measures import reach as reach
    from howfar.api.measures import retention as retention
    from howfar.api.measures import structure as structure
    from howfar.api.training import train as train
    from howfar.core.errors import HowfarError as HowfarError
    from howfar.models import build as build
    from howfar.models import build_seq2seq as build_seq2seq
    from howfar.study.maps import length_by_depth as length_by_depth
    from howfar.tasks import task as task
    from howfar.tasks import tasks as tasks

__version__ = "0.1.0"
__all__ = [
    "Compared",
    "HowfarError",
    "TextClassifier",
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
    "length_by_depth",
    "load",
    "reach",
    "retention",
    "structure",
    "task",
    "tasks",
    "train",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a lazy import of anything public
    """Import what is asked for on first use: `import howfar` alone loads no torch."""
    if name == "HowfarError":
        return import_module("howfar.core.errors").HowfarError
    api = import_module("howfar.api")
    if name in api.HOMES:
        return api.fetch(name)
    raise AttributeError(f"module 'howfar' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


class _Room(ModuleType):
    """A package with the name of a public function: called, it is that function."""

    def __call__(self, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - as the function
        return self._function(*given, **named)

    @property
    def __signature__(self) -> Any:  # noqa: ANN401 - what `inspect.signature` looks for first
        return import_module("inspect").signature(self._function)

    @property
    def _function(self) -> Any:  # noqa: ANN401
        return import_module("howfar.api").fetch(self.__name__.removeprefix("howfar."))


class _Package(ModuleType):
    """This package. The import system sets each sub-package as an attribute of it."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in __all__ and isinstance(value, ModuleType):
            value.__class__ = _Room
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
