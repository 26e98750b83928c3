"""A recurrence of torch as a mixer: h_t = g(h_{t-1}, x_t), from h_0.

Shapes   (B, L, D) -> (B, L, D), one layer
Padding  stands on the right, so it can never reach a real position: no packing
Reach    unbounded
State    h, and for an LSTM its cell
"""

from typing import cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from howfar.core.errors import UsageError, shown
from howfar.core.protocols import State
from howfar.models.blocks.base import FLOAT_BYTES
from howfar.models.blocks.gru_scan import GruScan
from howfar.models.blocks.tanh_scan import TanhScan

STARTS = ("zeros", "random", "learned")


def known_start(h0: object) -> None:
    """Refuse an unknown way to start a recurrence.

    Raises:
        UsageError: E-OPTION.
    """
    if h0 not in STARTS:
        raise UsageError("E-OPTION", f"h0 cannot be {shown(h0)}.", f"one of {', '.join(STARTS)}")


class Recurrence(nn.Module):
    """One layer of nn.RNN, nn.GRU or nn.LSTM, batch first, width in = width out.

    Args:
        rnn: the layer.
        h0: "zeros", "random" (drawn once when built, then fixed) or "learned".
        forget_gate: index of the gate whose whole bias (input + recurrent side) starts at 1.
    """

    causal = True

    def __init__(self, rnn: nn.RNNBase, h0: str, *, forget_gate: int | None = None) -> None:
        super().__init__()
        self.rnn = rnn
        self.width = rnn.hidden_size
        self.parts = 2 if isinstance(rnn, nn.LSTM) else 1  # an LSTM also carries its cell
        self.forget_gate = forget_gate
        self.learned = h0 == "learned"
        start_PD = None if h0 == "zeros" else torch.empty(self.parts, self.width)
        self.h0_PD: Tensor | None
        if self.learned and start_PD is not None:
            self.h0_PD = nn.Parameter(start_PD)
        else:
            self.register_buffer("h0_PD", start_PD)

    def draw(self, generator: Generator) -> None:
        """Input weights of variance 1 / fan-in, recurrent weights orthogonal gate by gate."""
        for name, weight in self.rnn.named_parameters():
            if name.startswith("weight_ih"):
                nn.init.kaiming_normal_(weight, nonlinearity="linear", generator=generator)
            elif name.startswith("weight_hh"):
                for gate_DD in torch.split(weight.detach(), self.width):
                    nn.init.orthogonal_(gate_DD, generator=generator)
            else:
                nn.init.zeros_(weight)
        if self.forget_gate is not None:
            first = self.forget_gate * self.width
            bias = cast("Tensor", self.rnn.bias_ih_l0)
            nn.init.ones_(bias.detach()[first : first + self.width])
        if self.learned and self.h0_PD is not None:
            nn.init.zeros_(self.h0_PD)
        elif self.h0_PD is not None:
            nn.init.uniform_(self.h0_PD, -1.0, 1.0, generator=generator)

    def forward(self, x_BLD: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D); `lengths` is not needed."""
        return self.chunk(x_BLD, None)[0]

    def chunk(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next positions; the state is that of `step`."""
        before = self._before(x_BLD, state)
        # torch goes back through these two step by step on a CPU; forward alone it is as fast
        if not isinstance(self.rnn, nn.LSTM) and x_BLD.is_cpu and torch.is_grad_enabled():
            y_BLD = self._scan(x_BLD, cast("Tensor | None", before))
            return y_BLD, (y_BLD[:, -1],)
        y_BLD, after = self.rnn(x_BLD, before)
        held = after if self.parts == 2 else (after,)
        return y_BLD, tuple(part_1BD[0] for part_1BD in held)

    def _scan(self, x_BLD: Tensor, before_1BD: Tensor | None) -> Tensor:
        """What nn.RNN and nn.GRU give, with gradients that come sooner."""
        x_LBD = x_BLD.transpose(0, 1)
        h0_BD = x_BLD.new_zeros(x_LBD.shape[1:]) if before_1BD is None else before_1BD[0]
        into, weight, bias, inner = cast("list[Tensor]", self.rnn.all_weights[0])
        h_LBD: Tensor
        if isinstance(self.rnn, nn.GRU):
            # the reset gate acts on the third part of the inner bias: it cannot be added up front
            rz = 2 * self.width
            bias = torch.cat([bias[:rz] + inner[:rz], bias[rz:]])
            h_LBD = GruScan.apply(F.linear(x_LBD, into, bias), weight, inner[rz:], h0_BD)  # type: ignore[no-untyped-call]
        else:
            h_LBD = TanhScan.apply(F.linear(x_LBD, into, bias + inner), weight, h0_BD)  # type: ignore[no-untyped-call]
        return h_LBD.transpose(0, 1)

    def step(self, x_BD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position; the state is (h,), or (h, c) for an LSTM, each (B, D)."""
        y_B1D, after = self.rnn(x_BD[:, None], self._before(x_BD, state))
        held = after if self.parts == 2 else (after,)
        return y_B1D[:, 0], tuple(part_1BD[0] for part_1BD in held)

    def _before(self, x: Tensor, state: State | None) -> Tensor | tuple[Tensor, ...] | None:
        """The state to start from as torch wants it, each part (1, B, D)."""
        if state is None:
            return self._start(x.shape[0])
        parts = tuple(part_BD[None] for part_BD in cast("tuple[Tensor, ...]", state))
        return parts if self.parts == 2 else parts[0]

    def _start(self, rows: int) -> Tensor | tuple[Tensor, ...] | None:
        if self.h0_PD is None:
            return None  # torch starts at zeros
        parts = tuple(
            part_D.expand(1, rows, self.width).contiguous() for part_D in self.h0_PD.unbind()
        )
        return parts if self.parts == 2 else parts[0]

    def reach(self, length: int) -> int | None:
        """Unbounded: the state may keep anything."""
        return None

    def state_bytes(self, length: int) -> int:
        """The hidden state, whatever the length."""
        return FLOAT_BYTES * self.parts * self.width

    def flops(self, length: int) -> int:
        """Input and recurrent matrix of every gate, once a position."""
        weights = sum(p.numel() for p in self.rnn.parameters() if p.ndim == 2)
        return 2 * weights * length
