"""Squared gradients of the output at the target by input position: one pass, then back.

Idea     one forward pass with its graph, one backward pass a cotangent: each gives all positions
Shapes   tokens (N, L[, E]) -> energy (N, L) float64, outputs at the target (N, V) float64
Units    a backward pass counts as two forward ones
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from howfar.core.errors import DataError, UsageError
from howfar.measure.gradient.cotangents import Cotangents
from howfar.measure.gradient.door import Door
from howfar.measure.gradient.options import GradientOptions
from howfar.measure.probe import Asked, Sequences
from howfar.measure.watch import quiet

TOKENS_AT_ONCE = 4_096  # rows times tokens with a graph: bounds memory, and stays in the caches


@dataclass(frozen=True, slots=True)
class Gradients:
    """energy: (N, L) squared gradient by position; answers: (N, V) at the target.

    connected: whether any output had a way back to the input. passes: in forward passes.
    """

    energy: Tensor
    answers: Tensor
    connected: bool
    passes: float


@contextmanager
def recording(asked: Asked) -> Iterator[None]:
    """Gradients on, whatever the caller's mode, and the model made quiet for them."""
    with torch.enable_grad(), quiet(asked.predict, gradients=True):
        yield


def pieces(seqs: Sequences, batch: int, tokens: int) -> Iterator[tuple[slice, Sequences]]:
    """The rows in batches, fewer a batch where `tokens` a row would make it large."""
    rows = max(1, min(batch, TOKENS_AT_ONCE // max(tokens, 1)))
    for start in range(0, len(seqs.tokens), rows):
        some = slice(start, start + rows)
        yield some, Sequences(seqs.tokens[some], seqs.lengths[some], seqs.targets[some])


def whole(
    asked: Asked, seqs: Sequences, door: Door, how: Cotangents, options: GradientOptions
) -> Gradients:
    """All positions at once: memory grows with the window."""
    stream = how.stream(options.seed)
    energies, answers, connected = [], [], False
    with recording(asked):
        for some, part in pieces(seqs, options.batch, seqs.tokens.shape[1]):
            energy_BL = torch.zeros(part.tokens.shape[:2], dtype=torch.float64)
            with door.open(part.tokens) as (given, ends):
                output = asked.predict(given, part.lengths)
                answer_BV = at_target(output, asked, part.targets)
                inputs = ends()
            check(answer_BV, some.start)
            draws = how.draw(stream, len(part.tokens))
            if answer_BV.requires_grad:
                connected = True
                for m, drawn in enumerate(draws):
                    v_BV = how.cotangent(answer_BV, drawn)
                    more = m + 1 < len(draws)
                    grads = torch.autograd.grad(
                        answer_BV, list(inputs), v_BV, retain_graph=more, allow_unused=True
                    )
                    energy_BL += door.energy(inputs, grads, part.tokens)
            check_gradient(energy_BL, some.start)
            energies.append(energy_BL)
            answers.append(answer_BV.detach().double().cpu())
    return Gradients(torch.cat(energies), torch.cat(answers), connected, 1 + 2 * how.count)


def at_target(output: Tensor, asked: Asked, targets: Tensor) -> Tensor:
    """The output at each row's target, still with its graph: (B, V)."""
    rows = len(targets)
    if len(output) != rows or (asked.everywhere and output.shape[1] <= int(targets.max())):
        message = f"An output of {tuple(output.shape)} does not fit {rows} rows."
        raise UsageError("E-SHAPE", message, "one answer a position, or one a row, for every row.")
    if asked.everywhere:
        output = output[torch.arange(rows, device=output.device), targets.to(output.device)]
    return output.reshape(rows, -1)


def check(answer_BV: Tensor, first: int) -> None:
    """Refuse NaN and infinity; -infinity is a class that is ruled out."""
    wrong = answer_BV.isnan() | (answer_BV == torch.inf)
    if bool(wrong.any()):
        row = first + int(wrong.any(1).nonzero()[0])
        message = f"The model's output at row {row} is not a number, or infinite."
        raise DataError("E-OUTPUT", message, "check the model for overflow; nothing was measured.")


def check_gradient(energy_BL: Tensor, first: int) -> None:
    """Refuse gradients that are no numbers."""
    wrong = ~energy_BL.isfinite()
    if bool(wrong.any()):
        row = first + int(wrong.any(1).nonzero()[0])
        message = f"The gradient of row {row} is not a number, or infinite."
        raise DataError("E-GRADIENT", message, "look for sqrt or log at 0, or for overflow.")
