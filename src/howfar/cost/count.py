"""Count the floating-point operations of one forward pass, as a check of a declared figure.

Idea     run a copy and add up its products: matrix products, convolutions, attention; 2 per
         multiply-add. Elementwise work, norms, softmax and cumulative sums count nothing
Honesty  torch counts 0 for what it has no formula for (fused recurrent layers, FFT, kernels of
         its own on CPU). Every operation that runs is looked at, and such a one is an error here
Note     attention counts the whole L x L square, causal or not
Source   torch.utils.flop_counter.FlopCounterMode
"""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from howfar.core.errors import UsageError

UNCOUNTED = re.compile(
    r"fft|rnn|lstm|gru|linalg|attention|transformer|conv|mm$|mm_|sparse|cdist|trilinear"
    r"|cholesky|solve|inverse|^(mv|addmv|dot|vdot|addr|addbmm)$"
)
# Where tensors leave torch, whatever is done to them there goes unseen.
LEAVING = frozenset({"numpy", "data_ptr", "__array__", "__dlpack__"})
OWN = frozenset({"aten", "prim", "prims", "profiler"})


def count_flops(model: nn.Module, length: int, vocabulary: int) -> int:
    """Count one forward pass over one sequence of `length` tokens, in evaluation mode.

    A copy on the meta device is run, which computes nothing; where a model needs real values
    (a loop that depends on them), a copy on the CPU is. The model is left as it was.

    Raises:
        UsageError: E-FLOPS, where the model holds an operation that torch would count as 0.
    """
    try:
        return _count(model, length, vocabulary, "meta")
    except UsageError:
        raise
    except Exception:  # anything a model may raise for want of values; the CPU decides
        return _count(model, length, vocabulary, "cpu")


def _count(model: nn.Module, length: int, vocabulary: int, device: str) -> int:
    runner = copy.deepcopy(model).to(device).eval()
    generator = torch.Generator().manual_seed(0)
    tokens_BL = torch.randint(vocabulary, (1, length), generator=generator).to(device)
    lengths_B = torch.tensor([length], device=device)
    counter = FlopCounterMode(display=False)
    # Plain attention falls apart into products that have a formula. Entered before the counter,
    # the watch sees what the counter really runs once it took compound operations apart.
    watch = _Watch()  # type: ignore[no-untyped-call]
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), watch, _Doors(), counter:
        runner(tokens_BL, lengths_B)
    return int(counter.get_total_flops())


def _refuse(name: str) -> UsageError:
    return UsageError(
        "E-FLOPS",
        f"The operations of this model cannot be counted: torch would count {name} as 0.",
        "declare them with a method flops(length)",
    )


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses operations that do products but have no formula."""

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - torch's own signature
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        packet = func.overloadpacket
        name = packet.__name__
        if packet not in flop_registry and (func.namespace not in OWN or UNCOUNTED.search(name)):
            raise _refuse(str(packet))
        return func(*args, **(kwargs or {}))


class _Doors(TorchFunctionMode):
    """Refuses to hand a tensor to code outside torch."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        if getattr(func, "__name__", "") in LEAVING and any(isinstance(a, Tensor) for a in args):
            raise _refuse(f"code outside torch, reached by Tensor.{func.__name__},")
        return func(*args, **(kwargs or {}))
