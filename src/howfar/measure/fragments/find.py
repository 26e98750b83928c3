"""Find the TextCNN in a module: its filters, what they read, how they are pooled, and its head.

Idea     hooks keep what goes into and comes out of every convolution and linear layer of one pass;
         a reading of the parts (padding, order, activation, pooling, real windows) is accepted
         only if it gives the features the head was given, and the logits the model answered
Accepts  `nn.Conv1d`, `nn.Conv2d` over whole embeddings, and any module with a weight (F, E, w)
         that answers as a convolution over (B, L, E) or (B, E, L); one `nn.Linear` head
Limits   one layer of convolutions on one embedding, a whole-sequence output; anything deeper has
         no exact sum over n-grams: `fragment_swap` asks such a model instead
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from howfar.core.errors import UsageError
from howfar.measure.fragments.decompose import (
    ACTIVATIONS,
    POOLS,
    Decomposition,
    Filters,
    Reading,
    decompose,
)

WINDOWS = ("all", "end in the text", "inside the text", "begin in the text")
_CLOSE = 1000  # units in the last place in which two ways to the same numbers may differ
_HINT = "fragment_swap(model, tokens) ranks the fragments of a text in any model."


@dataclass(slots=True)
class Taken:
    """What one pass gave: each convolution's input and output, each linear layer's, by module."""

    convolutions: list[tuple[nn.Module, Tensor, Tensor]] = field(default_factory=list)
    linear: list[tuple[nn.Linear, Tensor, Tensor]] = field(default_factory=list)
    embeddings: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One batch taken apart, and how it was read.

    pool: "max" or "mean". windows: "all", or which are pooled. answer: (B, C) as the model said.
    head: (C, F).
    """

    decomposition: Decomposition
    activation: str
    pool: str
    windows: str
    answer: Tensor
    head: Tensor


@contextmanager
def taking(predict: object) -> Iterator[Taken]:
    """Keep the inputs and outputs of convolutions, linear layers and embeddings made inside."""
    modules = list(predict.modules()) if isinstance(predict, nn.Module) else []
    taken = Taken()

    def catch(module: nn.Module, given: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401
        if not given or not isinstance(given[0], Tensor) or not isinstance(output, Tensor):
            return
        if isinstance(module, nn.Linear):
            taken.linear.append((module, given[0].detach(), output.detach()))
        elif isinstance(module, nn.Embedding):
            taken.embeddings.append(output.detach())
        else:
            taken.convolutions.append((module, given[0].detach(), output.detach().clone()))

    watched = [
        m for m in modules if isinstance(m, nn.Linear | nn.Embedding) or _weight(m) is not None
    ]
    handles = [module.register_forward_hook(catch) for module in watched]
    try:
        yield taken
    finally:
        for handle in handles:
            handle.remove()


def take_apart(taken: Taken, answer: Tensor, length: int, lengths: Tensor) -> Found:
    """Read one pass over (B, L) tokens as a TextCNN.

    Raises:
        UsageError: E-MODEL where it is none, saying what does not fit.
    """
    answer_BC = answer[:, 0] if answer.ndim == 3 and answer.shape[1] == 1 else answer
    head, features_BF = _head(taken, answer_BC)
    parts = [_filters(taken, *each, length) for each in taken.convolutions]
    if not parts:
        raise _none("No convolution was called in a pass")
    x_BLE = parts[0][1]
    if any(not torch.equal(x, x_BLE) for _, x in parts):
        raise _none("The convolutions do not all read the same embeddings")
    filters = [each for each, _ in parts]
    tail = (head.weight.detach(), _detached(head.bias))
    for order in (filters, sorted(filters, key=lambda each: each.width)):
        if sum(len(each.weight) for each in order) != features_BF.shape[1]:
            break
        for pool, activation, windows in product(POOLS, ACTIVATIONS, WINDOWS):
            real = tuple(_real(each, length, lengths, windows) for each in order)
            reading = Reading(
                pool=pool, activation=activation, real=None if windows == "all" else real
            )
            found = decompose(x_BLE, order, *tail, reading)
            pooled_BF = torch.cat([part.pooled for part in found.parts], 1)
            if _near(pooled_BF, features_BF) and _near(found.logits, answer_BC):
                return Found(
                    decomposition=found,
                    activation=activation,
                    pool=pool,
                    windows=windows,
                    answer=answer_BC,
                    head=tail[0],
                )
    raise _none("What the head reads is neither a maximum nor a mean of the filters' answers")


def _head(taken: Taken, answer_BC: Tensor) -> tuple[nn.Linear, Tensor]:
    for module, given, output in reversed(taken.linear):
        if given.ndim == 2 and output.shape == answer_BC.shape and torch.equal(output, answer_BC):
            return module, given
    raise _none(f"No linear layer over whole texts makes the answer {tuple(answer_BC.shape)}")


def _weight(module: nn.Module) -> Tensor | None:
    """The weight (F, E, w) of a convolution along the text, or None."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, nn.Parameter) or isinstance(
        module, nn.ConvTranspose1d | nn.ConvTranspose2d
    ):
        return None
    if weight.ndim == 3:
        return weight.detach()
    if isinstance(module, nn.Conv2d) and weight.shape[1] == 1:
        return weight.detach()[:, 0].transpose(1, 2)
    return None


def _filters(
    taken: Taken, module: nn.Module, given: Tensor, output: Tensor, length: int
) -> tuple[Filters, Tensor]:
    """The filters of one module on bare embeddings, and these (B, L, E)."""
    weight = _weight(module)
    assert weight is not None  # only such modules are watched
    stride, dilation = (_one(getattr(module, name, 1)) for name in ("stride", "dilation"))
    base = Filters(
        weight=weight,
        bias=_detached(getattr(module, "bias", None)),
        stride=stride,
        dilation=dilation,
    )
    if getattr(module, "groups", 1) != 1:
        raise _none("A convolution in groups reads only parts of the embedding")
    for x_BLE, made_BFI in _layouts(module, weight, given, output):
        span = (base.width - 1) * dilation
        for left, right in product(range(span + 1), repeat=2):
            if (x_BLE.shape[1] + left + right - span - 1) // stride + 1 != made_BFI.shape[2]:
                continue
            filters = replace(base, left=left, right=right)
            if _near(filters.answers(x_BLE), made_BFI):
                offset = _offset(taken, x_BLE, length)
                beyond = x_BLE.shape[1] - offset - length
                bare = replace(filters, left=left + offset, right=right + beyond)
                return bare, x_BLE[:, offset : offset + length]
    raise _none(f"{type(module).__name__} does not answer as a convolution of its input")


def _layouts(
    module: nn.Module, weight: Tensor, given: Tensor, output: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Input as (B, L, E) and output as (B, F, I), in each way they can be meant."""
    num, width = weight.shape[:2]
    if given.ndim == 4 and output.ndim == 4 and output.shape[3] == 1 and given.shape[1] == 1:
        given, output = given[:, 0].transpose(1, 2), output[..., 0]
    if given.ndim != 3 or output.ndim != 3:
        return
    if given.shape[1] == width and output.shape[1] == num:
        yield given.transpose(1, 2), output
    if not isinstance(module, nn.Conv1d) and (given.shape[2], output.shape[2]) == (width, num):
        yield given, output.transpose(1, 2)


def _offset(taken: Taken, x_BLE: Tensor, length: int) -> int:
    """Where the text begins in what a convolution reads: after zeros put before it, if any."""
    spare = x_BLE.shape[1] - length
    if spare < 0:
        raise _none("A convolution reads fewer places than there are tokens")
    fits = [
        offset
        for offset in range(spare + 1)
        if not bool(x_BLE[:, :offset].any()) and not bool(x_BLE[:, offset + length :].any())
    ]
    same = [
        offset
        for offset in fits
        for e_BLE in taken.embeddings
        if e_BLE.shape == x_BLE[:, offset : offset + length].shape
        and torch.equal(e_BLE, x_BLE[:, offset : offset + length])
    ]
    chosen = same or fits
    if not chosen or (spare and len(set(chosen)) > 1):
        raise _none("It cannot be told where in its padding a text begins")
    return chosen[0]


def _real(filters: Filters, length: int, lengths: Tensor, which: str) -> Tensor:
    """Which windows are pooled in texts of these lengths: (B, I)."""
    span = (filters.width - 1) * filters.dilation
    windows = (length + filters.left + filters.right - span - 1) // filters.stride + 1
    places_IW = filters.places(windows)
    first_1I, last_1I = places_IW[None, :, 0], places_IW[None, :, -1]
    lengths_B1 = lengths.cpu()[:, None]
    if which == "begin in the text":
        return first_1I < lengths_B1
    inside_BI = last_1I < lengths_B1
    return inside_BI & (first_1I >= 0) if which == "inside the text" else inside_BI


def _near(one: Tensor, two: Tensor) -> bool:
    if one.shape != two.shape:
        return False
    close = min(_CLOSE * torch.finfo(two.dtype).eps, 0.01)
    return float((one - two).abs().max()) <= close * max(float(two.abs().max()), 1e-30)


def _one(value: int | Sequence[int] | object) -> int:
    """A setting along the text, of a convolution in one or two dimensions."""
    return int(value[0]) if isinstance(value, tuple) else int(str(value))


def _detached(parameter: Tensor | None) -> Tensor | None:
    return None if parameter is None else parameter.detach()


def _none(why: str) -> UsageError:
    return UsageError("E-MODEL", f"No exact sum over n-grams: {why[0].lower()}{why[1:]}.", _HINT)
