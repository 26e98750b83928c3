"""A recurrence of torch as a mixer: h_t = g(h_{t-1}, x_t), from h_0.

Shapes   (B, L, D) -> (B, L, H), one layer, one direction
Padding  stands on the right, so it can never reach a real position: no packing
Reach    unbounded
State    h, and for an LSTM its cell; while dropout is on, also the masks of the sequence
Forms    nn.LSTM; for the others a kernel, but nn.RNN or nn.GRU for a single step, off the CPU, and
         where they are as fast; with a norm inside, or while dropout is on, a plain loop (`cells`)
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Generator, Tensor, nn

import howfar.models.kernels as kernels
from howfar.core.errors import UsageError, shown
from howfar.core.protocols import State
from howfar.models.blocks.base import FLOAT_BYTES
from howfar.models.blocks.cells import Cells

STARTS = ("zeros", "random", "learned")
Parts = tuple[Tensor, ...]
Start = Callable[[nn.RNNBase, Generator], None]


def known_choice(name: str, given: object, choices: tuple[str, ...]) -> None:
    """Refuse what is none of the choices.

    Raises:
        UsageError: E-OPTION.
    """
    if given not in choices:
        hint = f"one of {', '.join(choices)}"
        raise UsageError("E-OPTION", f"{name} cannot be {shown(given)}.", hint)


def known_start(h0: object) -> None:
    """Refuse an unknown way to start a recurrence.

    Raises:
        UsageError: E-OPTION.
    """
    known_choice("h0", h0, STARTS)


class Recurrence(nn.Module):
    """One layer of nn.RNN, nn.GRU or nn.LSTM, batch first, of one direction.

    Args:
        rnn: the layer.
        h0: "zeros", "random" (drawn once when built, then fixed) or "learned".
        start: overwrites what it wants of the weights after they are drawn; None: nothing.
        norm: layer norm inside the recurrence.
        dropout: share of inputs and of h_{t-1} dropped in training, the same at all steps.
        backwards: the rows it is given run back in time.
    """

    causal = True

    def __init__(
        self,
        rnn: nn.RNNBase,
        h0: str,
        *,
        start: Start | None = None,
        norm: bool = False,
        dropout: float = 0.0,
        backwards: bool = False,
    ) -> None:
        super().__init__()
        self.rnn = rnn
        self.cells = Cells(rnn, norm=norm)
        # a module, so that whoever turns all dropout off finds it
        self.dropout = nn.Dropout(dropout)
        self.width = rnn.hidden_size
        self.parts = 2 if isinstance(rnn, nn.LSTM) else 1  # an LSTM also carries its cell
        self.start = start
        self.backwards = backwards
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
        if self.start is not None:
            self.start(self.rnn, generator)
        if self.learned and self.h0_PD is not None:
            nn.init.zeros_(self.h0_PD)
        elif self.h0_PD is not None:
            nn.init.uniform_(self.h0_PD, -1.0, 1.0, generator=generator)

    def forward(self, x_BLD: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, H); `lengths` is not needed."""
        return self.chunk(x_BLD, None)[0]

    def step(self, x_BD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position; the state is (h,), or (h, c) for an LSTM, each (B, H), and any masks."""
        y_B1D, after = self.chunk(x_BD[:, None], state)
        return y_B1D[:, 0], after

    def chunk(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next positions; the state is that of `step`."""
        given = None if state is None else cast("Parts", state)
        held = None if given is None else given[: self.parts]
        masks: Parts = ()
        if self.dropout.training and self.dropout.p > 0:
            masks = () if given is None else given[self.parts :]
            masks = masks or self._masks(x_BLD)
        elif not self.cells.norm and not kernels.as_graph():
            return self._fused(x_BLD, held)
        begin = held if held is not None else self._begin(x_BLD)
        x_BLD, inner_BD = (x_BLD * masks[0][:, None], masks[1]) if masks else (x_BLD, None)
        y_BLD, after = self.cells(self.rnn, x_BLD, begin, inner_BD)
        return y_BLD, (*after, *masks)

    def _masks(self, x_BLD: Tensor) -> Parts:
        """Those of a sequence: of its inputs (B, D) and of its states (B, H)."""
        rows, _, inputs = x_BLD.shape
        return tuple(self.dropout(x_BLD.new_ones(rows, size)) for size in (inputs, self.width))

    def _fused(self, x_BLD: Tensor, held: Parts | None) -> tuple[Tensor, Parts]:
        if isinstance(self.rnn, nn.LSTM) or not x_BLD.is_cpu or self._alone(x_BLD):
            # past the hooks: whoever watches would take the states of a turned row for the row's
            run = self.rnn.forward if self.backwards else self.rnn
            y_BLD, after = run(x_BLD, self._before(x_BLD, held))
            ends = after if self.parts == 2 else (after,)
            return y_BLD, tuple(part_1BD[0] for part_1BD in ends)
        y_BLD = self._scan(x_BLD, (held or self._begin(x_BLD))[0])
        return y_BLD, (y_BLD[:, -1].clone(),)  # a view would keep the whole chunk

    def _alone(self, x_BLD: Tensor) -> bool:
        """Whether nn.RNN or nn.GRU itself is as fast, or its hooks are watched."""
        if torch.is_grad_enabled() or self.backwards:
            return False
        watched = self.rnn._forward_hooks or self.rnn._forward_pre_hooks
        # of the weights: under autocast x may be narrower, and the recurrence is not
        weight = cast("list[Tensor]", self.rnn.all_weights[0])[0]
        return bool(watched) or x_BLD.shape[1] == 1 or not kernels.compiled(weight)

    def _scan(self, x_BLD: Tensor, h0_BD: Tensor) -> Tensor:
        """What nn.RNN and nn.GRU give, sooner; under autocast the recurrence keeps its dtype."""
        into, weight, bias, inner = cast("list[Tensor]", self.rnn.all_weights[0])
        h0_BD = h0_BD.to(weight.dtype)
        if isinstance(self.rnn, nn.GRU):
            # the reset gate acts on the third part of the inner bias: it cannot be added up front
            rz = 2 * self.width
            bias = torch.cat([bias[:rz] + inner[:rz], bias[rz:]])
            p_LBX = kernels.linear(x_BLD, into, bias).to(weight.dtype).transpose(0, 1)
            h_LBD = kernels.gru_scan(p_LBX, weight, inner[rz:], h0_BD)
        else:
            activation = "relu" if self.rnn.mode == "RNN_RELU" else "tanh"
            p_LBD = kernels.linear(x_BLD, into, bias + inner).to(weight.dtype).transpose(0, 1)
            h_LBD = kernels.elman_scan(p_LBD, weight, h0_BD, activation=activation)
        return h_LBD.transpose(0, 1)

    def _before(self, x_BLD: Tensor, held: Parts | None) -> Tensor | Parts | None:
        """The state to start from as torch wants it, each part (1, B, H)."""
        if held is None:
            return self._start(x_BLD.shape[0])
        parts = tuple(part_BD[None] for part_BD in held)
        return parts if self.parts == 2 else parts[0]

    def _start(self, rows: int) -> Tensor | Parts | None:
        if self.h0_PD is None:
            return None  # torch starts at zeros
        parts = tuple(
            part_D.expand(1, rows, self.width).contiguous() for part_D in self.h0_PD.unbind()
        )
        return parts if self.parts == 2 else parts[0]

    def _begin(self, x_BLD: Tensor) -> Parts:
        """The state before the first position."""
        rows = x_BLD.shape[0]
        if self.h0_PD is None:
            return (x_BLD.new_zeros(rows, self.width),) * self.parts
        return tuple(part_D.expand(rows, self.width) for part_D in self.h0_PD.unbind())

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
