"""The short convolution in front of a linear recurrence, with its parameters.

Idea     y_t = c + sum_i w_i * x_{t-k+1+i}, channel by channel
Shapes   (B, L, D) -> (B, L, D)
State    the last k - 1 inputs
Source   Gu & Dao 2023, https://arxiv.org/abs/2312.00752, section 3.4; drawn, as there, from
         the uniform distribution within 1 / sqrt(k)
"""

import torch
from torch import Generator, Tensor, nn

import howfar.models.kernels as kernels
from howfar.models.blocks.base import FLOAT_BYTES


class ShortConvolution(nn.Module):
    """(B, L, D) -> (B, L, D), causal, `taps` positions long."""

    def __init__(self, width: int, taps: int = 4, *, bias: bool = True) -> None:
        super().__init__()
        self.weight_KD = nn.Parameter(torch.empty(taps, width))
        self.bias_D = nn.Parameter(torch.empty(width)) if bias else None

    def draw(self, generator: Generator) -> None:
        """Uniform within 1 / sqrt(taps)."""
        bound = self.weight_KD.shape[0] ** -0.5
        nn.init.uniform_(self.weight_KD, -bound, bound, generator=generator)
        if self.bias_D is not None:
            nn.init.uniform_(self.bias_D, -bound, bound, generator=generator)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """All positions, zeros before the first."""
        return self.chunk(x_BLD, None)[0]

    def chunk(self, x_BLD: Tensor, past_BPD: Tensor | None) -> tuple[Tensor, Tensor]:
        """The next positions from the inputs before them; returns the next `past` too."""
        return kernels.short_convolution(x_BLD, self.weight_KD, self.bias_D, past_BPD)

    def step(self, x_BD: Tensor, past_BPD: Tensor | None) -> tuple[Tensor, Tensor]:
        """One position."""
        y_B1D, past_BPD = self.chunk(x_BD[:, None], past_BPD)
        return y_B1D[:, 0], past_BPD

    def state_bytes(self) -> int:
        """The last taps - 1 inputs."""
        taps, width = self.weight_KD.shape
        return FLOAT_BYTES * (taps - 1) * width

    def flops(self, length: int) -> int:
        """Every weight once a position."""
        taps, width = self.weight_KD.shape
        return kernels.short_convolution_flops(length, width, taps)
