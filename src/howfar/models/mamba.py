"""Mamba: a state space whose step, input and output are chosen by every token.

Idea     x, z = W u_t, x = silu(conv(x)), (s, B, C) = V x, d = softplus(U s + c),
         h_t = exp(d A) h_{t-1} + d B x, y_t = C . h_t + D x, out = O (y_t * silu(z)).
         The whole-sequence form runs the same way and averages over real positions
Shapes   (B, L, D) -> (B, L, D) in the shared residual stack; inside E = expand * D channels with
         N = `state` numbers each; s has ceil(D / 16) numbers, B and C (N,) serve all channels
Reach    unbounded: the state may keep anything
State    N + 3 floats a channel of E and layer, whatever the length
Source   Gu & Dao 2023, https://arxiv.org/abs/2312.00752, section 3, algorithm 2 and figure 3: E =
         2 D, N = 16, convolution of 4; A = -(1 .. N) (S4D-Real), learned as a factor that starts
         at 1; softplus(c) log-uniform in 0.001 .. 0.1 (section 3.6); D = 1 and U uniform within
         1 / sqrt(fan-in) as in the authors' code
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

import howfar.models.kernels as kernels
from howfar.core.protocols import State
from howfar.models.blocks import FLOAT_BYTES, Linear, ShortConvolution, Sizes, Stack, positive

SLOWEST, FASTEST = 0.001, 0.1
CHANNELS_A_RANK = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class MambaSettings:
    """depth: layers; state: numbers a channel, N; expand: channels inside, E / D."""

    depth: int = 2
    state: int = 16
    expand: int = 2

    def __post_init__(self) -> None:
        positive(depth=self.depth, state=self.state, expand=self.expand)


class StepSize(Linear):
    """softplus of a linear map: (..., rank) -> (..., E) steps above 0."""

    def draw(self, generator: Generator) -> None:
        """Weights uniform within 1 / sqrt(rank), steps of a zero input log-uniform."""
        bound = self.in_features**-0.5
        nn.init.uniform_(self.weight, -bound, bound, generator=generator)
        bounds = math.log(SLOWEST), math.log(FASTEST)
        step_E = nn.init.uniform_(self.bias.detach(), *bounds, generator=generator).exp_()
        step_E.copy_(step_E + torch.log(-torch.expm1(-step_E)))  # what softplus undoes

    def forward(self, input: Tensor) -> Tensor:
        """Steps."""
        return F.softplus(super().forward(input))


class SelectiveStateSpace(nn.Module):
    """One layer: (B, L, D) -> (B, L, D)."""

    causal = True

    def __init__(self, width: int, settings: MambaSettings) -> None:
        super().__init__()
        self.inner, self.states = settings.expand * width, settings.state
        self.rank = math.ceil(width / CHANNELS_A_RANK)
        self.into = Linear(width, 2 * self.inner, bias=False)
        self.convolution = ShortConvolution(self.inner)
        self.select = Linear(self.inner, self.rank + 2 * self.states, bias=False)
        self.step_size = StepSize(self.rank, self.inner)
        self.log_rate_EN = nn.Parameter(torch.empty(self.inner, self.states))  # of A / -(1 .. N)
        self.skip_E = nn.Parameter(torch.empty(self.inner))
        self.out = Linear(self.inner, width, bias=False)

    def draw(self, generator: Generator) -> None:
        """A and D as published; neither is random."""
        nn.init.zeros_(self.log_rate_EN)
        nn.init.ones_(self.skip_E)

    def rate(self) -> Tensor:
        """A, (E, N), below 0."""
        weight = self.log_rate_EN
        return -torch.arange(1, self.states + 1, device=weight.device) * weight.exp()

    def forward(self, x_BLD: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D); `lengths` is not needed: padding is in the future."""
        return self.chunk(x_BLD, None)[0]

    def chunk(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next positions; the state is (past inputs of the convolution, h (B, E, N))."""
        past, h_BEN = (None, None) if state is None else cast("tuple[Tensor, Tensor]", state)
        x_BLE, gate_BLE = self.into(x_BLD).chunk(2, dim=-1)
        x_BLE, past = self.convolution.chunk(x_BLE, past)
        x_BLE = F.silu(x_BLE)
        sizes = [self.rank, self.states, self.states]
        low_BLR, into_BLN, out_BLN = self.select(x_BLE).split(sizes, dim=-1)
        step_BLE = self.step_size(low_BLR)
        y_BLE, h_BEN = kernels.selective_scan(
            x_BLE, step_BLE, self.rate(), into_BLN, out_BLN, h_BEN
        )
        y_BLE = torch.addcmul(y_BLE, x_BLE, self.skip_E) * F.silu(gate_BLE)
        y_BLD: Tensor = self.out(y_BLE)
        return y_BLD, (past, h_BEN)

    def step(self, x_BD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position."""
        y_B1D, state = self.chunk(x_BD[:, None], state)
        return y_B1D[:, 0], state

    def reach(self, length: int) -> int | None:
        """Unbounded: the state may keep anything."""
        return None

    def state_bytes(self, length: int) -> int:
        """Past inputs of the convolution, and h."""
        return self.convolution.state_bytes() + FLOAT_BYTES * self.inner * self.states

    def flops(self, length: int) -> int:
        """Linear maps, convolution and scan."""
        maps = (self.into, self.select, self.step_size, self.out)
        weights = sum(linear.weight.numel() for linear in maps)
        scan = kernels.selective_scan_flops(length, self.inner, self.states)
        return 2 * weights * length + self.convolution.flops(length) + scan


def build_body(sizes: Sizes, settings: MambaSettings) -> Stack:
    """The body of the family."""
    return Stack(sizes, [SelectiveStateSpace(sizes.width, settings) for _ in range(settings.depth)])
