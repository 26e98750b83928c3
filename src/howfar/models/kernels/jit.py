"""The one way kernels are compiled: `@jit`. Only modules called compiled_* import this.

Idea     numba, without the interpreter lock (`threads.in_parts`), kept on disk for the next
         process where a folder can be written, compiled anew in each process where none can
Limits   multiply-adds may be fused; nothing is reordered and NaN and infinity keep their meaning,
         unless a kernel asks for `reorder=True`: sums in any order, so that they vectorise.
         Numba looks at the file of the compiled function only: after a change in a function that
         it calls from another file, remove __pycache__
Source   https://numba.readthedocs.io/en/stable/user/jit.html
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
Function = TypeVar("Function", bound=Callable[..., object])


def jit(*, reorder: bool = False, inline: bool = False) -> Callable[[Function], Function]:
    """Decorator: compile a function of numbers and numpy arrays.

    reorder: sums of floats may be taken in any order; inline: a small function, pasted into its
    callers.
    """
    compiler = partial(
        njit,
        nogil=True,
        fastmath={"contract", "reassoc"} if reorder else {"contract"},
        error_model="numpy",
        forceinline=inline,
    )

    def decorate(function: Function) -> Function:
        try:
            return cast(Function, compiler(cache=True)(function))
        except RuntimeError:  # no folder that can be written
            return cast(Function, compiler()(function))

    return decorate
