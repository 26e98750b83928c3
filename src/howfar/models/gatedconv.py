"""Gated convolutions: short windows stacked deep, each answer let through by its own gate.

Idea     v_t, g_t = W x_{t-k+1..t} + b, one convolution with 2 D outputs; y_t = v_t * sigmoid(g_t).
         Causal: windows end at t. Whole: windows are centred, k is odd, padding counts as zeros
Shapes   (B, L, D) -> (B, L, D), in the shared residual stack
Reach    1 + depth (kernel - 1) tokens, exactly; the whole-sequence form spans as many, half on
         each side
State    kernel - 1 past vectors a block
Source   Gehring et al. 2017, https://arxiv.org/abs/1705.03122, section 3.2; weights, as in its
         section 3.5, of variance 4 / fan-in, since the gate leaves a quarter of it; kernel 3.
         Dauphin et al. 2017, https://arxiv.org/abs/1612.08083, section 2 (the gate). The norm
         before each block takes the place of weight normalisation and of the factor sqrt(0.5)
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

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


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedConvSettings:
    """depth: blocks; kernel: taps of each."""

    depth: int = 8
    kernel: int = 3

    def __post_init__(self) -> None:
        positive(depth=self.depth, kernel=self.kernel)


class Doubled(Convolution):
    """D -> 2 D, drawn for the gate behind it."""

    def draw(self, generator: Generator) -> None:
        """Variance 4 / fan-in, zero bias."""
        super().draw(generator)
        with torch.no_grad():
            self.weight.mul_(2)


class GatedConvolution(nn.Module):
    """(B, L, D) -> (B, L, D)."""

    def __init__(self, sizes: Sizes, kernel: int) -> None:
        super().__init__()
        self.causal = sizes.causal
        self.width = sizes.width
        self.convolution = Doubled(sizes.width, 2 * sizes.width, kernel, causal=sizes.causal)

    def forward(self, x_BLD: Tensor, lengths: Tensor) -> Tensor:
        """Padding is made zero where a window could see it."""
        length = x_BLD.shape[1]
        if not self.causal and has_padding(lengths, length):
            x_BLD = x_BLD * real_positions(lengths, length)[..., None]
        return F.glu(self.convolution(x_BLD), dim=-1)

    def step(self, x_BD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position; the state is the past inputs (B, kernel - 1, D)."""
        assert state is None or isinstance(state, Tensor)
        both_BD, state = self.convolution.step(x_BD, state)
        return F.glu(both_BD, dim=-1), state

    def chunk(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next positions; the state is that of `step`."""
        assert state is None or isinstance(state, Tensor)
        both_BLD, state = self.convolution.chunk(x_BLD, state)
        return F.glu(both_BLD, dim=-1), state

    def reach(self, length: int) -> int | None:
        """One window."""
        return 1 + self.convolution.past

    def state_bytes(self, length: int) -> int:
        """Past inputs; zeros stand in before the start."""
        return FLOAT_BYTES * self.convolution.past * self.width

    def flops(self, length: int) -> int:
        """The convolution."""
        return self.convolution.flops(length)


def build_body(sizes: Sizes, settings: GatedConvSettings) -> Stack:
    """The body of the family.

    Raises:
        UsageError: E-OPTION for an even kernel in the whole-sequence form.
    """
    if not sizes.causal and settings.kernel % 2 == 0:
        raise UsageError(
            "E-OPTION",
            "A whole-sequence gatedconv centres its windows: kernel"
            f" {settings.kernel} has no centre.",
            f"kernel={settings.kernel + 1} or causal=True",
        )
    return Stack(sizes, [GatedConvolution(sizes, settings.kernel) for _ in range(settings.depth)])
