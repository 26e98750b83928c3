"""Answers of a trained model on evaluation batches: loss and correctness a target, in order."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from howfar.core.batch import IGNORED, Batch
from howfar.core.protocols import State
from howfar.train.objective import HeadApart, answers, scored_logits

__all__ = ["Answers", "HeadApart", "Judged", "evaluate", "judge", "scored_logits"]


@dataclass(frozen=True, slots=True)
class Answers:
    """One entry a scored target, in the order of the batches, rows first.

    nats: (N,) loss -log p(target), or the squared error of a number. correct: (N,) bool; of numbers
    all False. distance: (N,) tokens, 0 where unknown.
    row: (N,) which evaluation row the target stood in, counted over all batches.
    """

    nats: np.ndarray
    correct: np.ndarray
    distance: np.ndarray
    row: np.ndarray

    @property
    def mean_nats(self) -> float:
        """Mean loss a target."""
        return float(self.nats.mean())


@dataclass(frozen=True, slots=True)
class Judged:
    """How a model did on a part: mean loss a target, and a score of which more is better.

    score: accuracy of classes; share of labels answered right; 1 - error / variance of numbers.
    """

    loss: float
    score: float


def evaluate(model: nn.Module, batches: Iterable[Batch]) -> Answers:
    """Score a model whose answers are classes, or one number a row, in eval mode.

    Its mode is restored afterwards.
    """
    nats, correct, distance, row, seen = [], [], [], [], 0
    with asking(model):
        for batch in batches:
            logits, target = scored_logits(model, batch)
            if target.is_floating_point():
                nats.append((logits[:, 0].double() - target.double()).square().cpu())
                correct.append(torch.zeros(len(target), dtype=torch.bool))
            else:
                nats.append(F.cross_entropy(logits.double(), target, reduction="none").cpu())
                correct.append((logits.argmax(-1) == target).cpu())
            rows, far = _where(batch)
            row.append(rows + seen)
            distance.append(far)
            seen += len(batch.lengths)
    parts = (nats, correct, distance, row)
    return Answers(*(torch.cat(part).numpy() for part in parts))


def judge(model: nn.Module, batches: Iterable[Batch], *, carry: bool = False) -> Judged:
    """Mean loss and score of any kind of answer; plain, without smoothing or weights."""
    sums = np.zeros(4)  # loss, right, targets, squares of the targets
    state: State | None = None
    with asking(model):
        for batch in batches:
            held = state if batch.goes_on else None
            outputs, targets, state = answers(model, batch, held, carry=carry)
            sums += _tally(outputs.double(), targets)
    loss, right, _, squares = sums / max(sums[2], 1.0)
    return Judged(float(loss), float(1 - loss / squares if squares > 0 else right))


@contextmanager
def asking(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; the mode is restored."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def _tally(outputs: Tensor, targets: Tensor) -> np.ndarray:
    """Summed loss, right answers, targets; squares of targets where they are numbers."""
    if not targets.is_floating_point():
        nats = F.cross_entropy(outputs, targets, reduction="sum")
        right = (outputs.argmax(-1) == targets).sum()
        return np.array([float(nats), float(right), float(targets.numel()), 0.0])
    if targets.ndim == 1:
        error = (outputs[:, 0] - targets).square().sum()
        squares = targets.double().square().sum()
        return np.array([float(error), 0.0, float(targets.numel()), float(squares)])
    nats = F.binary_cross_entropy_with_logits(outputs, targets.double(), reduction="sum")
    right = ((outputs > 0) == (targets > 0.5)).sum()
    return np.array([float(nats), float(right), float(targets.numel()), 0.0])


def _where(batch: Batch) -> tuple[Tensor, Tensor]:
    """Row and distance of each scored target."""
    if batch.targets.ndim == 1:
        rows = torch.arange(len(batch.targets))
        far = torch.zeros_like(rows) if batch.distance is None else batch.distance.amax(1).cpu()
        return rows, far
    scored_BL = batch.targets != IGNORED
    rows = scored_BL.nonzero()[:, 0].cpu()
    if batch.distance is None:
        return rows, torch.zeros_like(rows)
    return rows, batch.distance[scored_BL].cpu()
