"""One batch of padded sequences, as every room passes it on."""

from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED = -100  # a target that is not scored


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences with what to predict.

    tokens: (B, L) integers, padded on the right with 0.
    lengths: (B,) real tokens a row.
    targets: (B, L) for one target a position, `IGNORED` where unscored; (B,) for one class a row.
    distance: (B, L), how many tokens back the deciding token stands, or None where unknown.
    """

    tokens: Tensor
    lengths: Tensor
    targets: Tensor
    distance: Tensor | None = None

    @property
    def num_tokens(self) -> int:
        """Real tokens, without padding."""
        return int(self.lengths.sum())

    @property
    def num_targets(self) -> int:
        """Scored targets."""
        return int((self.targets != IGNORED).sum())

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        distance = None if self.distance is None else self.distance.to(device)
        return Batch(
            self.tokens.to(device), self.lengths.to(device), self.targets.to(device), distance
        )
