"""The recurrences of torch step by step, with what its fused forms cannot do.

Idea     q = U (m h_{t-1}), with one mask m a sequence (variational dropout) or none; then, with
         LN(a; g) = g (a - mean a) / sqrt(var a + 1e-5) over the units of a layer, or with no norm,
         RNN: h_t = f(LN(W x_t + q) + b)
         GRU: r, z = sigmoid(LN(W x_t) + b + LN(q) + b'), over both gates at once,
         n = tanh(LN(W x_t) + b + r (LN(q) + b')), h_t = (1 - z) n + z h_{t-1}
         LSTM: i, f, c~, o from LN(W x_t) + b + LN(q) + b', over all four at once,
         c_t = f c_{t-1} + i c~, h_t = o tanh(LN(c_t) + b'')
Shapes   x (B, L, D) -> h (B, L, H)
Limits   a Python loop of torch operations: some times slower than the fused forms
Source   norm: Ba, Kiros & Hinton 2016, https://arxiv.org/abs/1607.06450, equation 4 (RNN) and, in
         the supplement, 20 to 22 (LSTM) and the skip-thoughts GRU; gains start at 1, biases at 0.
         torch's two biases stand for those behind the norms. Masks: Gal & Ghahramani 2016,
         https://arxiv.org/abs/1512.05287, section 4, tied over gates; what is carried on without a
         matrix (an LSTM's c, z h_{t-1} of a GRU) is not dropped
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

import howfar.models.kernels as kernels

Parts = tuple[Tensor, ...]


class Cells(nn.Module):
    """The step loop of one layer and direction; `norm`: whether its gains are there."""

    def __init__(self, rnn: nn.RNNBase, *, norm: bool) -> None:
        super().__init__()
        size = rnn.hidden_size
        # units that are normalised together
        self.groups = {"LSTM": [4 * size], "GRU": [2 * size, size]}.get(rnn.mode, [size])
        self.norm = norm
        if norm:
            self.into_X = nn.Parameter(torch.empty(sum(self.groups)))
        if norm and rnn.mode in {"LSTM", "GRU"}:
            self.inner_X = nn.Parameter(torch.empty(sum(self.groups)))
        if norm and rnn.mode == "LSTM":
            self.cell_D = nn.Parameter(torch.empty(size))
            self.cell_bias_D = nn.Parameter(torch.empty(size))

    def draw(self, generator: Generator) -> None:
        """Gains of 1, the bias of the cell 0."""
        for name, parameter in self.named_parameters():
            nn.init.constant_(parameter, 0.0 if name == "cell_bias_D" else 1.0)

    def forward(
        self, rnn: nn.RNNBase, x_BLD: Tensor, state: Parts, mask_BD: Tensor | None
    ) -> tuple[Tensor, Parts]:
        """All positions from a state (h,), or (h, c), each (B, H); returns the state after."""
        with kernels.without_autocast(x_BLD):
            return self._loop(rnn, x_BLD, state, mask_BD)

    def _loop(
        self, rnn: nn.RNNBase, x_BLD: Tensor, state: Parts, mask_BD: Tensor | None
    ) -> tuple[Tensor, Parts]:
        into, inner, bias, inner_bias = cast("list[Tensor]", rnn.all_weights[0])
        x_BLD, state = x_BLD.to(into.dtype), tuple(part.to(into.dtype) for part in state)
        cell = {"LSTM": self._lstm, "GRU": self._gru}.get(rnn.mode)
        if cell is None:
            p_BLX = F.linear(x_BLD, into)
        else:
            p_BLX = self._normed(F.linear(x_BLD, into), "into_X") + bias
        sum_X = bias + inner_bias

        relu = rnn.mode == "RNN_RELU"

        def step(state: Parts, p_BX: Tensor) -> Parts:
            q_BX = F.linear(state[0] if mask_BD is None else state[0] * mask_BD, inner)
            if cell is None:
                a_BD = self._normed(p_BX + q_BX, "into_X") + sum_X
                return (a_BD.relu() if relu else a_BD.tanh(),)
            return cell(p_BX, self._normed(q_BX, "inner_X") + inner_bias, state)

        if kernels.as_graph():
            return _walked(step, state, p_BLX)
        h_BLD = []
        for p_BX in p_BLX.unbind(1):
            state = step(state, p_BX)
            h_BLD.append(state[0])
        return torch.stack(h_BLD, 1), state

    def _normed(self, a: Tensor, gain: str) -> Tensor:
        if not self.norm:
            return a
        gains = torch.split(getattr(self, gain), self.groups)
        parts = zip(torch.split(a, self.groups, -1), gains, strict=True)
        found = [F.layer_norm(part, g.shape, g) for part, g in parts]
        return found[0] if len(found) == 1 else torch.cat(found, -1)

    def _gru(self, p_BX: Tensor, q_BX: Tensor, state: Parts) -> Parts:
        two = 2 * state[0].shape[1]
        r_BD, z_BD = (p_BX[:, :two] + q_BX[:, :two]).sigmoid().chunk(2, -1)
        n_BD = torch.addcmul(p_BX[:, two:], r_BD, q_BX[:, two:]).tanh()
        return (torch.lerp(n_BD, state[0], z_BD),)

    def _lstm(self, p_BX: Tensor, q_BX: Tensor, state: Parts) -> Parts:
        i_BD, f_BD, new_BD, o_BD = (p_BX + q_BX).chunk(4, -1)
        c_BD = f_BD.sigmoid() * state[1] + i_BD.sigmoid() * new_BD.tanh()
        shown_BD = c_BD
        if self.norm:
            shown_BD = F.layer_norm(c_BD, c_BD.shape[1:], self.cell_D, self.cell_bias_D)
        return o_BD.sigmoid() * shown_BD.tanh(), c_BD


def _walked(
    step: Callable[[Parts, Tensor], Parts], state: Parts, p_BLX: Tensor
) -> tuple[Tensor, Parts]:
    """All positions as one operation of a graph."""

    def once(before: Parts, given: Parts) -> tuple[Parts, Tensor]:
        after = step(before, given[0])
        return after, after[0]

    after, h_BLD = kernels.graph.walked(once, state, (p_BLX,))
    return h_BLD, after
