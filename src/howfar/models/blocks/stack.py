"""The residual stack all families but textcnn stand in.

Idea     input projection, blocks `x + mixer(norm(x))`, one last norm at every position
Reach    1 + sum over blocks of (reach - 1); unbounded if one block is
State    the sum over the blocks
"""

from collections.abc import Callable, Iterable, Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from howfar.core.errors import UsageError
from howfar.core.protocols import Mixer, State
from howfar.models.blocks.base import Chunking, Packing, Sizes, Stepping
from howfar.models.blocks.linear import Linear
from howfar.models.blocks.recompute import Recomputing

# (which block, x, its state) -> (x, its state)
Through = Callable[[int, Tensor, State | None], tuple[Tensor, State]]


class FeedForward(nn.Module):
    """Two linear maps with GELU between, at every position alone: (B, L, D) -> (B, L, D)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.widen = Linear(width, 4 * width)
        self.narrow = Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        y: Tensor = self.narrow(self.dropout(F.gelu(self.widen(x))))
        return y

    def flops(self, length: int) -> int:
        """Both linear maps, once a position."""
        return 2 * (self.widen.weight.numel() + self.narrow.weight.numel()) * length


class Residual(nn.Module):
    """x + dropout(mixer(norm(x))), and x + dropout(ff(norm(x))) where a family asks for it.

    Source: Xiong et al. 2020 (norm before the branch), https://arxiv.org/abs/2002.04745.
    """

    def __init__(self, mixer: Mixer, width: int, dropout: float, *, feed_forward: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mixer = mixer
        self.dropout = nn.Dropout(dropout)
        self.ff_norm = nn.LayerNorm(width) if feed_forward else None
        self.ff = FeedForward(width, dropout) if feed_forward else None

    def forward(self, x_BLD: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        return self.feed(x_BLD + self.dropout(self.mixer(self.norm(x_BLD), lengths)))

    def packed(self, x_TD: Tensor, lengths: Tensor) -> Tensor:
        """Documents one after another, (T, D) -> (T, D)."""
        y_TD = cast("Packing", self.mixer).packed(self.norm(x_TD), lengths)
        return self.feed(x_TD + self.dropout(y_TD))

    def step(self, x_BD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position."""
        if not isinstance(self.mixer, Stepping):
            raise UsageError(
                "E-STEP",
                f"{type(self.mixer).__name__} cannot go one position at a time.",
                "run the whole sequence at once",
            )
        y_BD, state = self.mixer.step(self.norm(x_BD), state)
        return self.feed(x_BD + self.dropout(y_BD)), state

    def chunk(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next positions."""
        x_BLD, state = self.mix(x_BLD, state)
        return self.feed(x_BLD), state

    def mix(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The first half of `chunk`: what moves information between positions."""
        if not isinstance(self.mixer, Chunking):
            raise UsageError(
                "E-STEP",
                f"{type(self.mixer).__name__} cannot stop and go on.",
                "run the whole sequence at once",
            )
        y_BLD, state = self.mixer.chunk(self.norm(x_BLD), state)
        return x_BLD + self.dropout(y_BLD), state

    def feed(self, x: Tensor) -> Tensor:
        """The second half: every position by itself."""
        if self.ff is None or self.ff_norm is None:
            return x
        fed: Tensor = x + self.dropout(self.ff(self.ff_norm(x)))
        return fed

    def flops(self, length: int) -> int:
        """Mixer and feed-forward."""
        return self.mixer.flops(length) + (self.ff.flops(length) if self.ff is not None else 0)


class Stack(Recomputing):
    """Projection E -> D (left out if equal), residual blocks, a last norm at every position.

    The last norm comes before any pooling, so what follows it (mean, head) is additive.
    """

    pool = "mean"

    def __init__(
        self, sizes: Sizes, mixers: Sequence[Mixer], *, feed_forward: bool = False
    ) -> None:
        super().__init__()
        self.causal = sizes.causal
        self.out_width = sizes.width
        same = sizes.embedding == sizes.width
        self.project = None if same else Linear(sizes.embedding, sizes.width)
        self.blocks = nn.ModuleList(
            Residual(mixer, sizes.width, sizes.dropout, feed_forward=feed_forward)
            for mixer in mixers
        )
        self.norm = nn.LayerNorm(sizes.width)

    def forward(self, x_BLE: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, E) -> (B, L, D)."""
        x_BLD = x_BLE if self.project is None else self.project(x_BLE)
        for block in self._residuals():
            x_BLD = self.passed(block, x_BLD, lengths)
        y_BLD: Tensor = self.norm(x_BLD)
        return y_BLD

    @property
    def packs(self) -> bool:
        """Whether every block can read documents that stand one after another."""
        return all(isinstance(block.mixer, Packing) for block in self._residuals())

    def packed(self, x_TE: Tensor, lengths: Tensor) -> Tensor:
        """(T, E) -> (T, D): documents of lengths (N,) one after another, without padding."""
        x_TD = x_TE if self.project is None else self.project(x_TE)
        for block in self._residuals():
            x_TD = self.passed(block.packed, x_TD, lengths)
        y_TD: Tensor = self.norm(x_TD)
        return y_TD

    def step(self, x_BE: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position; the state is one state a block.

        Raises:
            UsageError: E-STEP if a mixer cannot step.
        """
        x_BD = x_BE if self.project is None else self.project(x_BE)
        before = [None] * len(self.blocks) if state is None else list(state)
        after: list[State] = []
        for block, held in zip(self._residuals(), before, strict=True):
            x_BD, new = block.step(x_BD, held)
            after.append(new)
        return self.norm(x_BD), tuple(after)

    def chunk(
        self, x_BLE: Tensor, state: State | None, through: Through | None = None
    ) -> tuple[Tensor, State]:
        """The next positions; the state is that of `step`.

        through: how a block is passed, if not by its own `chunk`: a decoder looks at its memory.

        Raises:
            UsageError: E-STEP if a mixer cannot.
        """
        x_BLD = x_BLE if self.project is None else self.project(x_BLE)
        before = [None] * len(self.blocks) if state is None else list(state)
        after: list[State] = []
        for place, (block, held) in enumerate(zip(self._residuals(), before, strict=True)):
            if through is None:
                x_BLD, new = self.passed(block.chunk, x_BLD, held)
            else:
                x_BLD, new = self.passed(through, place, x_BLD, held)
            after.append(new)
        return self.norm(x_BLD), tuple(after)

    @classmethod
    def joined(cls, sizes: Sizes, stacks: Iterable["Stack"]) -> "Stack":
        """One stack of the blocks of several, each of which is as wide outside as inside."""
        whole = cls(sizes, [])
        for stack in stacks:
            whole.blocks.extend(stack.blocks)
        return whole

    def reach(self, length: int) -> int | None:
        """1 + sum(reach - 1) over the blocks; None if one is unbounded."""
        total = 1
        for block in self._residuals():
            part = block.mixer.reach(length)
            if part is None:
                return None
            total += part - 1
        return total

    def state_bytes(self, length: int) -> int:
        """Sum over the blocks."""
        return sum(block.mixer.state_bytes(length) for block in self._residuals())

    def flops(self, length: int) -> int:
        """Projection and blocks."""
        project = 0 if self.project is None else 2 * self.project.weight.numel() * length
        return project + sum(block.flops(length) for block in self._residuals())

    def _residuals(self) -> Iterable[Residual]:
        return cast("Iterable[Residual]", self.blocks)
