"""Everything about a training run but the family, the data and the weights' start."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from howfar.core.errors import UsageError, in_range
from howfar.train.budget import Budget
from howfar.train.schedule import SCHEDULES

PRECISIONS = ("float32", "bfloat16")
SELECTS = ("loss", "score")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """How to train.

    schedule, warmup, final: see `howfar.train.schedule`; shares of the budget and the peak rate.
    clip: most norm of a step's gradient. evaluations: validation passes, spread evenly; the best
    one's weights are kept, by `select`. patience: passes without a better one after which the run
    ends; None: the budget is spent. slots: batches of one optimiser step. smoothing, weights: of
    classes. precision: of products inside the model. carry: batches go on where those of the step
    before ended, so that gradients are cut there and states are not. recompute: activations of
    blocks are computed again for the backward pass instead of kept. checkpoint_every: steps
    between two checkpoints; 0: only where the run stops. skip_nonfinite: steps whose loss or
    gradient is not finite that may be left out; one more ends the run.
    """

    budget: Budget
    learning_rate: float
    seed: int = 0
    schedule: str = "cosine"
    warmup: float = 0.1
    final: float = 0.1
    clip: float = 1.0
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    evaluations: int = 6
    select: str = "loss"
    patience: int | None = None
    slots: int = 1
    smoothing: float = 0.0
    weights: Sequence[float] | None = None
    precision: str = "float32"
    carry: bool = False
    recompute: bool = False
    checkpoint_every: int = 0
    skip_nonfinite: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        fine = math.isfinite(self.learning_rate) and self.learning_rate > 0
        if not fine or self.evaluations < 1:
            message = f"learning_rate={self.learning_rate}, evaluations={self.evaluations}"
            raise UsageError("E-OPTION", f"Out of range: {message}.", "positive, finite numbers.")
        checks = {
            "schedule": self.schedule in SCHEDULES,
            "warmup": 0 <= self.warmup < 1,
            "final": 0 <= self.final <= 1,
            "clip": self.clip > 0,
            "weight_decay": 0 <= self.weight_decay < math.inf,
            "select": self.select in SELECTS,
            "patience": self.patience is None or self.patience >= 1,
            "slots": self.slots >= 1,
            "smoothing": 0 <= self.smoothing < 1,
            "weights": self.weights is None or all(0 < w < math.inf for w in self.weights),
            "precision": self.precision in PRECISIONS,
            "checkpoint_every": self.checkpoint_every >= 0,
            "skip_nonfinite": self.skip_nonfinite >= 0,
        }
        names = f"schedule: {', '.join(SCHEDULES)}; precision: {', '.join(PRECISIONS)}; shares 0-1"
        in_range(self, checks, names)
