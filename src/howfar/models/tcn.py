"""Dilated convolutions: a tree of look-backs whose reach is fixed when it is built.

Idea     block j: x + W' * relu(W * norm(x)), where * looks at k positions 2**j apart.
         Causal: windows end at t. Whole: windows are centred, k is odd, padding counts as zeros
Shapes   (B, L, D) -> (B, L, D), in the shared residual stack
Reach    1 + 2 (kernel - 1) (2**depth - 1) tokens, exactly; the whole-sequence form spans as many,
         half on each side
State    (kernel - 1) * 2**j past vectors for each of the two convolutions of block j
Source   Bai, Kolter & Koltun 2018, https://arxiv.org/abs/1803.01271, section 3. The norm before
         each block takes the place of weight normalisation and of the last ReLU
"""

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from howfar.core.errors import UsageError
from howfar.core.protocols import State
from howfar.models.blocks import (
    FLOAT_BYTES,
    Convolution,
    Sizes,
    Stack,
    has_padding,
    positive,
    real_positions,
)

DEEPEST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TcnSettings:
    """depth: blocks, each with twice the dilation of the one before; kernel: taps."""

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


class DilatedPair(nn.Module):
    """Two convolutions with one dilation, ReLU and dropout between: (B, L, D) -> (B, L, D)."""

    def __init__(self, sizes: Sizes, kernel: int, dilation: int) -> None:
        super().__init__()
        self.causal = sizes.causal
        width = sizes.width
        self.first = Convolution(width, width, kernel, dilation=dilation, causal=sizes.causal)
        self.second = Convolution(width, width, kernel, dilation=dilation, causal=sizes.causal)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, x_BLD: Tensor, lengths: Tensor) -> Tensor:
        """Padding is made zero before each convolution that could see it."""
        length = x_BLD.shape[1]
        clean = self.causal or not has_padding(lengths, length)
        real_BL1 = None if clean else real_positions(lengths, length)[..., None].to(x_BLD.dtype)
        h_BLD = self.first(x_BLD if real_BL1 is None else x_BLD * real_BL1)
        h_BLD = self.dropout(h_BLD.relu())
        y_BLD: Tensor = self.second(h_BLD if real_BL1 is None else h_BLD * real_BL1)
        return y_BLD

    def step(self, x_BD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position; the state is the past inputs of both convolutions."""
        first, second = (None, None) if state is None else cast("tuple[Tensor, Tensor]", state)
        h_BD, first = self.first.step(x_BD, first)
        y_BD, second = self.second.step(self.dropout(h_BD.relu()), second)
        return y_BD, (first, second)

    def chunk(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next positions; the state is that of `step`."""
        first, second = (None, None) if state is None else cast("tuple[Tensor, Tensor]", state)
        h_BLD, first = self.first.chunk(x_BLD, first)
        y_BLD, second = self.second.chunk(self.dropout(h_BLD.relu()), second)
        return y_BLD, (first, second)

    def reach(self, length: int) -> int | None:
        """Both convolutions look back (kernel - 1) * dilation."""
        return 1 + self.first.past + self.second.past

    def state_bytes(self, length: int) -> int:
        """Past inputs of both convolutions; zeros stand in before the start."""
        width = self.first.weight.shape[1]
        return FLOAT_BYTES * width * (self.first.past + self.second.past)

    def flops(self, length: int) -> int:
        """Both convolutions."""
        return self.first.flops(length) + self.second.flops(length)


def build_body(sizes: Sizes, settings: TcnSettings) -> Stack:
    """The body of the family.

    Raises:
        UsageError: E-OPTION for an even kernel in the whole-sequence form.
    """
    if not sizes.causal and settings.kernel % 2 == 0:
        raise UsageError(
            "E-OPTION",
            f"A whole-sequence tcn centres its windows: kernel {settings.kernel} has no centre.",
            f"kernel={settings.kernel + 1} or causal=True",
        )
    return Stack(
        sizes, [DilatedPair(sizes, settings.kernel, 2**block) for block in range(settings.depth)]
    )
