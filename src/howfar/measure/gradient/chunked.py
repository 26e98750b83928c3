"""The same squared gradients for models that can stop and go on, in the memory of one piece.

Idea     a first pass without gradients keeps the state every C tokens; then, from the last piece
         backwards, each is computed again from its state, and the gradient of the state before it
         is handed on. Exact: the chain rule, cut at the states
Shapes   as `backward.whole`
Units    two forward passes and `count` backward ones
Cost     memory: window / C states and what C tokens need to go back; least near C = sqrt(window)
Source   checkpointing of Chen et al. 2016, https://arxiv.org/abs/1604.06174, for one chain
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from howfar.core.errors import UsageError
from howfar.core.protocols import State, Streaming
from howfar.measure.gradient.backward import (
    Gradients,
    check,
    check_gradient,
    pieces,
    recording,
)
from howfar.measure.gradient.cotangents import Cotangents
from howfar.measure.gradient.door import Door
from howfar.measure.gradient.options import GradientOptions
from howfar.measure.probe import Asked, Sequences

LONG = 4096  # tokens up to which nothing is gained by pieces


def piece_length(asked: Asked, seqs: Sequences, wished: int | None) -> int | None:
    """Tokens a piece, or None: all at once.

    Raises:
        UsageError: pieces were asked for, and the model cannot go on from a state.
    """
    streams = isinstance(asked.predict, Streaming) and asked.everywhere
    if wished is not None:
        if not streams:
            message = "This model cannot go on from a state, so it cannot be taken in pieces."
            raise UsageError("E-OPTION", message, "chunk=None, or a model with `chunk`.")
        return wished
    if not streams or seqs.window <= LONG or _grows(asked, seqs):
        return None
    return max(64, int(np.ceil(np.sqrt(seqs.window))))


def in_chunks(
    asked: Asked,
    seqs: Sequences,
    door: Door,
    how: Cotangents,
    options: GradientOptions,
    size: int,
) -> Gradients:
    """`size` tokens at a time, the last ones first."""
    stream = how.stream(options.seed)
    energy_NL = torch.zeros(seqs.tokens.shape[:2], dtype=torch.float64)
    answers, connected = [], False
    with recording(asked):
        for some, part in pieces(seqs, options.batch, size):
            back = _Back(asked, part, door, how, how.draw(stream, len(part.tokens)))
            starts = range(0, part.window, size)
            states = back.states(starts, size)
            for start, state in reversed(list(zip(starts, states, strict=True))):
                back.piece(start, size, state)
            check(back.answer_BV, some.start)
            check_gradient(back.energy_BL, some.start)
            energy_NL[some] = back.energy_BL
            answers.append(back.answer_BV)
            connected |= back.connected
    return Gradients(energy_NL, torch.cat(answers), connected, 2 + 2 * how.count)


class _Back:
    """One batch on its way back: what has arrived at the state, for every cotangent."""

    def __init__(
        self, asked: Asked, part: Sequences, door: Door, how: Cotangents, draws: list[np.ndarray]
    ) -> None:
        assert isinstance(asked.predict, Streaming)
        self.model, self.part = asked.predict, part
        self.door, self.how, self.draws = door, how, draws
        self.energy_BL = torch.zeros(part.tokens.shape[:2], dtype=torch.float64)
        self.answer_BV = torch.zeros(len(part.tokens), how.width, dtype=torch.float64)
        self.arrived: list[list[Tensor | None]] = [[] for _ in draws]
        self.connected = False

    def states(self, starts: Sequence[int], size: int) -> list[State | None]:
        """The state before every piece."""
        states: list[State | None] = [None]
        with torch.no_grad():
            for start in starts[:-1]:
                tokens = self.part.tokens[:, start : start + size]
                states.append(self.model.chunk(tokens, states[-1])[1])
        return states

    def piece(self, start: int, size: int, state: State | None) -> None:
        """Compute one piece again and go back through it."""
        stop = min(start + size, self.part.window)
        tokens = self.part.tokens[:, start:stop]
        leaves = [leaf.detach().requires_grad_() for leaf in floats(state)]
        with self.door.open(tokens) as (given, ends):
            output, after = self.model.chunk(given, rebuilt(state, leaves))
            inputs = list(ends())
        targets = self.part.targets
        here = ((targets >= start) & (targets < stop)).nonzero()[:, 0]
        place = (targets[here] - start).to(output.device)
        answer_bV = output[here.to(output.device), place].reshape(len(here), self.how.width)
        self.answer_BV[here] = answer_bV.detach().double().cpu()
        for m in range(self.how.count):
            ends_of, sent = self._sent(m, answer_bV, here, floats(after))
            if not ends_of:
                self.arrived[m] = [None] * len(leaves)
                continue
            self.connected = True
            grads = torch.autograd.grad(
                ends_of,
                [*inputs, *leaves],
                sent,
                retain_graph=m + 1 < self.how.count,
                allow_unused=True,
            )
            energy_BC = self.door.energy(inputs, grads[: len(inputs)], tokens)
            self.energy_BL[:, start:stop] += energy_BC
            self.arrived[m] = list(grads[len(inputs) :])

    def _sent(
        self, m: int, answer_bV: Tensor, here: Tensor, after: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Where to go back from, and with what: targets of this piece, and the state behind it."""
        ends, sent = [], []
        if len(here) and answer_bV.requires_grad:
            ends.append(answer_bV)
            sent.append(self.how.cotangent(answer_bV, self.draws[m][here.numpy()]))
        for leaf, grad in zip(after, self.arrived[m], strict=False):
            if grad is not None and leaf.requires_grad:
                ends.append(leaf)
                sent.append(grad)
        return ends, sent


def floats(state: State | None) -> list[Tensor]:
    """The real-valued tensors of a state, in order."""
    if state is None:
        return []
    if isinstance(state, Tensor):
        return [state] if state.is_floating_point() else []
    return [leaf for part in state for leaf in floats(part)]


def rebuilt(state: State | None, leaves: Sequence[Tensor]) -> State | None:
    """The state with its real-valued tensors replaced, in order."""
    left = iter(leaves)

    def again(part: State) -> State:
        if isinstance(part, Tensor):
            return next(left) if part.is_floating_point() else part
        return tuple(again(inner) for inner in part)

    return None if state is None else again(state)


def _grows(asked: Asked, seqs: Sequences) -> bool:
    """Whether the state grows with the tokens seen: then storing it often costs more, not less."""
    chunk: Callable[[Tensor, State | None], tuple[Tensor, State]] = asked.predict.chunk  # type: ignore[attr-defined]
    with torch.no_grad():
        first = chunk(seqs.tokens[:1, :64], None)[1]
        second = chunk(seqs.tokens[:1, 64:128], first)[1]
    return sum(map(Tensor.numel, floats(second))) > sum(map(Tensor.numel, floats(first)))
