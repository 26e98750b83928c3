"""Whether a run fits into memory, and a plain word where it does not.

Idea     weights, gradients, two moments of the optimiser and the best weights are held at once:
         five times the model, known from its shapes before any memory is taken
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from howfar.bundle.build import bare, expected, size_of
from howfar.bundle.settings import Settings
from howfar.core.errors import EnvironmentFault, StoreError, UsageError
from howfar.models import MODELS

HELD = 5  # weights, gradients, two moments, best weights
MOST_TENSORS = 4_000  # of the optimiser there are three for each: a header of less than 1 MiB
GIB = 2**30


def check_memory(settings: Settings, available: int | None = None) -> None:
    """Refuse a model that cannot be trained in the memory that is left.

    Args:
        settings: of the model.
        available: bytes; None: as the system says.

    Raises:
        EnvironmentFault: E-MEMORY. UsageError: E-OPTION, a model of too many tensors.
    """
    if settings.family not in MODELS:
        return  # of a family from outside nothing is known
    try:
        wanted = expected(bare(settings))
    except StoreError:
        return  # settings that give no model: building it says why
    if len(wanted) > MOST_TENSORS:
        message = f"A model of {len(wanted):,} tensors cannot be kept: {MOST_TENSORS:,} at most."
        raise UsageError("E-OPTION", message, "a smaller --depth")
    needed = HELD * size_of(wanted)
    free = psutil.virtual_memory().available if available is None else available
    if needed > free:
        message = (
            f"Training this model takes {needed / GIB:,.1f} GiB for its weights alone, and "
            f"{free / GIB:,.1f} GiB are free."
        )
        hint = "a smaller --width, --depth or --max-vocabulary"
        raise EnvironmentFault("E-MEMORY", message, hint)


@contextmanager
def saying_memory() -> Iterator[None]:
    """Within: torch's word for memory that ran out becomes one for users.

    Raises:
        EnvironmentFault: E-MEMORY.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        out = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if not out and "allocate memory" not in str(error):
            raise
        message = "Memory ran out in training; a step holds the activations of a whole batch."
        hint = "a smaller --batch, --batch-tokens or --length, --recompute, or a smaller --width"
        raise EnvironmentFault("E-MEMORY", message, hint) from error
