"""x W' + b for many positions, by the faster of the two libraries that torch carries for it.

Idea     torch's own product of float32 goes to MKL, which takes a slow path on processors that are
         not Intel's; oneDNN, which torch carries too, takes the fast one. It is asked through the
         operations torch's compiler and its mkldnn tensors use; where those are missing, or do not
         answer as they should, F.linear runs. So it does under autocast, for other dtypes and
         devices, and where a torch function mode watches, which shall see a call it knows
Shapes   x (..., E), W (D, E), b (D,) -> (..., D)
Gain     4,096 positions, one thread of an AMD EPYC, thousand million operations a second: 128 to
         384 105 -> 240; the gradient of x 105 -> 238, of W 91 -> 138. oneDNN writes a program for
         each new shape, 0.2 to 0.4 ms: so small products stay with torch, and the gradient of W
         goes in pieces of one size
Source   https://github.com/uxlfoundation/oneDNN
"""

from functools import cache
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import has_torch_function

from howfar.models.kernels.choice import as_graph
from howfar.models.kernels.precision import without_autocast

ENOUGH = 2**22  # multiply-adds below which asking costs more than it saves
PIECE = 1024  # positions whose part of the gradient of W is summed at once
ENOUGH_A_PIECE = 2**24


def linear(x: Tensor, weight_DE: Tensor, bias_D: Tensor | None = None) -> Tensor:
    """F.linear, sooner where that is the faster one; differentiable as often."""
    parts = (x, weight_DE) if bias_D is None else (x, weight_DE, bias_D)
    if x.numel() * len(weight_DE) < ENOUGH or not pays(*parts):
        return F.linear(x, weight_DE, bias_D)
    if torch.is_grad_enabled() and any(part.requires_grad for part in parts):
        return cast(Tensor, Linear.apply(x, weight_DE, bias_D))  # type: ignore[no-untyped-call]
    return product(x, weight_DE, bias_D)


def pays(*parts: Tensor) -> bool:
    """Whether oneDNN takes these, and nobody is there who wants calls that torch documents."""
    if as_graph() or torch.compiler.is_compiling() or has_torch_function(parts):
        return False
    fits = all(part.is_cpu and part.dtype == torch.float32 for part in parts)
    return fits and not torch.is_autocast_enabled("cpu") and works()


@cache
def works() -> bool:
    """Whether the operations are there and right."""
    x, weight, bias = torch.ones(8, 4), torch.full((16, 4), 0.5), torch.ones(16)
    try:
        with without_autocast(x), torch.no_grad():
            right = (product(x, weight, bias) == 3).all()
            return bool(right and (_outer(torch.full((8, 16), 0.5), x) == 4).all())
    except (RuntimeError, AttributeError, TypeError):
        return False


def product(x: Tensor, weight_DE: Tensor, bias_D: Tensor | None) -> Tensor:
    """X W' + b by oneDNN, without a gradient."""
    ask = torch.ops.mkldnn._linear_pointwise
    # of tensors that do not lie in order it can take seconds
    return cast(Tensor, ask(x.contiguous(), weight_DE.contiguous(), bias_D, "none", [], ""))


def _outer(dy_RD: Tensor, x_RE: Tensor) -> Tensor:
    """(D, E): the sum over rows of dy x'."""
    shape_DE = torch.empty(dy_RD.shape[1], x_RE.shape[1]).to_mkldnn()
    given = dy_RD.contiguous().to_mkldnn(), x_RE.contiguous().to_mkldnn()
    found: Tensor = torch.ops.aten.mkldnn_linear_backward_weights(*given, shape_DE, False)[0]
    return found.to_dense()


class Linear(torch.autograd.Function):
    """`Linear.apply(x, weight, bias)`: a gradient that keeps its graph is made of torch's own."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - as torch has it
        x: Tensor,
        weight_DE: Tensor,
        bias_D: Tensor | None,
    ) -> Tensor:
        """All positions."""
        ctx.save_for_backward(x, weight_DE)
        return product(x, weight_DE, bias_D)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Gradients of x, the weight and the bias, those that are needed."""
        x, weight_DE = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        plain = torch.is_grad_enabled()
        dx = dweight = dbias = None
        with without_autocast(dy):
            if needs_x:
                dx = dy @ weight_DE if plain else product(dy, weight_DE.t(), None)
            dy_RD, x_RE = dy.flatten(0, -2), x.flatten(0, -2)
            if needs_weight:
                dweight = dy_RD.t() @ x_RE if plain else _summed(dy_RD, x_RE)
            if needs_bias:
                dbias = dy_RD.sum(0)
        return dx, dweight, dbias


def _summed(dy_RD: Tensor, x_RE: Tensor) -> Tensor:
    """(D, E): piece by piece, the last rows by torch."""
    rows, pieces = len(x_RE), len(x_RE) // PIECE
    if pieces == 0 or PIECE * dy_RD.shape[1] * x_RE.shape[1] < ENOUGH_A_PIECE:
        return dy_RD.t() @ x_RE
    done = pieces * PIECE
    parts = zip(torch.split(dy_RD[:done], PIECE), torch.split(x_RE[:done], PIECE), strict=True)
    sum_DE = _outer(*next(parts))
    for part_dy, part_x in parts:
        sum_DE += _outer(part_dy, part_x)
    return sum_DE if done == rows else sum_DE.addmm_(dy_RD[done:].t(), x_RE[done:])
