"""Decoders of sequence to sequence: a causal body that also reads a memory.

Idea     CrossDecoder: every block is mixer, then attention to the memory, then feed-forward where
         the family has one: x + cross(norm(x), memory). A body without blocks looks once, at
         its end
         AdditiveDecoder: before each step c = sum_j a_j m_j, a = softmax_j(v . tanh(W q + U m_j)),
         with q the last answer; the step reads [E(y), c], the head [h, c]
Shapes   x (B, L, E), memory (B, S, M), its lengths (B,) -> (B, L, out_width)
State    what is worked out once a source, and the state of the body
Source   Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.1; Bahdanau, Cho &
         Bengio 2014, https://arxiv.org/abs/1409.0473, section 3 and appendix A.2
"""

from typing import Protocol, cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from howfar.core.protocols import State
from howfar.models.blocks.attention import CrossAttention
from howfar.models.blocks.base import FLOAT_BYTES, Body, Chunking, real_positions
from howfar.models.blocks.linear import Linear
from howfar.models.blocks.recompute import Recomputing
from howfar.models.blocks.stack import Residual, Stack

INDEX_BYTES = 8  # the number of real source tokens, int64


class Decoder(Protocol):
    """A causal body that also reads a memory."""

    out_width: int

    def remember(self, memory_BSM: Tensor, lengths: Tensor) -> State:
        """What is worked out once a source."""
        ...

    def chunk(self, x_BLE: Tensor, state: State | None, remembered: State) -> tuple[Tensor, State]:
        """The next target positions; state None: the start."""
        ...

    def state_bytes(self, source: int, length: int) -> int:
        """Bytes of `remembered` and of the state, float32, one sequence."""
        ...

    def flops(self, source: int, length: int) -> int:
        """One forward pass, multiply-add = 2."""
        ...


class CrossDecoder(Recomputing):
    """A causal body with attention to the memory in every block."""

    def __init__(self, body: Body, memory_width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.body = body
        self.out_width = body.out_width
        places = len(body.blocks) if isinstance(body, Stack) else 1
        self.norms = nn.ModuleList(nn.LayerNorm(self.out_width) for _ in range(places))
        self.crosses = nn.ModuleList(
            CrossAttention(self.out_width, memory_width, heads) for _ in range(places)
        )
        self.dropout = nn.Dropout(dropout)

    def remember(self, memory_BSM: Tensor, lengths: Tensor) -> State:
        """Keys and values a block, and the lengths."""
        return (tuple(cross.remember(memory_BSM) for cross in self._crosses()), lengths)

    def chunk(self, x_BLE: Tensor, state: State | None, remembered: State) -> tuple[Tensor, State]:
        """The next target positions; the state is that of the body."""
        if not isinstance(self.body, Stack):
            y_BLD, state = cast("Chunking", self.body).chunk(x_BLE, state)
            return self.passed(self._look, 0, y_BLD, remembered), state

        def through(place: int, x_BLD: Tensor, held: State | None) -> tuple[Tensor, State]:
            block = cast("Residual", cast("Stack", self.body).blocks[place])
            x_BLD, new = block.mix(x_BLD, held)
            return block.feed(self._look(place, x_BLD, remembered)), new

        return self.body.chunk(x_BLE, state, through)

    def _look(self, place: int, x_BLD: Tensor, remembered: State) -> Tensor:
        pairs, lengths = cast("tuple[tuple[tuple[Tensor, Tensor], ...], Tensor]", remembered)
        cross = self._crosses()[place]
        y_BLD = cross.attend(self.norms[place](x_BLD), pairs[place], lengths)
        looked_BLD: Tensor = x_BLD + self.dropout(y_BLD)
        return looked_BLD

    def _crosses(self) -> list[CrossAttention]:
        return cast("list[CrossAttention]", list(self.crosses))

    def state_bytes(self, source: int, length: int) -> int:
        """Keys and values of every source token, and what the body holds."""
        memory = sum(cross.memory_bytes(source) for cross in self._crosses())
        return memory + INDEX_BYTES + self.body.state_bytes(length)

    def flops(self, source: int, length: int) -> int:
        """The body, and the attention to the memory."""
        across = sum(cross.flops(source, length) for cross in self._crosses())
        return self.body.flops(length) + across


class AdditiveDecoder(Recomputing):
    """A recurrent stack that asks the memory before every step: Bahdanau's decoder.

    Args:
        body: steps on (B, E + M); E embedding, M memory width.
        memory_width: M.
    """

    def __init__(self, body: Stack, memory_width: int) -> None:
        super().__init__()
        self.body = body
        width = body.out_width
        self.out_width = width + memory_width
        self.first = Linear(memory_width, width)
        self.ask = Linear(width, width)
        self.know = Linear(memory_width, width, bias=False)
        self.weigh_D = nn.Parameter(torch.empty(width))

    def draw(self, generator: Generator) -> None:
        """Variance 1 / width."""
        nn.init.normal_(self.weigh_D, std=self.weigh_D.numel() ** -0.5, generator=generator)

    def remember(self, memory_BSM: Tensor, lengths: Tensor) -> State:
        """The memory, U m and the first question, and the lengths."""
        real_BS1 = real_positions(lengths, memory_BSM.shape[1])[..., None].to(memory_BSM.dtype)
        share_BS1 = real_BS1 / lengths.clamp(min=1)[:, None, None]
        first_BD = torch.tanh(self.first((memory_BSM * share_BS1).sum(1)))
        return (memory_BSM, self.know(memory_BSM), first_BD, lengths)

    def chunk(self, x_BLE: Tensor, state: State | None, remembered: State) -> tuple[Tensor, State]:
        """The next target positions; the state is (last answer, that of the body)."""
        memory_BSM, known_BSD, first_BD, lengths = cast("tuple[Tensor, ...]", remembered)
        real_BS = real_positions(lengths, memory_BSM.shape[1])
        asked_BD, held = (first_BD, None) if state is None else cast("tuple[Tensor, State]", state)
        answers = []
        for x_BE in x_BLE.unbind(1):
            read_BM = self.passed(self._read, asked_BD, memory_BSM, known_BSD, real_BS)
            asked_BD, held = self.body.step(torch.cat([x_BE, read_BM], dim=-1), held)
            answers.append(torch.cat([asked_BD, read_BM], dim=-1))
        return torch.stack(answers, 1), (asked_BD, cast("State", held))

    def _read(
        self, asked_BD: Tensor, memory_BSM: Tensor, known_BSD: Tensor, real_BS: Tensor
    ) -> Tensor:
        """The memory weighed by likeness; zeros where there is none."""
        like_BSD = torch.tanh(self.ask(asked_BD)[:, None] + known_BSD)
        score_BS = F.linear(like_BSD, self.weigh_D[None])[..., 0]
        weight_BS = score_BS.masked_fill(~real_BS, -torch.inf).softmax(-1)
        weight_BS = weight_BS.masked_fill(~real_BS, 0.0)  # an empty source: 0 / 0
        return (weight_BS[:, None] @ memory_BSM)[:, 0]

    def state_bytes(self, source: int, length: int) -> int:
        """Memory and U m of every source token, first and last question, the body's state."""
        width, memory = self.body.out_width, self.out_width - self.body.out_width
        floats = (memory + width) * source + 2 * width
        return FLOAT_BYTES * floats + INDEX_BYTES + self.body.state_bytes(length)

    def flops(self, source: int, length: int) -> int:
        """Questions, scores and sums at every step; U m once."""
        width, memory = self.body.out_width, self.out_width - self.body.out_width
        once = 2 * memory * width * (source + 1)
        each = 2 * width * width + 2 * width * source + 2 * memory * source
        return once + each * length + self.body.flops(length)
