"""Griffin's recurrent block: a short convolution, a gated decay of every channel, and a gate on it.

Idea     x' = conv(W x_t + b), r_t = sigmoid(U x' + c), i_t = sigmoid(V x' + e),
         log a_t = -8 softplus(l) r_t, h_t = a_t h_{t-1} + sqrt(1 - a_t^2) i_t x',
         y_t = O (h_t * gelu(G x_t)).
         The whole-sequence form runs the same way and averages over real positions
Shapes   (B, L, D) -> (B, L, D) in the shared residual stack; inside R channels, D rounded up to a
         multiple of `blocks`; U and V are block-diagonal with as many blocks
Reach    unbounded: the state may keep anything
State    h and the last 3 inputs of the convolution: 4 R floats a layer, whatever the length
Source   De et al. 2024 (Griffin), https://arxiv.org/abs/2402.19427, section 2.4: convolution of 4;
         exp(-8 softplus(l)) starts uniform in 0.9 .. 0.999, U and V normal of variance 1 / fan-in;
         GELU in its tanh form, as in RecurrentGemma. The paper has R = 4 D / 3 and follows the
         block by a gated feed-forward, and RecurrentGemma begins with h_1 = i_1 x'_1; here R = D,
         no feed-forward, and h_0 = 0
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

SHARPNESS = 8.0  # c of the paper
SLOWEST, FASTEST = 0.999, 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class RgLruSettings:
    """depth: layers; blocks: of the gates' matrices (1: dense)."""

    depth: int = 2
    blocks: int = 1

    def __post_init__(self) -> None:
        positive(depth=self.depth, blocks=self.blocks)


class GatedDecay(nn.Module):
    """The RG-LRU: (B, L, R) -> (B, L, R), a real decay that the input decides."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        size = width // blocks
        self.limit_R = nn.Parameter(torch.empty(width))
        # from the channels of a block to its recurrence gates, then its input gates
        self.gate_GSX = nn.Parameter(torch.empty(blocks, size, 2 * size))
        self.bias_GX = nn.Parameter(torch.empty(blocks, 2 * size))

    def draw(self, generator: Generator) -> None:
        """The slowest decay uniform between its bounds, gates of variance 1 / fan-in, bias 0."""
        with torch.no_grad():
            kept_R = nn.init.uniform_(self.limit_R, FASTEST, SLOWEST, generator=generator)
            # softplus(limit) = -log(kept) / 8
            self.limit_R.copy_(torch.log(torch.expm1(kept_R.log() / -SHARPNESS)))
        nn.init.normal_(self.gate_GSX, std=self.gate_GSX.shape[1] ** -0.5, generator=generator)
        nn.init.zeros_(self.bias_GX)

    def forward(self, x_BLR: Tensor, h0_BR: Tensor | None) -> Tensor:
        """All states, (B, L, R), from h0 (B, R), or from zero."""
        recur_BLR, input_BLR = self._gates(x_BLR)
        log_a_BLR = -SHARPNESS * F.softplus(self.limit_R) * recur_BLR
        # 1 - a^2 without the loss of digits near 1; a root has no slope at 0
        left_BLR = torch.expm1(2 * log_a_BLR).neg().clamp(min=torch.finfo(x_BLR.dtype).tiny)
        return kernels.linear_recurrence(
            log_a_BLR.exp(), left_BLR.sqrt() * (input_BLR * x_BLR), h0_BR
        )

    def _gates(self, x_BLR: Tensor) -> tuple[Tensor, Tensor]:
        """Recurrence and input gates."""
        blocks, size, _ = self.gate_GSX.shape
        x_GMS = x_BLR.reshape(-1, blocks, size).transpose(0, 1)
        gates_GMX = torch.baddbmm(self.bias_GX[:, None], x_GMS, self.gate_GSX).sigmoid()
        recur, into = gates_GMX.transpose(0, 1).chunk(2, dim=-1)
        return recur.reshape(x_BLR.shape), into.reshape(x_BLR.shape)


class RecurrentBlock(nn.Module):
    """One layer: (B, L, D) -> (B, L, D)."""

    causal = True

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.inner = blocks * math.ceil(width / blocks)
        self.into = Linear(width, 2 * self.inner)
        self.convolution = ShortConvolution(self.inner)
        self.decay = GatedDecay(self.inner, blocks)
        self.out = Linear(self.inner, width)

    def forward(self, x_BLD: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D); `lengths` is not needed: padding is in the future."""
        return self.chunk(x_BLD, None)[0]

    def chunk(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next positions; the state is (past inputs of the convolution, h)."""
        past, h_BR = (None, None) if state is None else cast("tuple[Tensor, Tensor]", state)
        gate_BLR, x_BLR = self.into(x_BLD).chunk(2, dim=-1)
        x_BLR, past = self.convolution.chunk(x_BLR, past)
        h_BLR = self.decay(x_BLR, h_BR)
        y_BLD: Tensor = self.out(h_BLR * F.gelu(gate_BLR, approximate="tanh"))
        return y_BLD, (past, h_BLR[:, -1].clone())

    def step(self, x_BD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position."""
        y_B1D, state = self.chunk(x_BD[:, None], state)
        return y_B1D[:, 0], state

    def reach(self, length: int) -> int | None:
        """Unbounded: the state may keep anything."""
        return None

    def state_bytes(self, length: int) -> int:
        """Past inputs of the convolution, and h."""
        return self.convolution.state_bytes() + FLOAT_BYTES * self.inner

    def flops(self, length: int) -> int:
        """Linear maps, gates, convolution and recurrence."""
        weights = self.into.weight.numel() + self.out.weight.numel() + self.decay.gate_GSX.numel()
        scan = kernels.linear_recurrence_flops(length, self.inner)
        return 2 * weights * length + self.convolution.flops(length) + scan


def build_body(sizes: Sizes, settings: RgLruSettings) -> Stack:
    """The body of the family."""
    mixers = [RecurrentBlock(sizes.width, settings.blocks) for _ in range(settings.depth)]
    return Stack(sizes, mixers)
