"""Memory for large results, and tensors handed over to compiled loops.

Idea     the first touch of new memory costs more than a pass over it: the system clears it page by
         page, and large tensors get new pages each time. numpy asks for pages of 2 MiB, torch on a
         CPU does not unless it is told to by THP_MEM_ALLOC_ENABLE=1, so large results are numpy's
Gain     x + y into new memory, one thread, 32 MiB: 3 times; 128 MiB: 4 times; below 4 MiB none
Source   https://docs.kernel.org/admin-guide/mm/transhuge.html
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LARGE = 1 << 22


def empty(like: Tensor, *shape: int) -> Tensor:
    """A contiguous tensor of this shape with no values yet; dtype and device as `like`."""
    bytes_needed = like.element_size() * int(np.prod(shape))
    if not like.is_cpu or bytes_needed < LARGE:
        return like.new_empty(shape)
    return torch.from_numpy(np.empty(bytes_needed, np.uint8)).view(like.dtype).view(shape)


def array(x: Tensor) -> NDArray[Any]:
    """The memory of a tensor of the CPU for numba; a contiguous copy where it is not contiguous."""
    return x.detach().resolve_conj().resolve_neg().contiguous().numpy()
