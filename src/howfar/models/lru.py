"""Linear recurrent unit: complex states in a ring near the unit circle, read by a dense map.

Idea     h_t = l h_{t-1} + g (B x_t), y_t = Re(C h_t) + D x_t, with l = exp(-exp(v) + i exp(p)), so
         that |l| < 1 always, and a learned scale g that starts at sqrt(1 - |l|^2).
         Then GELU and a gated linear map: GLU(W gelu(y)).
         The whole-sequence form runs the same way and averages over real positions
Shapes   (B, L, D) -> (B, L, D) in the shared residual stack; B (D, D) and C (D, D) complex
Reach    unbounded: the state may keep anything
State    D complex numbers a layer, whatever the length
Source   Orvieto et al. 2023, https://arxiv.org/abs/2303.06349: l (section 3.3), g (section
         3.4), the code (appendix A), the block (figure 1; GELU in front of its gate as in S4D);
         l starts uniform in area between the radii 0.9 and 0.999 with any phase up to 2 pi
         (lemma 3.2), B and C normal of variance 1 / (2 D) and 1 / D a part, D normal
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

import howfar.models.kernels as kernels
from howfar.core.errors import UsageError, shown
from howfar.core.protocols import State
from howfar.models.blocks import FLOAT_BYTES, Linear, Sizes, Stack, positive

COMPLEX_PRODUCT = 4  # real ones


@dataclass(frozen=True, slots=True, kw_only=True)
class LruSettings:
    """depth: layers; r_min, r_max: |l| at the start, 0 <= r_min < r_max < 1."""

    depth: int = 2
    r_min: float = 0.9
    r_max: float = 0.999

    def __post_init__(self) -> None:
        positive(depth=self.depth)
        if not 0 <= self.r_min < self.r_max < 1:
            raise UsageError(
                "E-OPTION",
                "r_min and r_max must keep 0 <= r_min < r_max < 1,"
                f" not {shown(self.r_min)} and {shown(self.r_max)}.",
                "r_min=0.9 and r_max=0.999",
            )


class LinearRecurrentUnit(nn.Module):
    """One layer: (B, L, D) -> (B, L, D), as many states N as channels."""

    causal = True

    def __init__(self, width: int, settings: LruSettings) -> None:
        super().__init__()
        self.radii = settings.r_min, settings.r_max
        self.log_decay_N = nn.Parameter(torch.empty(width))
        self.log_phase_N = nn.Parameter(torch.empty(width))
        self.log_scale_N = nn.Parameter(torch.empty(width))
        self.into_N2D = nn.Parameter(torch.empty(width, 2, width))
        self.out_DN2 = nn.Parameter(torch.empty(width, width, 2))  # Re C and -Im C
        self.skip_D = nn.Parameter(torch.empty(width))
        self.mix = Linear(width, 2 * width)

    def draw(self, generator: Generator) -> None:
        """Eigenvalues uniform in a ring, everything else normal."""
        width, (low, high) = self.skip_D.numel(), self.radii
        # never 0, whose logarithm is not finite
        square_N = nn.init.uniform_(self.log_decay_N.detach(), generator=generator)
        square_N.mul_(high**2 - low**2).add_(low**2).clamp_(min=torch.finfo(torch.float32).tiny)
        nn.init.uniform_(self.log_phase_N, generator=generator)
        with torch.no_grad():
            # 1 - |l|^2 = -expm1(log |l|^2), without the loss of digits near 1
            self.log_scale_N.copy_(0.5 * torch.log(-torch.expm1(square_N.log())))
            self.log_decay_N.copy_(torch.log(-0.5 * square_N.log()))
            self.log_phase_N.clamp_(min=torch.finfo(torch.float32).eps).mul_(2 * math.pi).log_()
        nn.init.normal_(self.into_N2D, std=(2 * width) ** -0.5, generator=generator)
        nn.init.normal_(self.out_DN2, std=width**-0.5, generator=generator)
        nn.init.normal_(self.skip_D, generator=generator)

    def eigenvalues(self) -> Tensor:
        """(N,), complex."""
        # a phase needs float32 at least
        exact = torch.promote_types(self.log_decay_N.dtype, torch.float32)
        decay_N, phase_N = self.log_decay_N.to(exact).exp(), self.log_phase_N.to(exact).exp()
        return torch.polar(torch.exp(-decay_N), phase_N)

    def forward(self, x_BLD: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D); `lengths` is not needed: padding is in the future."""
        return self.chunk(x_BLD, None)[0]

    def chunk(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next positions; the state is that of `step`."""
        if kernels.as_graph() and state is None:
            return self._in_graph(x_BLD)
        h0_BN = None if state is None else cast("tuple[Tensor]", state)[0]
        h_BLN = kernels.linear_recurrence(self.eigenvalues(), self._into(x_BLD), h0_BN)
        return self._read(x_BLD, h_BLN), (h_BLN[:, -1].clone(),)

    def step(self, x_BD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position; the state is h, (B, N) complex."""
        h_BN = self._into(x_BD)
        if state is not None:
            h_BN = h_BN + self.eigenvalues() * cast("tuple[Tensor]", state)[0]
        return self._read(x_BD, h_BN), (h_BN,)

    def _in_graph(self, x_BLD: Tensor) -> tuple[Tensor, State]:
        """In pairs of real numbers, as graphs know no complex ones."""
        phase_N, kept_N = self.log_phase_N.exp(), torch.exp(-self.log_decay_N.exp())
        turn_N2 = torch.stack([phase_N.cos(), phase_N.sin()], dim=-1)
        h_BLN2 = kernels.graph.complex_recurrence(kept_N[:, None] * turn_N2, self._pairs(x_BLD))
        return self._mixed(x_BLD, h_BLN2), ()

    def _pairs(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., N, 2): the parts of g B x."""
        weight_N2D = self.log_scale_N.exp()[:, None, None] * self.into_N2D
        return F.linear(x, weight_N2D.flatten(0, 1)).view(*x.shape[:-1], -1, 2)

    def _into(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., N) complex: g B x."""
        wide = torch.promote_types(x.dtype, torch.float32)
        return torch.view_as_complex(self._pairs(x).to(wide))

    def _read(self, x: Tensor, h: Tensor) -> Tensor:
        return self._mixed(x, torch.view_as_real(h).to(x.dtype))

    def _mixed(self, x: Tensor, h_pairs: Tensor) -> Tensor:
        y = F.linear(h_pairs.flatten(-2), self.out_DN2.flatten(1))
        return F.glu(self.mix(F.gelu(torch.addcmul(y, x, self.skip_D))))

    def reach(self, length: int) -> int | None:
        """Unbounded: the state may keep anything."""
        return None

    def state_bytes(self, length: int) -> int:
        """One complex number a state."""
        return 2 * FLOAT_BYTES * self.log_decay_N.numel()

    def flops(self, length: int) -> int:
        """The linear maps and the recurrence."""
        weights = self.into_N2D.numel() + self.out_DN2.numel() + self.mix.weight.numel()
        scan = kernels.linear_recurrence_flops(length, self.log_decay_N.numel())
        return 2 * weights * length + COMPLEX_PRODUCT * scan


def build_body(sizes: Sizes, settings: LruSettings) -> Stack:
    """The body of the family."""
    return Stack(sizes, [LinearRecurrentUnit(sizes.width, settings) for _ in range(settings.depth)])
