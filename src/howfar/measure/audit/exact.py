"""Ask the same model in float64, whatever it is made of.

Idea     rounding shrinks by 10^8 or more when every operation runs in float64; a fault does not.
         Parameters are widened for a while, and every operation torch carries out is intercepted:
         float32 and smaller arguments are widened too, so that closures, constants and casts to
         float32 inside the model follow
Limits   what does not run through torch's operations (numpy, own kernels) keeps its precision:
         then the answer is not float64, and the caller must do without
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

NARROW = (torch.float32, torch.float16, torch.bfloat16)


def _wide(value: Any) -> Any:  # noqa: ANN401 - any argument of any operation
    if isinstance(value, Tensor) and value.dtype in NARROW:
        return value.double()
    if isinstance(value, torch.dtype) and value in NARROW:
        return torch.float64
    if type(value) in (list, tuple):
        return type(value)(_wide(part) for part in value)
    return value


class _Wide(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        if func._schema.is_mutable:
            # what is written to keeps its type, or the writing would go to a copy
            return func(*args, **kwargs)
        wide = {name: _wide(value) for name, value in kwargs.items()}
        return _wide(func(*_wide(args), **wide))


@contextmanager
def exactly(modules: Iterable[nn.Module]) -> Iterator[None]:
    """float64 for every operation inside; torch's fused recurrent layers are taken apart.

    The modules' parameters and buffers are float64 meanwhile, as torch compares types before it
    computes; afterwards they are the same numbers in the same memory.
    """
    fused = torch.backends.mkldnn.enabled
    held = {id(tensor): tensor for module in modules for tensor in _tensors(module)}
    before = [(tensor, tensor.data) for tensor in held.values() if tensor.dtype in NARROW]
    try:
        for tensor, data in before:
            tensor.data = data.double()
        torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
        with torch.backends.cudnn.flags(enabled=False), _Wide():  # type: ignore[no-untyped-call]
            yield
    finally:
        torch.backends.mkldnn.enabled = fused
        for tensor, data in before:
            tensor.data = data


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
