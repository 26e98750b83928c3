"""What a batch asks of a model, and how far its answers are off.

Idea     the targets say which loss: whole numbers are classes (cross-entropy), a real a row is a
         number (squared error), a row of reals is yes or no to each label (binary cross-entropy)
Sums     losses are summed, and divided by the weight of a whole optimiser step, so that a step may
         be cut into batches of any sizes, or shared among processes, without changing the gradient
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from howfar.core.batch import IGNORED, Batch
from howfar.core.protocols import State


@runtime_checkable
class HeadApart(Protocol):
    """A model whose head can be asked for at chosen positions."""

    head: nn.Module

    def hidden(self, tokens_BL: Tensor, lengths: Tensor) -> Tensor:
        """What the head reads: (B, L, D)."""
        ...


@dataclass(frozen=True, slots=True)
class Objective:
    """How answers become a loss.

    smoothing: share of a class's target given to all classes alike (Szegedy et al. 2016,
    https://arxiv.org/abs/1512.00567, section 7). weights: (C,) of the classes, or none.
    """

    smoothing: float = 0.0
    weights: Sequence[float] | None = None

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Summed loss: nats of classes and labels, squared units of numbers."""
        if not targets.is_floating_point():
            return F.cross_entropy(
                outputs,
                targets,
                weight=self._weights(outputs),
                label_smoothing=self.smoothing,
                reduction="sum",
            )
        if targets.ndim == 1:
            return (outputs[:, 0] - targets).square().sum()
        return F.binary_cross_entropy_with_logits(outputs, targets, reduction="sum")

    def weight(self, batch: Batch) -> float:
        """What the summed loss of this batch is divided by: its targets, as they weigh."""
        if self.weights is None or batch.targets.is_floating_point():
            return float(batch.num_targets)
        classes = batch.targets[batch.targets != IGNORED]
        return float(torch.tensor(self.weights, dtype=torch.float64)[classes.cpu()].sum())

    def _weights(self, outputs: Tensor) -> Tensor | None:
        if self.weights is None:
            return None
        return torch.tensor(self.weights, dtype=torch.float32, device=outputs.device)


def answers(
    model: nn.Module, batch: Batch, state: State | None = None, *, carry: bool = False
) -> tuple[Tensor, Tensor, State | None]:
    """Outputs (N, C) and targets (N,) or (N, C) of what is scored alone, and the state after.

    A model with `hidden` and `head` is asked for its head at those positions only: on a long
    sequence with one question the head would otherwise cost more than the rest.

    Args:
        model: as its aim needs it.
        batch: what to ask.
        state: what the batch before left, where this one goes on.
        carry: go on from `state`, and return the state to go on with.
    """
    if carry:
        logits_BLC, after = model.chunk(batch.tokens, state)  # type: ignore[operator]
        return (*_scored(logits_BLC, batch), cast("State", after))
    if batch.source is not None:
        logits_BLC = model(batch.source, batch.tokens, batch.source_lengths, batch.lengths)
        return (*_scored(logits_BLC, batch), None)
    if batch.packed:
        return (*_packed(model.packed(batch.tokens[0], batch.lengths), batch), None)  # type: ignore[operator]
    if batch.targets.ndim == 1 or batch.targets.is_floating_point():
        return model(batch.tokens, batch.lengths), batch.targets, None
    scored_BL = batch.targets != IGNORED
    if isinstance(model, HeadApart):
        hidden_BLD = model.hidden(batch.tokens, batch.lengths)
        return model.head(hidden_BLD[scored_BL]), batch.targets[scored_BL], None
    return (*_scored(model(batch.tokens, batch.lengths), batch), None)


def scored_logits(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Outputs and targets of what is scored alone: (N, C), (N,)."""
    return answers(model, batch)[:2]


def _scored(logits_BLC: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    scored_BL = batch.targets != IGNORED
    return logits_BLC[scored_BL], batch.targets[scored_BL]


def _packed(outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Of one answer a row (N, C), or one a position (T, C) with targets (1, T)."""
    if batch.targets.ndim == 1 or batch.targets.is_floating_point():
        return outputs, batch.targets
    scored_T = batch.targets[0] != IGNORED
    return outputs[scored_T], batch.targets[0][scored_T]
