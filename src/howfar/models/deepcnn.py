"""Deep convolutions with pooling: a pyramid whose every level sees twice as far as the one below.

Idea     x_1 = R * e, blocks x + W' * relu(W * relu(norm(x))), windows of k positions; between two
         blocks a maximum over 3 positions; at the end relu(norm(x)).
         Whole: the maximum is taken at every second position, so each level is half as long as
         the one below; windows are centred, k is odd, padding counts as zeros and as no maximum.
         Causal: nothing is left out. The maximum runs at every position and all that follows
         looks twice as far apart ("a trous"): position t has a pyramid of its own over its past
Shapes   (B, L, E) -> (B, L, D); whole: the top level, each answer repeated where it stands for
         more than one position, so that the maximum over positions is the maximum over answers
Reach    k + 2 (k - 1) (2**depth - 1) + 2 (2**(depth - 1) - 1) tokens, exactly; whole: the same,
         centred: the span in which two tokens can act together; further apart they only compete
         for the same maximum
State    causal: k - 1 embeddings, 2 (k - 1) 2**j vectors for block j and 2**(j + 1) for the
         maximum after it; whole: the same windows over the positions left; pooled: D maxima more
Source   Johnson & Zhang 2017, https://aclanthology.org/P17-1052/, section 2: two convolutions of
         width 3 behind their activation, maxima of size 3 and stride 2, one width throughout.
         Conneau et al. 2017, https://arxiv.org/abs/1606.01781, section 3 (maxima between blocks;
         a norm in each, here of every position alone, since one over the batch would let texts
         see each other). The causal form is ours, after Holschneider et al. 1990,
         https://doi.org/10.1007/978-3-642-75988-8_28 (algorithme a trous)
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from howfar.core.errors import UsageError
from howfar.core.protocols import State
from howfar.models.blocks import (
    FLOAT_BYTES,
    Convolution,
    Recomputing,
    Sizes,
    has_padding,
    positive,
    real_positions,
)
from howfar.models.kernels import as_graph

DEEPEST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepCnnSettings:
    """depth: blocks, with a maximum between each two; kernel: taps of their convolutions."""

    depth: int = 4
    kernel: int = 3

    def __post_init__(self) -> None:
        positive(depth=self.depth, kernel=self.kernel)
        if self.depth > DEEPEST:
            raise UsageError(
                "E-OPTION",
                f"depth {self.depth} would look 2**{self.depth} positions apart.",
                f"depth={DEEPEST} or less, which spans millions of tokens",
            )


class Block(nn.Module):
    """x + W' * relu(W * relu(norm(x))): (B, L, D) -> (B, L, D)."""

    def __init__(self, sizes: Sizes, kernel: int, dilation: int) -> None:
        super().__init__()
        width, causal = sizes.width, sizes.causal
        self.norm = nn.LayerNorm(width)
        self.first = Convolution(width, width, kernel, dilation=dilation, causal=causal)
        self.second = Convolution(width, width, kernel, dilation=dilation, causal=causal)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, x_BLD: Tensor, real_BL1: Tensor | None, spread: int = 1) -> Tensor:
        """Padding is made zero before each convolution that could see it."""
        h_BLD = self.first(_clean(self.norm(x_BLD).relu(), real_BL1), spread)
        y_BLD = self.second(_clean(h_BLD.relu(), real_BL1), spread)
        out_BLD: Tensor = x_BLD + self.dropout(y_BLD)
        return out_BLD

    def chunk(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next positions; the state is the past inputs of both convolutions."""
        first, second = (None, None) if state is None else cast("tuple[Tensor, Tensor]", state)
        h_BLD, first = self.first.chunk(self.norm(x_BLD).relu(), first)
        y_BLD, second = self.second.chunk(h_BLD.relu(), second)
        return x_BLD + self.dropout(y_BLD), (first, second)

    def flops(self, length: int) -> int:
        """Both convolutions."""
        return self.first.flops(length) + self.second.flops(length)


class Pyramid(Recomputing):
    """(B, L, E) -> (B, L, D), behind a ReLU.

    Raises:
        UsageError: E-OPTION for an even kernel in the whole-sequence form.
    """

    pool = "max"

    def __init__(self, sizes: Sizes, settings: DeepCnnSettings) -> None:
        super().__init__()
        if not sizes.causal and settings.kernel % 2 == 0:
            raise UsageError(
                "E-OPTION",
                "A whole-sequence deepcnn centres its windows: kernel"
                f" {settings.kernel} has no centre.",
                f"kernel={settings.kernel + 1} or causal=True",
            )
        self.causal = sizes.causal
        self.out_width = sizes.width
        self.depth = settings.depth
        self.kernel = settings.kernel
        self.region = Convolution(
            sizes.embedding, sizes.width, settings.kernel, causal=sizes.causal
        )
        self.blocks = nn.ModuleList(
            Block(sizes, settings.kernel, 2**level if sizes.causal else 1)
            for level in range(settings.depth)
        )
        self.norm = nn.LayerNorm(sizes.width)

    def forward(self, x_BLE: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, E) -> (B, L, D)."""
        if self.causal:
            return self.chunk(x_BLE, None)[0]
        length = x_BLE.shape[1]
        if as_graph():
            return self._in_graph(x_BLE, real_positions(lengths, length)[..., None])
        padded = has_padding(lengths, length)
        real_BL1 = real_positions(lengths, length)[..., None] if padded else None
        x_BLD = self.region(_clean(x_BLE, real_BL1))
        for level, block in enumerate(self._blocks()):
            if level:
                x_BLD = _halved(x_BLD, real_BL1)
                real_BL1 = None if real_BL1 is None else real_BL1[:, ::2]
            x_BLD = self.passed(block, x_BLD, real_BL1)
        y_BLD: Tensor = self.norm(x_BLD).relu()
        return y_BLD.repeat_interleave(2 ** (self.depth - 1), dim=1)[:, :length]

    def _in_graph(self, x_BLE: Tensor, real_BL1: Tensor) -> Tensor:
        """The whole form with nothing left out, so that a graph has one length alone."""
        x_BLD = self.region(_clean(x_BLE, real_BL1))
        for level, block in enumerate(self._blocks()):
            if level:
                x_BLD = _around(x_BLD, real_BL1, 2 ** (level - 1))
            x_BLD = block(x_BLD, real_BL1, 2**level)
        size = 2 ** (self.depth - 1)
        place_L = torch.arange(x_BLD.shape[1], device=x_BLD.device) // size * size
        y_BLD: Tensor = self.norm(x_BLD).relu()
        return y_BLD[:, place_L]

    def step(self, x_BE: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position; the state is that of `chunk`."""
        y_B1D, state = self.chunk(x_BE[:, None], state)
        return y_B1D[:, 0], state

    def chunk(self, x_BLE: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next positions.

        The state: past inputs of the first windows, of a block, of the maximum behind it, of the
        next block and so on.
        """
        before = [None] * (2 * self.depth) if state is None else list(state)
        x_BLD, past = self.region.chunk(x_BLE, cast("Tensor | None", before[0]))
        after: list[State] = [past]
        for level, block in enumerate(self._blocks()):
            if level:
                held = cast("Tensor | None", before[2 * level])
                x_BLD, past = _running(x_BLD, held, 2 ** (level - 1))
                after.append(past)
            x_BLD, new = self.passed(block.chunk, x_BLD, before[2 * level + 1])
            after.append(new)
        return self.norm(x_BLD).relu(), tuple(after)

    def reach(self, length: int) -> int | None:
        """The first windows, both windows of every block, and the maxima between."""
        maxima: int = 2 * (2 ** (self.depth - 1) - 1)
        return self.kernel + 2 * (self.kernel - 1) * (int(2**self.depth) - 1) + maxima

    def state_bytes(self, length: int) -> int:
        """Past inputs of all windows, and maxima; whole: of those over the positions left."""
        numbers = self.region.past * self.region.weight.shape[1]
        vectors = sum(block.first.past + block.second.past for block in self._blocks())
        maxima = [2 * 2**level for level in range(self.depth - 1)]
        vectors += sum(maxima) if self.causal else 2 * len(maxima)
        return FLOAT_BYTES * (numbers + vectors * self.out_width)

    def flops(self, length: int) -> int:
        """Every convolution at every position of its level."""
        total = self.region.flops(length)
        for block in self._blocks():
            total += block.flops(length)
            length = length if self.causal else (length + 1) // 2
        return total

    def _blocks(self) -> Iterable[Block]:
        return cast("Iterable[Block]", self.blocks)


def _clean(x_BLD: Tensor, real_BL1: Tensor | None) -> Tensor:
    """Zeros on padding."""
    return x_BLD if real_BL1 is None else x_BLD * real_BL1


def _highest(x_BLD: Tensor, *, apart: int = 1, stride: int = 1, side: int = 0) -> Tensor:
    """The maximum over three positions, `apart` between them; nothing stands on the sides."""
    # read as an image of height 1, as in `Convolution`: its maxima come back soonest
    image_BD1L = x_BLD.transpose(1, 2).unsqueeze(2)
    y_BD1L = F.max_pool2d(
        image_BD1L, (1, 3), stride=(1, stride), padding=(0, side), dilation=(1, apart)
    )
    return y_BD1L.squeeze(2).transpose(1, 2)


def _halved(x_BLD: Tensor, real_BL1: Tensor | None) -> Tensor:
    """(B, L, D) -> (B, (L + 1) // 2, D): the maximum over real ones of 2i - 1, 2i, 2i + 1."""
    if real_BL1 is None:
        return _highest(x_BLD, stride=2, side=1)
    x_BLD = x_BLD.masked_fill(~real_BL1, -torch.inf)
    return _highest(x_BLD, stride=2, side=1).masked_fill(~real_BL1[:, ::2], 0.0)


def _running(x_BLD: Tensor, past_BPD: Tensor | None, apart: int) -> tuple[Tensor, Tensor]:
    """The maximum over t, t - apart, t - 2 apart, and the next past; before the start nothing."""
    if past_BPD is None:
        past_BPD = x_BLD.new_full((x_BLD.shape[0], 2 * apart, x_BLD.shape[2]), -torch.inf)
    window_BLD = torch.cat([past_BPD, x_BLD], dim=1)
    return _highest(window_BLD, apart=apart), window_BLD[:, x_BLD.shape[1] :].clone()


def _around(x_BLD: Tensor, real_BL1: Tensor, apart: int) -> Tensor:
    """At every position what `_halved` gives where it gives anything."""
    length = x_BLD.shape[1]
    sides_BLD = x_BLD.masked_fill(~real_BL1, -torch.inf)
    sides_BLD = F.pad(sides_BLD, (0, 0, apart, apart), value=-torch.inf)
    first, middle, last = (sides_BLD[:, start : start + length] for start in (0, apart, 2 * apart))
    return torch.maximum(torch.maximum(first, middle), last).masked_fill(~real_BL1, 0.0)


def build_body(sizes: Sizes, settings: DeepCnnSettings) -> Pyramid:
    """The body of the family."""
    return Pyramid(sizes, settings)
