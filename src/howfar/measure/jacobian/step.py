"""One step of a recurrence on flat states, whatever the model.

Idea     the Markov state is everything the next step needs, in one vector: h of every layer, and
         for an LSTM c as well. `recurrent_step` takes torch's recurrent networks and cells,
         `streaming_step` any model with `chunk`
Shapes   x (B,) ids or (B, D) reals, state (B, S) -> state (B, S); rows do not see each other
Limits   the state must be real-valued and of fixed size: no caches that grow, no counters
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from howfar.core.errors import UsageError
from howfar.core.protocols import State, Streaming

Call = Callable[[Tensor, Tensor], Tensor]
Cell = nn.RNNCell | nn.GRUCell | nn.LSTMCell


@dataclass(frozen=True, slots=True)
class Step:
    """A step with what belongs to it.

    call: (x, state) -> state. first: the first input -> the state after it. module: to be kept in
    evaluation mode while it is measured, None for plain functions.
    """

    call: Call
    first: Callable[[Tensor], Tensor]
    module: object = None

    def __call__(self, x: Tensor, state_BS: Tensor) -> Tensor:
        """(B, ...), (B, S) -> (B, S)."""
        return self.call(x, state_BS)


def recurrent_step(rnn: nn.RNNBase | Cell) -> Step:
    """The step of nn.RNN, nn.GRU or nn.LSTM of any number of layers, or of one of their cells.

    State: h of layer 1, 2, ..., then c of each for an LSTM: (B, layers H), or twice that.

    Raises:
        UsageError: a bidirectional network has no step.
    """
    if isinstance(rnn, nn.RNNBase) and rnn.bidirectional:
        message = "A bidirectional network has no step: its state needs the future."
        raise UsageError("E-STEP", message, "one direction.")
    layers = rnn.num_layers if isinstance(rnn, nn.RNNBase) else 1
    hidden = rnn.hidden_size
    shown = getattr(rnn, "proj_size", 0) or hidden
    widths = [shown] * layers
    if isinstance(rnn, nn.LSTM | nn.LSTMCell):
        widths += [hidden] * layers

    def call(x_BD: Tensor, state_BS: Tensor) -> Tensor:
        parts = torch.split(state_BS, widths, dim=1)
        if isinstance(rnn, nn.LSTMCell):
            return torch.cat(rnn(x_BD, (parts[0], parts[1])), 1)
        if isinstance(rnn, nn.RNNCell | nn.GRUCell):
            after: Tensor = rnn(x_BD, parts[0])
            return after
        held = [torch.stack(parts[i : i + layers]) for i in range(0, len(parts), layers)]
        x = x_BD[:, None] if rnn.batch_first else x_BD[None]
        out = rnn(x, tuple(held) if len(held) > 1 else held[0])[1]
        kept = out if isinstance(out, tuple) else (out,)
        return torch.cat([h_BH for part in kept for h_BH in part.unbind()], 1)

    def first(x_BD: Tensor) -> Tensor:
        return call(x_BD, next(rnn.parameters()).new_zeros(len(x_BD), sum(widths)))

    return Step(call, first, rnn)


def streaming_step(model: Streaming, tokens: Tensor) -> Step:
    """The step of a model that can stop and go on.

    Args:
        model: with `chunk(tokens (B, C), state)`.
        tokens: some inputs, integer (N, L) or real (N, L[, D]), to learn the state's form from.

    Raises:
        UsageError: the state grows with the tokens, or holds whole numbers.
    """

    def after(rows: int, tokens_seen: int) -> State:
        given = tokens[:1, :1].expand(rows, tokens_seen, *tokens.shape[2:])
        with torch.no_grad():
            return model.chunk(given, None)[1]

    two, three, later = leaves(after(2, 1)), leaves(after(3, 1)), leaves(after(2, 3))
    if not all(leaf.is_floating_point() for leaf in two):
        raise UsageError("E-STEP", "The model's state holds whole numbers.", "a state of reals.")
    if [leaf.shape for leaf in two] != [leaf.shape for leaf in later]:
        message = "The model's state grows with the tokens: it has no step Jacobian of fixed size."
        raise UsageError("E-STEP", message, "`gradient_reach` measures such models.")
    axes = [_row_axis(a, b) for a, b in zip(two, three, strict=True)]
    form = after(2, 1)

    def flat(state: State) -> Tensor:
        parts = zip(leaves(state), axes, strict=True)
        return torch.cat([leaf.movedim(axis, 0).flatten(1) for leaf, axis in parts], 1)

    def nested(state_BS: Tensor) -> State:
        rows, first, made = len(state_BS), 0, []
        for leaf, axis in zip(two, axes, strict=True):
            shape = leaf.movedim(axis, 0).shape[1:]
            part_Bs = state_BS[:, first : first + shape.numel()]
            made.append(part_Bs.reshape(rows, *shape).movedim(0, axis))
            first += shape.numel()
        return _like(form, iter(made).__next__)

    def call(x: Tensor, state_BS: Tensor) -> Tensor:
        return flat(model.chunk(x[:, None], nested(state_BS))[1])

    return Step(call, lambda x: flat(model.chunk(x[:, None], None)[1]), model)


def leaves(state: State) -> Sequence[Tensor]:
    """The tensors of a state, in order."""
    if isinstance(state, Tensor):
        return [state]
    return [leaf for part in state for leaf in leaves(part)]


def _like(form: State, following: Callable[[], Tensor]) -> State:
    if isinstance(form, Tensor):
        return following()
    return tuple(_like(part, following) for part in form)


def _row_axis(two: Tensor, three: Tensor) -> int:
    """Where rows are counted: the axis that grew from 2 to 3."""
    grown = [i for i, (a, b) in enumerate(zip(two.shape, three.shape, strict=True)) if a != b]
    if len(grown) != 1 or two.shape[grown[0]] != 2:
        message = f"A part of the state, {tuple(two.shape)} for 2 rows, is not one a row."
        raise UsageError("E-STEP", message, "a state whose parts have one axis of rows.")
    return grown[0]
