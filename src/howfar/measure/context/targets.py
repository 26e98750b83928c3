"""Which positions a context-length curve asks for, and what stands before them.

Idea     the last positions of every row that have a label; the full context is the longest that
         all targets of the longest row have, so that windows of equal rows are of equal length
Shapes   M targets over all rows: row, place, label, room (M,)
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from howfar.core.errors import UsageError
from howfar.measure.context.options import ContextOptions

MOST = 16  # targets a row, where nothing else is asked for


@dataclass(frozen=True, slots=True)
class Targets:
    """What is asked: M positions.

    tokens: (N, L[, D]). row, place, label: (M,). full: (M,) tokens of each target's full context.
    window: the longest full context. left_out: rows without a target.
    """

    tokens: Tensor
    row: Tensor
    place: Tensor
    label: Tensor
    full: Tensor
    window: int
    left_out: int

    @property
    def ragged(self) -> bool:
        """Some targets have less than the longest full context before them."""
        return int(self.full.min()) < self.window


def find_targets(
    tokens: Tensor, lengths: Tensor | None, labels: Tensor | None, options: ContextOptions
) -> Targets:
    """The targets of every row.

    Args:
        tokens: integer (N, L), or real (N, L) or (N, L, D).
        lengths: (N,) real tokens a row; None: all.
        labels: (N, L) the class at each position, negative where there is none; (N,) at the last
            token; None: the next token.
        options: see `ContextOptions`.

    Raises:
        UsageError: E-SHAPE, E-LABEL where these do not fit, or rows are too short.
    """
    if tokens.ndim not in (2, 3) or min(tokens.shape[:2]) < 1:
        message = f"tokens must be (N, L) or (N, L, D), got {tuple(tokens.shape)}."
        raise UsageError("E-SHAPE", message, "one row a sequence.")
    num, length = tokens.shape[:2]
    if lengths is None:
        lengths = torch.full((num,), length)
    if lengths.shape != (num,) or int(lengths.min()) < 1 or int(lengths.max()) > length:
        message = f"lengths must be {num} numbers in 1 .. {length}."
        raise UsageError("E-SHAPE", message, "leave out empty sequences.")
    label_NL = _labels(tokens, lengths, labels)
    chosen_NL = _chosen(label_NL, lengths, options.targets)
    row, place = chosen_NL.nonzero(as_tuple=True)
    if len(row) == 0:
        message = "No row has a position with a label."
        raise UsageError("E-LABEL", message, "rows of two tokens or more, or labels of 0 and up.")
    room = place + 1
    least_N = torch.full((num,), length + 1).scatter_reduce(0, row, room, "amin")
    window = int(least_N[least_N <= length].max())
    window = window if options.longest is None else min(window, options.longest)
    if window < 2:
        message = "There is no target with two tokens or more before it."
        raise UsageError("E-SHAPE", message, "longer rows, or fewer targets.")
    left_out = num - int(chosen_NL.any(1).sum())
    label = label_NL[row, place].long()
    return Targets(tokens, row, place, label, room.clamp(max=window), window, left_out)


def _labels(tokens: Tensor, lengths: Tensor, labels: Tensor | None) -> Tensor:
    """(N, L) labels, -1 where there is none."""
    num, length = tokens.shape[:2]
    found_NL = torch.full((num, length), -1)
    if labels is None:
        if tokens.is_floating_point():
            message = "Real-valued inputs have no next token to be predicted."
            raise UsageError("E-LABEL", message, "labels=classes, (N, L) or (N,).")
        found_NL[:, :-1] = tokens[:, 1:]
        found_NL[torch.arange(num), lengths - 1] = -1
    elif labels.is_floating_point() or tuple(labels.shape) not in ((num,), (num, length)):
        message = f"labels must be whole numbers (N, L) or (N,), got {tuple(labels.shape)}."
        raise UsageError("E-SHAPE", message, "one class a position, or one a row.")
    elif labels.ndim == 1:
        found_NL[torch.arange(num), lengths - 1] = labels
    else:
        found_NL = labels
    real_NL = torch.arange(length)[None, :] < lengths[:, None]
    return torch.where(real_NL, found_NL, -1)


def _chosen(label_NL: Tensor, lengths: Tensor, asked: int | None) -> Tensor:
    """True at the labelled positions of each row's last block, else at its last labelled one."""
    place_L = torch.arange(label_NL.shape[1])
    labelled_NL = label_NL >= 0
    last_N = torch.where(labelled_NL, place_L, -1).amax(1)
    block_N = (last_N + 1).div(8, rounding_mode="floor").clamp(1, MOST)
    if asked is not None:
        block_N = torch.full_like(lengths, asked)
    inside_NL = place_L[None, :] > (last_N - block_N)[:, None]
    return labelled_NL & inside_NL
