"""Leave everything as it was: a model's modes, tensors, attributes and hooks, and random state.

Idea     before the first call every submodule's attributes are written down (tensors copied,
         containers copied one level); afterwards, or before any call, they are put back
Limits   state that lives outside modules (a closure's list, a file) is not seen; parameters of
         more than 1 GiB in all are not copied, only their identity is
"""

import functools
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from howfar.core.seeds import Seeds

COPIED = 2**30


def modules_of(predict: object) -> list[nn.Module]:
    """The modules a callable runs: itself, its owner, or those it names or encloses."""
    if isinstance(predict, nn.Module):
        return [predict]
    found = [value for value in _within(predict) if isinstance(value, nn.Module)]
    inner = {id(part) for module in found for part in module.modules() if part is not module}
    return list({id(module): module for module in found if id(module) not in inner}.values())


def _within(predict: object, depth: int = 2) -> list[object]:
    """What a callable holds, and what the callables it holds do."""
    if isinstance(predict, functools.partial):
        values = [predict.func, *predict.args, *predict.keywords.values()]
    elif hasattr(predict, "__code__"):
        closure = getattr(predict, "__closure__", None) or ()
        names = getattr(predict, "__globals__", {})
        values = [getattr(predict, "__self__", None)]
        values += [cell.cell_contents for cell in closure if _filled(cell)]
        values += [names.get(name) for name in predict.__code__.co_names]
    else:
        values = list(getattr(predict, "__dict__", {}).values())
    plain = [value for value in values if callable(value) and not isinstance(value, type)]
    inner = [value for value in plain if depth > 1 and not isinstance(value, nn.Module)]
    return values + [held for value in inner for held in _within(value, depth - 1)]


def _filled(cell: Any) -> bool:  # noqa: ANN401 - cells have no public type
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


class Guard:
    """Everything the modules hold, to be compared and put back."""

    def __init__(self, modules: list[nn.Module]) -> None:
        self.parts: dict[str, nn.Module] = {}
        for place, root in enumerate(modules):
            for name, module in root.named_modules():
                self.parts[name if place == 0 else f"{place}:{name}"] = module
        weights = [p for root in modules for p in root.parameters()]
        self.frozen = sum(p.numel() * p.element_size() for p in weights) > COPIED
        self.attributes = {name: dict(vars(part)) for name, part in self.parts.items()}
        self.containers: list[tuple[Any, Any]] = []
        self.tensors: dict[str, tuple[Tensor, Tensor]] = {}
        for name, held in self.attributes.items():
            for key, value in held.items():
                self._note(f"{name}.{key}".lstrip("."), value)

    def _note(self, name: str, value: object) -> None:
        """Write down a tensor, or a container with the tensors directly in it."""
        if isinstance(value, Tensor):
            if not (self.frozen and isinstance(value, nn.Parameter)):
                self.tensors[name] = (value, value.detach().clone())
            return
        if isinstance(value, dict | list | set):
            self.containers.append((value, type(value)(value)))
        entries: Iterable[tuple[object, object]] = ()
        if isinstance(value, dict):
            entries = value.items()
        elif isinstance(value, list | tuple):
            entries = enumerate(value)
        # what a module registers goes by its own name, as in `state_dict`
        start = name.removesuffix("_parameters").removesuffix("_buffers")
        start = f"{name}." if start == name else start
        for key, inner in entries:
            if isinstance(inner, Tensor):
                self._note(f"{start}{key}", inner)

    def reattach(self) -> None:
        """Put attributes and containers back; what tensors hold stays."""
        for name, part in self.parts.items():
            now, before = vars(part), self.attributes[name]
            for key in [key for key in now if key not in before]:
                del now[key]
            now.update(before)
        for container, content in self.containers:
            if isinstance(container, list):
                container[:] = content
            else:
                container.clear()
                container.update(content)

    def restore(self) -> None:
        """Put everything back."""
        self.reattach()
        with torch.no_grad():
            for tensor, content in self.tensors.values():
                if tensor.shape != content.shape or tensor.dtype != content.dtype:
                    tensor.data = content.clone()
                elif not same(tensor, content):
                    tensor.copy_(content)

    def stored(self) -> set[str]:
        """Names of what `state_dict` keeps."""
        names: set[str] = set()
        for name, part in self.parts.items():
            start = f"{name}." if name else ""
            hidden = part._non_persistent_buffers_set
            names |= {f"{start}{key}" for key in part._parameters}
            names |= {f"{start}{key}" for key in part._buffers if key not in hidden}
        return names

    def changed(self) -> list[str]:
        """Names of tensors and attributes that are no longer what they were."""
        names = {name for name, (tensor, was) in self.tensors.items() if not same(tensor, was)}
        for name, part in self.parts.items():
            now, before = vars(part), self.attributes[name]
            start = f"{name}." if name else ""
            skip = ("training", "_parameters", "_buffers", "_modules")
            for key in now.keys() | before.keys():
                if key not in skip and now.get(key) is not before.get(key):
                    names.add(f"{start}{key}")
        for container, content in self.containers:
            now_held, was_held = _entries(container), _entries(content)
            if now_held is not None and was_held is not None:
                names |= {
                    key
                    for key in now_held.keys() | was_held.keys()
                    if now_held.get(key) is not was_held.get(key)
                }
        return sorted(names)


def _entries(container: object) -> dict[str, object] | None:
    if not isinstance(container, dict):
        return None
    return {key: value for key, value in container.items() if isinstance(value, Tensor)}


def same(one: Tensor, other: Tensor) -> bool:
    """Equal in shape, type and every number; NaN equals NaN."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.is_meta or other.is_meta:
        return True
    return bool(torch.equal(one, other)) or bool(
        one.is_floating_point()
        and torch.equal(one.isnan(), other.isnan())
        and torch.equal(one.nan_to_num(), other.nan_to_num())
    )


@contextmanager
def random_state(device: torch.device) -> Iterator[Callable[[int], None]]:
    """Give a function that sets all global random streams; put them back at the end."""
    cuda = device.type == "cuda"
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002
    before_cuda = torch.cuda.get_rng_state(device) if cuda else None

    def draw_from(seed: int) -> None:
        seeds = Seeds(seed)
        torch.set_rng_state(seeds.torch("audit noise").get_state())
        if cuda:
            state = seeds.torch("audit noise", str(device)).get_state()
            torch.cuda.set_rng_state(state, device)
        random.seed(seed)
        legacy = np.random.RandomState(seed)
        np.random.set_state(legacy.get_state())  # noqa: NPY002

    try:
        yield draw_from
    finally:
        torch.set_rng_state(before[0])
        random.setstate(before[1])
        np.random.set_state(before[2])  # noqa: NPY002
        if before_cuda is not None:
            torch.cuda.set_rng_state(before_cuda, device)
