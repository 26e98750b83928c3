"""One convolution along the sequence, at once or position by position.

Idea     causal: y_t = b + sum_i W_i x_{t - (kernel-1-i) * dilation}, zeros before the start;
         else the window is centred and the kernel odd
Shapes   (B, L, inputs) -> (B, L, outputs)
State    past = (kernel - 1) * dilation inputs
Source   Bai, Kolter & Koltun 2018, https://arxiv.org/abs/1803.01271, section 3
"""

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F


class Convolution(nn.Module):
    """(B, L, inputs) -> (B, L, outputs); `past`: positions a window spans, less one."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, dilation: int = 1, causal: bool = True
    ) -> None:
        super().__init__()
        self.past = (kernel - 1) * dilation
        self.dilation = dilation
        self.causal = causal
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel))
        self.bias = nn.Parameter(torch.empty(outputs))

    def draw(self, generator: Generator) -> None:
        """Variance 1 / fan-in, zero bias."""
        nn.init.kaiming_normal_(self.weight, nonlinearity="linear", generator=generator)
        nn.init.zeros_(self.bias)

    def forward(self, x_BLD: Tensor, spread: int = 1) -> Tensor:
        """(B, L, inputs) -> (B, L, outputs); spread: taps so many times as far apart."""
        past = self.past * spread
        if self.causal and past:
            return self._windows(F.pad(x_BLD, (0, 0, past, 0)), side=0, spread=spread)
        return self._windows(x_BLD, side=past // 2, spread=spread)

    def _windows(self, x_BLD: Tensor, *, side: int, spread: int = 1) -> Tensor:
        """The answers of all windows inside (B, L + 2 side, inputs), zeros on the sides."""
        # (B, L, D) read as an image of height 1 is "channels last": no copy on the way in or
        # out, and up to twice as fast as conv1d on one thread
        image_BD1L = x_BLD.transpose(1, 2).unsqueeze(2)
        y_BD1L = F.conv2d(
            image_BD1L,
            self.weight.unsqueeze(2),
            self.bias,
            padding=(0, side),
            dilation=(1, self.dilation * spread),
        )
        return y_BD1L.squeeze(2).transpose(1, 2)

    def chunk(self, x_BLD: Tensor, past_BPD: Tensor | None) -> tuple[Tensor, Tensor]:
        """The next positions from the `past` inputs before them; returns the next `past` too."""
        if past_BPD is None:
            past_BPD = x_BLD.new_zeros(x_BLD.shape[0], self.past, x_BLD.shape[2])
        window_BLD = torch.cat([past_BPD, x_BLD], dim=1)
        # a copy: a view would keep the whole window in memory
        after_BPD = window_BLD[:, x_BLD.shape[1] :].clone()
        return self._windows(window_BLD, side=0), after_BPD

    def step(self, x_BD: Tensor, past_BPD: Tensor | None) -> tuple[Tensor, Tensor]:
        """One position from the `past` inputs before it; returns the next `past` inputs too."""
        if past_BPD is None:
            past_BPD = x_BD.new_zeros(x_BD.shape[0], self.past, x_BD.shape[1])
        window_BPD = torch.cat([past_BPD, x_BD[:, None]], dim=1)
        taps_BDK = window_BPD[:, :: self.dilation].transpose(1, 2)
        y_BD = F.linear(taps_BDK.flatten(1), self.weight.flatten(1), self.bias)
        return y_BD, window_BPD[:, 1:]

    def flops(self, length: int) -> int:
        """Every weight once a position."""
        return 2 * self.weight.numel() * length
