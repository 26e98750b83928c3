"""Rows of ids become tensors: padded beside each other, or packed one after another.

Idea     every aim makes its rows flat, one after another; padding comes last, in one assignment
Shapes   flat (T,) of all rows, lengths (B,) that add up to T -> (B, longest) or (1, T)
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Rows = npt.NDArray[np.int64]


def padded(flat: npt.NDArray[np.int64], lengths: Rows, filler: int = 0) -> Tensor:
    """(B, longest, but at least 1), with `filler` to the right of each row."""
    width = max(1, int(lengths.max(initial=0)))
    if len(lengths) and (lengths == width).all():
        return torch.from_numpy(flat.reshape(len(lengths), width))
    laid_BL = np.full((len(lengths), width), filler, dtype=np.int64)
    laid_BL[np.arange(width) < lengths[:, None]] = flat
    return torch.from_numpy(laid_BL)


def laid(flat: npt.NDArray[np.int64], lengths: Rows, *, pack: bool, filler: int = 0) -> Tensor:
    """As `padded`, or packed: (1, T) without any padding."""
    return torch.from_numpy(flat[None]) if pack else padded(flat, lengths, filler)
