"""Operations of a batch, by the model's own count: the same accounting for every family.

Idea     a model says what a sequence of a length costs; a batch costs the sum over its real rows,
         so padding is nobody's budget
"""

from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from howfar.core.batch import Batch

_KNOWN: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], int]] = WeakKeyDictionary()


def forward_flops(model: nn.Module, batch: Batch) -> int:
    """Forward pass over the real tokens of a batch, multiply-add = 2; 0 for who does not count."""
    count: Any = getattr(model, "flops", None)
    if count is None:
        return 0
    known = _KNOWN.setdefault(model, {})
    rows = [batch.lengths.tolist()]
    if batch.source_lengths is not None:
        rows.insert(0, batch.source_lengths.tolist())
    total = 0
    for lengths in zip(*rows, strict=True):
        if lengths not in known:
            known[lengths] = count(*lengths)
        total += known[lengths]
    return total
