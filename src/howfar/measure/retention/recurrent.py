"""What every layer of a recurrent module carries, at every step.

Idea     nn.RNN, nn.GRU and nn.LSTM return the outputs of their top layer alone, and of an LSTM no
         cell. From the input a hook saw, their equations are run again layer by layer; a state is
         h, and [h; c] for an LSTM, and both directions side by side
Shapes   (B, L, D) -> one (B, L, states) a layer, batch first whatever the module's order
Cost     a Python loop over steps, once; no gradients
Limits   dropout between layers is left out, as in evaluation
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

Gates = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def layer_states(rnn: nn.RNNBase, args: Sequence[Any], keywords: dict[str, Any]) -> list[Tensor]:
    """The states of each layer in turn, (B, L, states), for one call of `rnn`.

    args, keywords: what the module was called with; an input of one unbatched row gives a batch
    of 1, a packed one is unpacked.
    """
    given = args[0] if args else keywords["input"]
    start = args[1] if len(args) > 1 else keywords.get("hx")
    x_BLD, lengths = _batch_first(rnn, given)
    ways = 2 if rnn.bidirectional else 1
    found = []
    for layer in range(rnn.num_layers):
        outputs, states = [], []
        for way in range(ways):
            begin = _start(rnn, start, layer * ways + way, x_BLD)
            turned = _turn(x_BLD, lengths) if way else x_BLD
            h_BLH, c_BLH = _run(rnn, layer * ways + way, turned, begin)
            parts = [h_BLH] if c_BLH is None else [h_BLH, c_BLH]
            parts = [_turn(part, lengths) for part in parts] if way else parts
            outputs.append(parts[0])
            states.extend(parts)
        x_BLD = torch.cat(outputs, dim=-1)
        found.append(torch.cat(states, dim=-1))
    return found


def _batch_first(rnn: nn.RNNBase, given: object) -> tuple[Tensor, Tensor]:
    if isinstance(given, PackedSequence):
        padded, lengths = pad_packed_sequence(given, batch_first=True)
        return padded, lengths
    if not isinstance(given, Tensor):
        message = f"a recurrent module was given {type(given).__name__}"
        raise TypeError(message)
    x = given[None] if given.ndim == 2 else given if rnn.batch_first else given.transpose(0, 1)
    return x, torch.full((x.shape[0],), x.shape[1])


def _start(
    rnn: nn.RNNBase,
    start: Any,  # noqa: ANN401 - a tensor, a pair or nothing
    place: int,
    x_BLD: Tensor,
) -> tuple[Tensor, Tensor]:
    """States before the first step, h and c, (B, H); zeros where the module was given none.

    Those of a packed call stand in the caller's order of rows, as the unpacked rows do.
    """
    inner = x_BLD.new_zeros(len(x_BLD), rnn.hidden_size)
    outer = x_BLD.new_zeros(len(x_BLD), rnn.proj_size or rnn.hidden_size)
    if start is None:
        return outer, inner
    parts = [part if part.ndim == 3 else part[:, None] for part in _parts(rnn, start)]
    return parts[0][place], parts[1][place] if len(parts) > 1 else inner


def _parts(rnn: nn.RNNBase, start: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 - as above
    return tuple(start) if isinstance(rnn, nn.LSTM) else (start,)


def _turn(x_BLD: Tensor, lengths: Tensor) -> Tensor:
    """Each row backwards within its length."""
    place_BL = torch.arange(x_BLD.shape[1])[None, :]
    real_BL = place_BL < lengths[:, None]
    index_BL = torch.where(real_BL, lengths[:, None] - 1 - place_BL, place_BL).to(x_BLD.device)
    return x_BLD.gather(1, index_BL[..., None].expand_as(x_BLD))


def _run(
    rnn: nn.RNNBase, place: int, x_BLD: Tensor, begin: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor | None]:
    """One layer in one direction; the second tensor is an LSTM's cell."""
    into, inner, *rest = rnn.all_weights[place]
    biased = bool(rnn.bias)
    bias, inner_bias = (rest[0], rest[1]) if biased else (None, None)
    project = rest[-1] if rnn.proj_size else None
    gates = _GATES[rnn.mode]
    h_BH, c_BH = begin
    hidden, cells = [], []
    for step in F.linear(x_BLD, into, bias).unbind(1):
        h_BH, c_BH = gates(step, F.linear(h_BH, inner, inner_bias), c_BH if _cell(rnn) else h_BH)
        h_BH = h_BH if project is None else F.linear(h_BH, project)
        hidden.append(h_BH)
        cells.append(c_BH)
    return torch.stack(hidden, 1), torch.stack(cells, 1) if _cell(rnn) else None


def _cell(rnn: nn.RNNBase) -> bool:
    return isinstance(rnn, nn.LSTM)


def _lstm(given: Tensor, inner: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    i, f, g, o = (given + inner).chunk(4, -1)
    c = f.sigmoid() * before + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _gru(given: Tensor, inner: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    r, z, n = given.chunk(3, -1)
    inner_r, inner_z, inner_n = inner.chunk(3, -1)
    update = (z + inner_z).sigmoid()
    new = (n + (r + inner_r).sigmoid() * inner_n).tanh()
    h = (1 - update) * new + update * before
    return h, h


def _tanh(given: Tensor, inner: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    h = (given + inner).tanh()
    return h, h


def _relu(given: Tensor, inner: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    h = (given + inner).relu()
    return h, h


_GATES: dict[str, Gates] = {"LSTM": _lstm, "GRU": _gru, "RNN_TANH": _tanh, "RNN_RELU": _relu}
