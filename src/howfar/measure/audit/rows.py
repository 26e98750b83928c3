"""The rows an audit asks: a few of the data, and changed ones made from the same tokens.

Idea     whatever is put in place of a token occurs in the data, so that no id is out of range;
         and it always differs from what stood there, so that no change is lost by chance
Shapes   tokens (B, L) integer or real, or (B, L, D) real; lengths (B,)
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from howfar.core.seeds import Seeds

POOL = 4096
HALF = 0.5


@dataclass(frozen=True, slots=True)
class Rows:
    """tokens (B, L[, D]) with real lengths (B,)."""

    tokens: Tensor
    lengths: Tensor

    @property
    def width(self) -> int:
        """L."""
        return int(self.tokens.shape[1])

    @property
    def real_BL(self) -> Tensor:
        """True on real tokens, on the CPU."""
        return torch.arange(self.width)[None, :] < self.lengths.cpu()[:, None]

    def cut(self, width: int) -> "Rows":
        """The first `width` tokens."""
        return Rows(self.tokens[:, :width], self.lengths.clamp(max=width))

    def pick(self, rows: list[int]) -> "Rows":
        """These rows, in this order."""
        return Rows(self.tokens[rows], self.lengths[rows])

    def alone(self, row: int) -> "Rows":
        """One row, without its padding."""
        return self.pick([row]).cut(int(self.lengths[row]))


class Material:
    """Rows to ask, and the tokens that changed ones are made of.

    rows: as they are, the longest first. pad: what stands on padding in the data, None: nothing.
    """

    def __init__(self, given: Rows, rows: int, width: int, seed: int) -> None:
        self.seeds = Seeds(seed)
        order = given.lengths.argsort(descending=True, stable=True)
        order = order[given.lengths[order] > 0]
        self.longest = given.pick(order[:rows].tolist())
        self.pad = self._padding(given)
        self.pool = self._pool(given)
        widest = min(int(self.longest.lengths.max()), width)
        self.rows = self.longest.cut(widest)
        missing = min(rows, 4) - len(self.rows.tokens)
        if missing > 0:
            self.rows = self._more(missing)

    @property
    def varied(self) -> bool:
        """There are at least two different tokens."""
        return len(self.pool) > 1

    def fewer(self, rows: int) -> None:
        """Ask fewer rows from now on: their answers are large."""
        self.rows = self.rows.pick(list(range(min(rows, len(self.rows.tokens)))))

    def different(self, tokens: Tensor, purpose: str) -> Tensor:
        """Another token in every place, drawn for this purpose."""
        generator = self.seeds.torch(f"audit {purpose}")
        index = self._draw(tokens.shape[:2], generator)
        drawn, following = self.pool[index], self.pool[(index + 1) % len(self.pool)]
        same = drawn == tokens
        if tokens.ndim == 3:
            same = same.all(-1, keepdim=True)
        return torch.where(same, following, drawn)

    def order(self, num: int, purpose: str) -> list[int]:
        """0 .. num - 1 in some order."""
        generator = self.seeds.torch(f"audit {purpose}")
        return [int(i) for i in torch.randperm(num, generator=generator)]

    def ragged(self) -> Rows:
        """The rows in many lengths: the first keeps its own, others lose their ends."""
        width = self.rows.width
        wanted = [width, width // 2, width - 1, width // 3, 3, width // 5, 2, width * 3 // 4]
        num = len(self.rows.tokens)
        want = torch.tensor([max(1, wanted[i % len(wanted)]) for i in range(num)])
        lengths = torch.minimum(self.rows.lengths, want.to(self.rows.lengths))
        return self.padded(Rows(self.rows.tokens, lengths), "own")

    def padded(self, rows: Rows, fill: str) -> Rows:
        """Other tokens on padding: "own" as in the data, "drawn" at random, "last" of the pool."""
        if fill == "drawn":
            filling = self.pool[self._draw(rows.tokens.shape[:2], self.seeds.torch("audit fill"))]
        else:
            own = torch.zeros_like(self.pool[0]) if self.pad is None else self.pad
            filling = (own if fill == "own" else self.pool[-1]).expand_as(rows.tokens)
        return Rows(_where(rows.real_BL, rows.tokens, filling), rows.lengths)

    def widened(self, rows: Rows, width: int) -> Rows:
        """More padding on the right."""
        more = width - rows.width
        extra = rows.tokens[:, :1].expand(-1, more, *rows.tokens.shape[2:])
        return self.padded(Rows(torch.cat([rows.tokens, extra], dim=1), rows.lengths), "own")

    def stretched(self, width: int) -> Rows:
        """Full rows of `width` tokens: the real tokens of the data's rows one after another."""
        real = [
            row[: int(n)] for row, n in zip(self.longest.tokens, self.longest.lengths, strict=True)
        ]
        num = len(self.rows.tokens)
        rows = []
        for first in range(num):
            parts = [real[(first + i) % len(real)] for i in range(len(real))]
            text = torch.cat(parts)
            text = text.repeat(-(-width // len(text)), *[1] * (text.ndim - 1))
            rows.append(text[:width])
        tokens = torch.stack(rows)
        return Rows(tokens, torch.full_like(self.rows.lengths, width))

    def swapped(self, rows: Rows, first_B: Tensor, last_B: Tensor, purpose: str) -> Rows:
        """Other tokens at `first` and at half of the places up to, not with, `last` of each row.

        Only half, as a model of two symbols may not see them all exchanged (a parity); padding
        stays.
        """
        place = torch.arange(rows.width)[None, :]
        inside = (place >= first_B[:, None]) & (place < last_B[:, None]) & rows.real_BL
        generator = self.seeds.torch(f"audit half {purpose}")
        half = torch.rand(inside.shape, generator=generator) < HALF
        inside &= half | (place == first_B[:, None])
        given = self.different(rows.tokens, purpose)
        return Rows(_where(inside, given, rows.tokens), rows.lengths)

    def _more(self, missing: int) -> Rows:
        index = [i % len(self.rows.tokens) for i in range(missing)]
        tokens = self.different(self.rows.tokens[index], "more rows") if self.varied else None
        tokens = self.rows.tokens[index] if tokens is None else tokens
        return Rows(
            torch.cat([self.rows.tokens, tokens]),
            torch.cat([self.rows.lengths, self.rows.lengths[index]]),
        )

    def _draw(self, shape: torch.Size, generator: Generator) -> Tensor:
        return torch.randint(len(self.pool), tuple(shape), generator=generator)

    @staticmethod
    def _padding(given: Rows) -> Tensor | None:
        empty = (~given.real_BL).nonzero()
        return None if len(empty) == 0 else given.tokens[tuple(empty[0])]

    @staticmethod
    def _pool(given: Rows) -> Tensor:
        real = given.tokens[given.real_BL.to(given.tokens.device)]
        pool: Tensor = torch.unique(real[: 64 * POOL], dim=0)
        return pool[:: -(-len(pool) // POOL)]


def _where(mask_BL: Tensor, given: Tensor, tokens: Tensor) -> Tensor:
    mask = mask_BL.to(tokens.device)
    return torch.where(mask[..., None] if tokens.ndim == 3 else mask, given, tokens)
