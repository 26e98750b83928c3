"""What the designs share: noise, labels, and the loss that a swap adds."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from howfar.core.errors import DataError, UsageError
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


def check_labels(labels: Tensor | None, classes: int) -> None:
    """Labels at the measured positions must be classes of the output."""
    if labels is None:
        return
    if classes < 2 or bool((labels < 0).any() | (labels >= classes).any()):
        message = f"A label at a measured position is none of the output's {classes} classes."
        raise UsageError("E-LABEL", message, "labels 0 .. V - 1 there, or no labels.")


def extra_nats(other: Tensor, clean: Tensor, labels: Tensor) -> np.ndarray:
    """Extra loss -log p(label) of `other` over `clean`, along the last axis."""
    index = labels[..., None].long()
    gain = clean.log_softmax(-1).gather(-1, index) - other.log_softmax(-1).gather(-1, index)
    if not bool(gain.isfinite().all()):
        message = "The model gives a label no probability at all: its loss is infinite."
        raise DataError("E-OUTPUT", message, "finite logits, or no labels.")
    return np.asarray(gain[..., 0])
