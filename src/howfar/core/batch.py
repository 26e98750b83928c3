"""One batch of padded sequences, as every room passes it on."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

IGNORED = -100  # a target that is not scored


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences with what to predict.

    tokens: (B, L) integers, padded on the right with 0; packed: (1, T), all rows one after another.
    lengths: (B,) real tokens a row; packed: they add up to T.
    targets: integers (B, L) for one class a position, `IGNORED` where unscored; integers (B,) for
        one class a row; reals (B,) for one number, (B, C) for yes or no to each of C labels.
        Packed: (1, T) in place of (B, L).
    distance: (B, L), how many tokens back the deciding token stands, or None where unknown.
    source, source_lengths: (B, S) and (B,), the sequence that `tokens` is an answer to.
    goes_on: the rows continue those of the same slot one step before, so that its state fits.
    """

    tokens: Tensor
    lengths: Tensor
    targets: Tensor
    distance: Tensor | None = None
    source: Tensor | None = None
    source_lengths: Tensor | None = None
    goes_on: bool = False
    packed: bool = False

    @property
    def num_tokens(self) -> int:
        """Real tokens, without padding; those of the source count too."""
        source = 0 if self.source_lengths is None else int(self.source_lengths.sum())
        return int(self.lengths.sum()) + source

    @property
    def num_targets(self) -> int:
        """Scored targets: classes or numbers; each label of several counts."""
        if self.targets.is_floating_point():
            return self.targets.numel()
        return int((self.targets != IGNORED).sum())

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        moved: dict[str, Any] = {
            field.name: value.to(device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)
