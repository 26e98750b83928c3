"""nn.Linear, by the faster product: the same parameters, names and answers up to rounding."""

from torch import Tensor, nn

from howfar.models import kernels


class Linear(nn.Linear):
    """x W' + b: (..., E) -> (..., D)."""

    def forward(self, x: Tensor) -> Tensor:
        """All positions."""
        return kernels.linear(x, self.weight, self.bias)
