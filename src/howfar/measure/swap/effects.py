"""What the designs share: noise, and the labels at the targets."""

from collections.abc import Sequence

import torch
from torch import Tensor

from howfar.core.errors import UsageError
from howfar.measure import probe


def noise_of(
    kind: str, models: Sequence[probe.Asked], clean: Sequence[Tensor], again: Sequence[Tensor]
) -> tuple[float, float]:
    """What a repeated pass moves on average, and that with what rounding may."""
    repeats = [float(probe.diverge(kind, c, a).mean()) for c, a in zip(clean, again, strict=True)]
    rounding = (probe.resolution(kind, c, m.eps) for c, m in zip(clean, models, strict=True))
    return max(repeats), max(repeats) + max(rounding)


def at_targets(labels: Tensor | None, seqs: probe.Sequences) -> Tensor | None:
    """The labels at the targets: (N,) from (N, L) or (N,)."""
    if labels is None:
        return None
    if tuple(labels.shape) not in ((len(seqs.tokens),), tuple(seqs.tokens.shape[:2])):
        message = f"labels must be (N, L) or (N,), got {tuple(labels.shape)}."
        raise UsageError("E-SHAPE", message, "one class a position, or one at each target.")
    if labels.ndim == 1:
        return labels
    return labels[torch.arange(len(labels)), seqs.targets]
