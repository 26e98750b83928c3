"""Which form of a kernel runs: compiled by numba where it can, else in torch's own operations.

Idea     the compiled form is optional (`pip install howfar[fast]`) and answers the same; it takes
         float32 and float64 (and their complex pairs) in memory of the CPU. Everything else, and
         every machine without numba, takes the form in torch
         to export a model, the form of `graph`
Choice   `with using("torch"):`, `using("compiled")` or `using("graph")` decide for a while, as
         tests, benchmarks and `howfar.bundle.export` do; HOWFAR_COMPILED=0 in the environment
         switches the compiled form off
Source   https://numba.readthedocs.io
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import Tensor

from howfar.core.errors import UsageError

FORMS = ("auto", "torch", "compiled", "graph")
DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)

_form: ContextVar[str] = ContextVar("form", default="auto")


@cache
def installed() -> bool:
    """Whether numba is there, works, and is not switched off."""
    if os.environ.get("HOWFAR_COMPILED", "1") == "0" or find_spec("numba") is None:
        return False
    try:
        import_module("numba")
    except Exception as error:
        message = f"numba cannot be imported ({error}): the kernels run in torch's own operations."
        warnings.warn(message, RuntimeWarning, stacklevel=2)
        return False
    return True


def compiled(*tensors: Tensor | None) -> bool:
    """Whether the compiled form shall run on these tensors."""
    form = _form.get()
    if form in {"torch", "graph"} or not installed():
        return False
    return all(x is None or (x.is_cpu and x.dtype in DTYPES) for x in tensors)


def as_graph() -> bool:
    """Whether kernels shall take the form that a graph of any length can hold."""
    return _form.get() == "graph"


@contextmanager
def using(form: str) -> Iterator[None]:
    """Decide the form inside a `with` block: "auto", "torch", "compiled" or "graph".

    Raises:
        UsageError: E-OPTION for an unknown form, E-FAST for "compiled" without numba.
    """
    if form not in FORMS:
        raise UsageError("E-OPTION", f"form cannot be {form!r}.", f"one of {', '.join(FORMS)}")
    if form == "compiled" and not installed():
        raise UsageError("E-FAST", "The compiled kernels need numba.", "pip install 'howfar[fast]'")
    before = _form.set(form)
    try:
        yield
    finally:
        _form.reset(before)
