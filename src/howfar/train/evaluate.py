"""Answers of a trained model on evaluation batches: loss and correctness a target, in order."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from howfar.core.batch import IGNORED, Batch


@dataclass(frozen=True, slots=True)
class Answers:
    """One entry a scored target, in the order of the batches, rows first.

    nats: (N,) loss -log p(target). correct: (N,) bool. distance: (N,) tokens, 0 where unknown.
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


@runtime_checkable
class HeadApart(Protocol):
    """A model whose head can be asked for at chosen positions."""

    head: nn.Module

    def hidden(self, tokens_BL: Tensor, lengths: Tensor) -> Tensor:
        """What the head reads: (B, L, D)."""
        ...


def scored_logits(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits and classes of the scored targets alone: (N, V), (N,).

    A model with `hidden` and `head` is asked for its head at those positions only: on a long
    sequence with one question the head would otherwise cost more than the rest.
    """
    if batch.targets.ndim == 1:
        return model(batch.tokens, batch.lengths), batch.targets
    scored_BL = batch.targets != IGNORED
    if isinstance(model, HeadApart):
        hidden_BLD = model.hidden(batch.tokens, batch.lengths)
        return model.head(hidden_BLD[scored_BL]), batch.targets[scored_BL]
    return model(batch.tokens, batch.lengths)[scored_BL], batch.targets[scored_BL]


def evaluate(model: nn.Module, batches: Iterable[Batch]) -> Answers:
    """Score a model in eval mode; its mode is restored afterwards."""
    was_training = model.training
    model.eval()
    nats, correct, distance, row, seen = [], [], [], [], 0
    with torch.no_grad():
        for batch in batches:
            logits, target = scored_logits(model, batch)
            nats.append(F.cross_entropy(logits.double(), target, reduction="none").cpu())
            correct.append((logits.argmax(-1) == target).cpu())
            rows, far = _where(batch)
            row.append(rows + seen)
            distance.append(far)
            seen += len(batch.lengths)
    model.train(was_training)
    parts = (nats, correct, distance, row)
    return Answers(*(torch.cat(part).numpy() for part in parts))


def _where(batch: Batch) -> tuple[Tensor, Tensor]:
    """Row and distance of each scored target."""
    if batch.targets.ndim == 1:
        rows = torch.arange(len(batch.targets))
        return rows, torch.zeros_like(rows)
    scored_BL = batch.targets != IGNORED
    rows = scored_BL.nonzero()[:, 0].cpu()
    if batch.distance is None:
        return rows, torch.zeros_like(rows)
    return rows, batch.distance[scored_BL].cpu()
