"""Long sums in float32 at least, whatever the model around them runs in.

Idea     a state adds up thousands of tokens: in half precision the later ones would be lost.
         Inputs are widened and autocast is off inside; the answer is as narrow as what was asked
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import reduce

import torch
from torch import Tensor

from howfar.models.kernels.choice import as_graph


def widened(tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    """All in the widest dtype among them, float32 at least."""
    kinds = (x.dtype for x in tensors if x is not None)
    dtype = reduce(torch.promote_types, kinds, torch.float32)
    return [None if x is None else x.to(dtype) for x in tensors]


def without_autocast(x: Tensor) -> AbstractContextManager[object]:
    """A context in which no operation is narrowed, on the device of x; a graph has none."""
    return nullcontext() if as_graph() else torch.autocast(x.device.type, enabled=False)
