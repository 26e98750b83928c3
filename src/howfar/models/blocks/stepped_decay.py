"""A decay that the token decides: one number a head, exp(-A d_t) with a step d_t > 0.

Idea     d_t = softplus(x_t + b), log decay = -A d_t, A > 0 kept as its logarithm
Shapes   (B, L, H) -> steps and log decays, (B, H, L) each
State    none
Source   Gu & Dao 2023, https://arxiv.org/abs/2312.00752, section 3.6: b is drawn so that the step
         of x = 0 is log-uniform in [0.001, 0.1]; Dao & Gu 2024, https://arxiv.org/abs/2405.21060
         and https://github.com/state-spaces/mamba: A is uniform in [1, 16]
"""

import math

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

SHORTEST, LONGEST = 0.001, 0.1
FASTEST = 16.0


class SteppedDecay(nn.Module):
    """Steps and log decays of `heads` heads; rates are drawn within [slowest, 16]."""

    def __init__(self, heads: int, *, slowest: float = 1.0) -> None:
        super().__init__()
        self.slowest = slowest
        self.log_rate_H = nn.Parameter(torch.empty(heads))
        self.bias_H = nn.Parameter(torch.empty(heads))

    def draw(self, generator: Generator) -> None:
        """Rates uniform; the bias is the inverse softplus of a log-uniform step."""
        with torch.no_grad():
            self.log_rate_H.uniform_(self.slowest, FASTEST, generator=generator).log_()
            self.bias_H.uniform_(math.log(SHORTEST), math.log(LONGEST), generator=generator)
            step_H = self.bias_H.exp()
            self.bias_H.copy_(step_H + torch.log(-torch.expm1(-step_H)))

    def forward(self, x_BLH: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, H) -> steps (B, H, L), log decays (B, H, L) <= 0."""
        step_BHL = F.softplus(x_BLH + self.bias_H).transpose(1, 2)
        return step_BHL, -self.log_rate_H.exp()[:, None] * step_BHL
