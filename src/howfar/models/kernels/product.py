"""x W' + b for many positions, by the faster of the two libraries that torch carries for it.

Idea     torch's own product of float32 goes to MKL, which takes a slow path on processors that are
         not Intel's; oneDNN, which torch carries too, takes the fast one. It is asked through the
         operations torch's compiler and its mkldnn tensors use; where those are missing, or do not
         answer as they should, F.linear runs. So it does under autocast, for other dtypes and
         devices, and where a torch function mode watches, which shall see a call it knows
Shapes   x (..., E), W (D, E), b (D,) -> (..., D)
Pieces   oneDNN writes a program for each new shape, and keeps a thousand of them: 0.3 ms and half a
         megabyte each. So rows go in powers of two, the last few by torch
Gain     4,000 positions, one thread of an AMD EPYC, thousand million operations a second: 128 to
         384 107 -> 204; 512 to 128 103 -> 217
Source   https://github.com/uxlfoundation/oneDNN
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import has_torch_function

from howfar.models.kernels.choice import as_graph
from howfar.models.kernels.precision import without_autocast

ENOUGH = 2**20  # multiply-adds below which asking costs more than it saves
LARGEST = 2**13  # positions at once


def linear(x: Tensor, weight_DE: Tensor, bias_D: Tensor | None = None) -> Tensor:
    """F.linear, sooner where that is the faster one; differentiable as often."""
    parts = (x, weight_DE) if bias_D is None else (x, weight_DE, bias_D)
    # in this order: in a graph no size may be compared
    if not pays(*parts) or x.numel() * len(weight_DE) < ENOUGH:
        return F.linear(x, weight_DE, bias_D)
    if torch.is_grad_enabled() and any(part.requires_grad for part in parts):
        return cast(Tensor, Linear.apply(x, weight_DE, bias_D))  # type: ignore[no-untyped-call]
    return _product(x, weight_DE, bias_D)


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
            return bool(right and (outer(torch.full((8, 16), 0.5), x) == 4).all())
    except (RuntimeError, AttributeError, TypeError):
        return False


def product(x_RE: Tensor, weight_DE: Tensor, bias_D: Tensor | None = None) -> Tensor:
    """(R, D): x W' + b by oneDNN, whatever the shape; without a gradient."""
    ask = torch.ops.mkldnn._linear_pointwise
    # of tensors that do not lie in order it can take seconds
    return cast(Tensor, ask(x_RE.contiguous(), weight_DE.contiguous(), bias_D, "none", [], ""))


def outer(dy_RD: Tensor, x_RE: Tensor) -> Tensor:
    """(D, E): the sum over rows of dy x', by oneDNN."""
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
        return _product(x, weight_DE, bias_D)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Gradients of x, the weight and the bias, those that are needed."""
        x, weight_DE = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        plain = torch.is_grad_enabled()
        dx = dweight = dbias = None
        with without_autocast(dy):
            if needs_x:
                dx = dy @ weight_DE if plain else _product(dy, weight_DE.t(), None)
            dy_RD, x_RE = dy.flatten(0, -2), x.flatten(0, -2)
            if needs_weight:
                dweight = dy_RD.t() @ x_RE if plain else _outer(dy_RD, x_RE)
            if needs_bias:
                dbias = dy_RD.sum(0)
        return dx, dweight, dbias


def _product(x: Tensor, weight_DE: Tensor, bias_D: Tensor | None) -> Tensor:
    """Piece by piece, the last positions by torch."""
    x_RE, weight_DE = x.reshape(-1, x.shape[-1]), weight_DE.contiguous()
    *pieces, rest = _pieces(len(x_RE), weight_DE.numel())
    found = [product(x_RE[piece], weight_DE, bias_D) for piece in pieces]
    if rest.start < rest.stop:
        found.append(F.linear(x_RE[rest], weight_DE, bias_D))
    y_RD = found[0] if len(found) == 1 else torch.cat(found)
    return y_RD.view(*x.shape[:-1], len(weight_DE))


def _outer(dy_RD: Tensor, x_RE: Tensor) -> Tensor:
    """Piece by piece, the last positions by torch."""
    *pieces, rest = _pieces(len(x_RE), dy_RD.shape[1] * x_RE.shape[1])
    sum_DE = dy_RD[rest].t() @ x_RE[rest]
    for piece in pieces:
        sum_DE += outer(dy_RD[piece], x_RE[piece])
    return sum_DE


def _pieces(rows: int, weights: int) -> Iterator[slice]:
    """Powers of two, the largest first; then the rest, which may be empty."""
    start, size = 0, LARGEST
    while size * weights >= ENOUGH:
        while start + size <= rows:
            yield slice(start, start + size)
            start += size
        size //= 2
    yield slice(start, rows)
