"""Hyena: a filter as long as the text, written by a small network, between two gates.

Idea     x1, x2, v = s * W x, with s a window of 3 in each channel; y = W' (x1 * (h * (x2 * v))).
         The filter h at lag d is m(d) (exp(-a d / horizon) + shift), and b more at lag 0: m is a
         network with sines between its layers on d / horizon and its first waves, a from channel
         to channel larger. h does not know the length of the text: a longer one only adds lags
Shapes   (B, L, D) -> (B, L, D), in the shared residual stack with feed-forward; the
         whole-sequence form runs the same way, first token to last, and is averaged
Reach    unbounded: the window ends at `shift`, not at zero
State    all x2 * v so far, D floats a token, and the last 2 inputs of the short windows
Source   Poli et al. 2023, https://arxiv.org/abs/2302.10866, sections 3.1 to 3.3, order 2, and
         its authors' code, https://github.com/HazyResearch/safari: three hidden layers of 64, all
         of the filter drawn within 1 / sqrt(fan-in), frequencies learned, windows that fall to 1 %
         between 0.3 and 1.5 horizons, b normal. Ours: 2 waves, frequencies from 5 (from 10 the
         filter begins as noise and learned recall later in a short trial), shift 0.05. Theirs has
         the longest text in the place of the horizon
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

import howfar.models.kernels as kernels
from howfar.core.errors import UsageError, shown
from howfar.core.protocols import State
from howfar.models.blocks import FLOAT_BYTES, Linear, ShortConvolution, Sizes, Stack, positive

TAPS = 3  # of the short windows
WAVES = 2  # cosines and sines the network reads
HIDDEN = 64  # width of the network
INNER = 2  # maps between its first and its last
FREQUENCY = 5.0
SLOW, FAST = math.log(100) / 1.5, math.log(100) / 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class HyenaSettings:
    """depth: blocks; horizon: tokens over which filters fade; shift: what is left of them then."""

    depth: int = 2
    horizon: int = 1024
    shift: float = 0.05

    def __post_init__(self) -> None:
        positive(depth=self.depth, horizon=self.horizon)
        given: object = self.shift  # a record may hold anything
        if not isinstance(given, float) or not 0 < given < math.inf:
            raise UsageError(
                "E-OPTION",
                f"shift must be a number above 0, not {shown(self.shift)}.",
                "shift=0.05",
            )


class Uniform(Linear):
    """A linear map drawn, with its bias, within 1 / sqrt(fan-in)."""

    def draw(self, generator: Generator) -> None:
        """Weights, then bias."""
        for parameter in self.parameters():
            bound = self.in_features**-0.5
            nn.init.uniform_(parameter, -bound, bound, generator=generator)


class ImplicitFilter(nn.Module):
    """length -> (length, D): the filter at lags 0 .. length - 1."""

    def __init__(self, width: int, settings: HyenaSettings) -> None:
        super().__init__()
        self.horizon = settings.horizon
        self.shift = settings.shift
        sizes = [1 + 2 * WAVES, *[HIDDEN] * (INNER + 1)]
        self.layers = nn.ModuleList(Uniform(a, b) for a, b in pairwise(sizes))
        self.last = Uniform(HIDDEN, width, bias=False)
        self.frequency_M = nn.Parameter(torch.empty(HIDDEN))
        self.bias_D = nn.Parameter(torch.empty(width))

    def draw(self, generator: Generator) -> None:
        """All frequencies alike, the bias normal."""
        nn.init.constant_(self.frequency_M, FREQUENCY)
        nn.init.normal_(self.bias_D, generator=generator)

    def forward(self, length: int) -> Tensor:
        """(length, D); no autocast, as its angles are large."""
        dtype, device = self.bias_D.dtype, self.bias_D.device
        wide = torch.promote_types(dtype, torch.float32)
        with kernels.without_autocast(self.bias_D):
            lag_L1 = torch.arange(length, device=device)[:, None]
            turns_W = torch.arange(1, WAVES + 1, device=device)
            # whole turns are taken away before rounding can see them
            angle_LW = (lag_L1 * turns_W % self.horizon).to(wide) * (2 * math.pi / self.horizon)
            share_L1 = lag_L1.to(wide) / self.horizon
            m_LM = torch.cat([share_L1, angle_LW.cos(), angle_LW.sin()], dim=1).to(dtype)
            for layer in self.layers:
                m_LM = torch.sin(self.frequency_M * layer(m_LM))
            rate_D = torch.linspace(SLOW, FAST, len(self.bias_D), dtype=wide, device=device)
            window_LD = torch.exp(-share_L1 * rate_D) + self.shift
            h_LD: Tensor = self.last(m_LM) * window_LD.to(dtype)
            return h_LD + F.pad(self.bias_D[None], (0, 0, 0, length - 1))

    def flops(self, length: int) -> int:
        """Every weight of the network once a lag."""
        maps = [*self.layers, self.last]
        return 2 * length * sum(cast("Tensor", layer.weight).numel() for layer in maps)


class Hyena(nn.Module):
    """(B, L, D) -> (B, L, D)."""

    causal = True

    def __init__(self, width: int, settings: HyenaSettings) -> None:
        super().__init__()
        self.width = width
        self.into = Linear(width, 3 * width)
        self.short = ShortConvolution(3 * width, TAPS)
        self.filter = ImplicitFilter(width, settings)
        self.out = Linear(width, width)

    def forward(self, x_BLD: Tensor, lengths: Tensor) -> Tensor:
        """Padding stands on the right: `lengths` is not needed."""
        return self.chunk(x_BLD, None)[0]

    def step(self, x_BD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position: the filter, turned round, over all products so far."""
        gate_B1D, past_BPD, products_BLD = self._read(x_BD[:, None], state)
        filter_LD = self.filter(products_BLD.shape[1])
        y_BD = (products_BLD * filter_LD.flip(0)).sum(1)
        return self.out(gate_B1D[:, 0] * y_BD), (past_BPD, products_BLD)

    def chunk(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next positions; the state is (last inputs (B, 2, 3 D), products (B, L, D))."""
        gate_BLD, past_BPD, products_BLD = self._read(x_BLD, state)
        whole = products_BLD.shape[1]
        y_BLD = kernels.long_convolution(products_BLD, self.filter(whole))
        y_BLD = y_BLD[:, whole - x_BLD.shape[1] :]
        return self.out(gate_BLD * y_BLD), (past_BPD, products_BLD)

    def _read(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, Tensor, Tensor]:
        """x1 of these positions, the next past of the short windows, x2 * v of all so far."""
        past, before = (None, None) if state is None else cast("tuple[Tensor, Tensor]", state)
        x_BLT, past = self.short.chunk(self.into(x_BLD), past)
        gate_BLD, other_BLD, value_BLD = x_BLT.chunk(3, dim=-1)
        products_BLD = other_BLD * value_BLD
        if before is not None:
            products_BLD = torch.cat([before, products_BLD], dim=1)
        return gate_BLD, past, products_BLD

    def reach(self, length: int) -> int | None:
        """Unbounded: no lag has a filter of zero."""
        return None

    def state_bytes(self, length: int) -> int:
        """One product a token and channel, and the short windows."""
        return FLOAT_BYTES * self.width * length + self.short.state_bytes()

    def flops(self, length: int) -> int:
        """Both maps, the short windows, the network of the filter (once a batch), the filter."""
        maps = 2 * (self.into.weight.numel() + self.out.weight.numel()) * length
        convolutions = self.short.flops(length) + kernels.long_convolution_flops(length, self.width)
        return maps + convolutions + self.filter.flops(length)


def build_body(sizes: Sizes, settings: HyenaSettings) -> Stack:
    """The body of the family."""
    mixers = [Hyena(sizes.width, settings) for _ in range(settings.depth)]
    return Stack(sizes, mixers, feed_forward=True)
