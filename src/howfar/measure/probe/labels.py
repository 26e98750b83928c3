"""Labels at positions, and what another output costs them.

Shapes   outputs (..., V), labels (...)
Units    nats
"""

import numpy as np
from torch import Tensor

from howfar.core.errors import DataError, UsageError


def check_labels(labels: Tensor, classes: int) -> None:
    """Labels at the measured positions must be classes of the output.

    Raises:
        UsageError: E-LABEL.
    """
    if classes < 2 or bool((labels < 0).any() | (labels >= classes).any()):
        message = f"A label at a measured position is none of the output's {classes} classes."
        raise UsageError("E-LABEL", message, "labels 0 .. V - 1 there, or no labels.")


def extra_nats(other: Tensor, clean: Tensor, labels: Tensor) -> np.ndarray:
    """Extra loss -log p(label) of `other` over `clean`: (...).

    Raises:
        DataError: E-OUTPUT where a label has no probability at all.
    """
    index = labels[..., None].long()
    gain = clean.log_softmax(-1).gather(-1, index) - other.log_softmax(-1).gather(-1, index)
    if not bool(gain.isfinite().all()):
        message = "The model gives a label no probability at all: its loss is infinite."
        raise DataError("E-OUTPUT", message, "finite logits, or no labels.")
    return np.asarray(gain[..., 0])
