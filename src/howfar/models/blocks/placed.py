"""A residual stack whose input is told where it stands: a vector for the place is added to it.

Idea     x_t + p_t before the stack's projection. "learned": p is a row of a table, drawn with
         standard deviation 0.3. "sinusoidal": p is 0.3 sqrt(2) (sin, cos) of the place. Both are
         then as large as the embeddings, which a model draws with standard deviation 0.3
Shapes   (B, L, E) -> (B, L, D)
State    that of the stack, and the number of tokens so far: 8 bytes a sequence
Limits   "learned": no place beyond the table
Source   Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.5 (there, embeddings
         times sqrt(E) stand beside sinusoids of 1; Gehring et al. 2017,
         https://arxiv.org/abs/1705.03122, section 3.1, for a table beside embeddings of its size)
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Generator, Tensor, nn

from howfar.core.errors import UsageError
from howfar.core.protocols import Mixer, State
from howfar.models.blocks.base import Sizes
from howfar.models.blocks.positions import places_of, sinusoids
from howfar.models.blocks.stack import Stack, Through
from howfar.models.kernels import as_graph

SCALE = 0.3  # standard deviation of embeddings
INDEX_BYTES = 8  # int64


class Places(nn.Module):
    """The vector of each place: (..., L) -> (..., L, E).

    Args:
        width: E.
        rows: of the table, "learned"; None: sinusoids.
    """

    def __init__(self, width: int, rows: int | None) -> None:
        super().__init__()
        self.width, self.rows = width, rows
        self.table_PE = None if rows is None else nn.Parameter(torch.empty(rows, width))

    def draw(self, generator: Generator) -> None:
        """Normal, as embeddings."""
        if self.table_PE is not None:
            nn.init.normal_(self.table_PE, std=SCALE, generator=generator)

    def forward(self, place: Tensor, dtype: torch.dtype) -> Tensor:
        """Vectors of places from 0.

        Raises:
            UsageError: E-LENGTH for a place beyond the table.
        """
        if self.table_PE is None:
            return sinusoids(place, self.width, dtype) * (SCALE * 2**0.5)
        if not as_graph() and place.numel() and int(place.max()) >= len(self.table_PE):
            raise UsageError(
                "E-LENGTH",
                f"A text of {int(place.max()) + 1:,} tokens or more: this model has learned"
                f" positions for {self.rows:,}.",
                "shorter texts, a larger max_length, or positions that need no table: rotary",
            )
        return self.table_PE[place].to(dtype)


class PlacedStack(Stack):
    """A stack behind places.

    Args:
        sizes: of the stack.
        mixers: one a block.
        rows: of the table of places; None: sinusoids.
        feed_forward: as of the stack.
    """

    def __init__(
        self,
        sizes: Sizes,
        mixers: Sequence[Mixer],
        *,
        rows: int | None,
        feed_forward: bool = False,
    ) -> None:
        super().__init__(sizes, mixers, feed_forward=feed_forward)
        self.places = Places(sizes.embedding, rows)

    def forward(self, x_BLE: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, E) -> (B, L, D)."""
        place_L = torch.arange(x_BLE.shape[1], device=x_BLE.device)
        return super().forward(x_BLE + self.places(place_L, x_BLE.dtype), lengths)

    def packed(self, x_TE: Tensor, lengths: Tensor) -> Tensor:
        """Every document begins at place 0."""
        return super().packed(x_TE + self.places(places_of(lengths), x_TE.dtype), lengths)

    def step(self, x_BE: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position; the state is (tokens so far (B,), that of the stack)."""
        y_B1D, state = self.chunk(x_BE[:, None], state)
        return y_B1D[:, 0], state

    def chunk(
        self, x_BLE: Tensor, state: State | None, through: Through | None = None
    ) -> tuple[Tensor, State]:
        """The next positions; the state is that of `step`."""
        rows, length = x_BLE.shape[:2]
        if state is None:
            so_far_B, held = torch.zeros(rows, dtype=torch.long, device=x_BLE.device), None
        else:
            so_far_B, held = cast("tuple[Tensor, State]", state)
        place_BL = so_far_B[:, None] + torch.arange(length, device=x_BLE.device)
        placed_BLE = x_BLE + self.places(place_BL, x_BLE.dtype)
        y_BLD, held = super().chunk(placed_BLE, held, through)
        return y_BLD, (so_far_B + length, held)

    def state_bytes(self, length: int) -> int:
        """That of the stack, and a number."""
        return INDEX_BYTES + super().state_bytes(length)
