"""See every attention call of a model while it runs, whatever the model is.

Idea     a torch function mode sees each call of `scaled_dot_product_attention`, of
         `multi_head_attention_forward` (`nn.MultiheadAttention`, and `nn.TransformerEncoderLayer`
         with its fused path off) and of a softmax over T x T numbers; each call runs unchanged, and
         its rows are made again from its arguments. Nothing of the model is replaced, so there is
         nothing to restore, and plain functions can be watched as well as modules
Limits   compiled or scripted models and kernels of their own (flash, flex attention) make no such
         call: choose attn_implementation "sdpa" or "eager", or give the weights
         a softmax of (B, T, C) over C classes is taken for attention where C equals T
         attention whose queries and keys differ in number (another sequence, a cache) is left out
Source   https://docs.pytorch.org/docs/stable/torch.overrides.html, TorchFunctionMode
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from howfar.measure.attention.rows import (
    Attended,
    heads_apart,
    of_dot_product,
    of_heads,
    of_weights,
)

SOFTMAX = (torch.softmax, Tensor.softmax, F.softmax, torch.special.softmax)
PRODUCT = (torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm)

CAST = (Tensor.to, Tensor.type_as, Tensor.float, Tensor.half, Tensor.bfloat16, F.dropout)

Take = Callable[[Attended], None]


class Watch(TorchFunctionMode):
    """Hand every attention call of B sequences of T tokens to `take`, in the order of calls.

    A call is handed on when the next one comes, so that the map behind it has been seen by then.
    left_out: calls that were no attention of one sequence to itself.
    """

    def __init__(self, batch: int, length: int, take: Take, inside: list[str]) -> None:
        super().__init__()
        self.batch, self.length, self.take = batch, length, take
        self.inside = inside
        self.left_out = 0
        self.pending: Attended | None = None
        self.weights: Tensor | None = None

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401 - any function of torch
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run the call as it is; look at it if it belongs to attention."""
        kwargs = kwargs or {}
        plain = getattr(func, "plain", None)
        if plain is not None:  # a fused kernel that says what it is in calls that are known here
            with self:
                return plain(*args, **kwargs)
        result = func(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            found = of_dot_product(self._name, args, kwargs, self.batch)
            self._found(found, result)
        elif func is F.multi_head_attention_forward:
            self._found(of_heads(self._name, args, kwargs, self.batch))
        elif func in SOFTMAX:
            self._softmax(result, args, kwargs)
        elif func in PRODUCT:
            self._product(result, args)
        elif func in CAST and self._is_weights(args):
            self.weights = result
        elif self.pending is not None:
            self._map(func, args, kwargs)
        return result

    def flush(self) -> None:
        """Hand on the last call."""
        if self.pending is not None:
            pending, self.pending, self.weights = self.pending, None, None
            self.take(pending)

    @property
    def _name(self) -> str:
        return self.inside[-1] if self.inside else ""

    def _found(self, found: Attended | None, mixed: Tensor | None = None) -> None:
        self.flush()
        if found is None:
            self.left_out += 1
            return
        if mixed is not None:
            found.mixed = heads_apart(mixed.detach(), self.batch)
        self.pending = found

    def _softmax(self, result: Tensor, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        along = kwargs.get("dim", args[1] if len(args) > 1 else None)
        square = result.ndim > 2 and tuple(result.shape[-2:]) == (self.length, self.length)
        if not square or along not in (-1, result.ndim - 1):
            return
        found = of_weights(self._name, "softmax", result, self.batch)
        if found is not None:
            self._found(found)
            self.weights = result

    def _product(self, result: Tensor, args: Sequence[Any]) -> None:
        """Weights times values: the values of weights that were made by a softmax."""
        if self.pending is None or not self._is_weights(args):
            return
        values = args[1].detach().expand(*args[0].shape[:-2], *args[1].shape[-2:])
        self.pending.values = heads_apart(values, self.batch)
        self.pending.mixed = heads_apart(result.detach(), self.batch)

    def _is_weights(self, args: Sequence[Any]) -> bool:
        """The first argument is what the last softmax made, or a copy of it in another type."""
        weights = self.weights
        if weights is None or not args or not isinstance(args[0], Tensor):
            return False
        return args[0].data_ptr() == weights.data_ptr() and args[0].shape == weights.shape

    def _map(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:  # noqa: ANN401
        if self.pending is None or kwargs or len(args) < 2:
            return
        if func is F.linear:
            self.pending.see_map(args[0], args[1])
        elif func is torch.addmm and len(args) > 2:
            self.pending.see_map(args[1], args[2].mT)


@contextmanager
def watched(predict: object, batch: int, length: int, take: Take) -> Iterator[Watch]:
    """Hand every attention call made inside to `take`, with the name of the module it is in."""
    inside: list[str] = []
    named = list(predict.named_modules()) if isinstance(predict, nn.Module) else []

    def enter(name: str) -> Callable[..., None]:
        return lambda module, given: inside.append(name)

    handles = []
    for name, module in named:
        handles.append(module.register_forward_pre_hook(enter(name), prepend=True))
        leave = module.register_forward_hook(lambda *_: _leave(inside), always_call=True)
        handles.append(leave)
    watch = Watch(batch, length, take, inside)
    try:
        with watch:
            yield watch
        watch.flush()
    finally:
        for handle in handles:
            handle.remove()


def _leave(inside: list[str]) -> None:
    inside.pop()
