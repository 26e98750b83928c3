"""What a block of queries sees of the keys: a band of lags, the same for every block.

Idea     queries first .. last see keys first - side .. last + ahead, cut at the ends of the text;
         what is added to their scores (a bias by lag, -inf where hidden) is one matrix for all
         blocks, of which a block at the end of the text takes a part
Shapes   (queries, keys)
Source   Beltagy et al. 2020, https://arxiv.org/abs/2004.05150, appendix A (chunks that overlap)
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 64  # queries at a time


@dataclass(frozen=True)
class Block:
    """Queries first .. last, which see keys low .. high beside the sinks: `rows`, `columns`."""

    first: int
    last: int
    low: int
    high: int
    rows: slice
    columns: slice


@dataclass(frozen=True)
class View:
    """Which of `held` keys the last `asked` places see."""

    asked: int
    held: int
    window: int | None
    causal: bool
    sinks: int

    @property
    def side(self) -> int:
        """The largest lag that is seen."""
        if self.window is None:
            return self.held - 1
        side = self.window - 1 if self.causal else (self.window - 1) // 2
        return min(side, self.held - 1)

    @property
    def ahead(self) -> int:
        """The largest lag that is seen the other way."""
        return 0 if self.causal else self.side

    @property
    def kept(self) -> int:
        """Keys that are sinks."""
        return min(self.sinks, self.held)

    def blocks(self) -> Iterator[Block]:
        """From the last to the first, which alone may have fewer queries: it loses its top rows."""
        offset, size = self.held - self.asked, min(BLOCK, self.asked)
        for last in range(self.asked, 0, -size):
            first = max(last - size, 0)
            high = min(last + offset + self.ahead, self.held)
            low = min(max(first + offset - self.side, self.kept, 0), high)
            start = last - size + offset - self.side  # where the first column stands
            rows, columns = slice(first - last + size, size), slice(low - start, high - start)
            yield Block(first, last, low, high, rows, columns)

    def lags(self, device: torch.device) -> Tensor:
        """(rows, columns) of a full block with nothing cut off."""
        size = min(BLOCK, self.asked)
        column = torch.arange(self.side + size + self.ahead, device=device)
        return torch.arange(size, device=device)[:, None] + self.side - column

    def sink_lags(self, block: Block, device: torch.device) -> Tensor:
        """(queries, sinks), counted in held tokens; negative: ahead of the query."""
        offset, farthest = self.held - self.asked, self.side + self.sinks
        place = torch.arange(block.first + offset, block.last + offset, device=device)
        return place.clamp_(max=farthest)[:, None] - torch.arange(self.kept, device=device)

    def columns_of(self, lag: Tensor, bias_HX: Tensor) -> Tensor:
        """Where lags stand in the bias; hidden ones, anywhere."""
        width = bias_HX.shape[1]
        return (lag + (0 if self.causal else (width - 1) // 2)).clamp_(0, width - 1)

    def band(self, lag: Tensor, dtype: torch.dtype, bias_HX: Tensor | None) -> Tensor:
        """What is added to scores, (1 or H, *lag.shape): the bias, -inf where hidden."""
        hidden = lag < -self.ahead
        if bias_HX is None:
            return torch.zeros_like(lag, dtype=dtype).masked_fill_(hidden, -torch.inf)[None]
        return bias_HX.to(dtype)[:, self.columns_of(lag, bias_HX)].masked_fill_(hidden, -torch.inf)
