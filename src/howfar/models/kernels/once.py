"""A backward pass that refuses to be differentiated, instead of giving a wrong second derivative.

Idea     torch's own mark raises only where a second pass walks through it: `torch.autograd.grad`
         of a gradient silently leaves that part out. Here the first pass that is asked to keep its
         graph (`create_graph=True`) is refused. Autocast is off inside, as it is on the way there
Source   https://docs.pytorch.org/docs/stable/autograd.html
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

import torch
from torch.autograd.function import once_differentiable as once

from howfar.models.kernels.precision import without_autocast

Backward = Callable[..., Any]


def once_differentiable(backward: Backward) -> Backward:
    """Decorator of a `backward` of torch.autograd.Function.

    Raises:
        RuntimeError: when called, if the graph of the gradient shall be kept.
    """
    inner = cast("Backward", once(backward))

    @wraps(backward)
    def checked(ctx: Any, *grads: Any) -> Any:  # noqa: ANN401 - as torch has it
        if torch.is_grad_enabled():
            message = (
                "This kernel can be differentiated once, not twice: no create_graph=True."
                " Its slow twin (NAME_slow in howfar.models.kernels) can."
            )
            raise RuntimeError(message)
        with without_autocast(next(grad for grad in grads if grad is not None)):
            return inner(ctx, *grads)

    return checked
