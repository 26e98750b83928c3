"""One process or several: who takes which batch of a step, and how their gradients meet.

Idea     a step has a fixed number of slots. Process r of W takes slots r, r + W, ...; the summed
         loss of each is divided by the weight of the whole step, so that the sum of all gradients
         is the gradient of the step, however the slots are shared
Ways     "ddp": every process holds the whole model (Li et al. 2020, arXiv 2006.15704);
         "fsdp": parameters, gradients and the optimiser's state are cut into shares
         (Zhao et al. 2023, arXiv 2304.11277; `fully_shard` of torch, the second form)
Started  by `torchrun`, which sets RANK, WORLD_SIZE and the address where processes meet
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from howfar.core.errors import UsageError, shown
from howfar.core.protocols import State

WAYS = ("ddp", "fsdp")
PATIENCE_SECONDS = 1800  # for one that reads data; `torchrun` itself ends all when one has died


@dataclass(frozen=True, slots=True)
class World:
    """This process among all: `rank` of `size`."""

    rank: int = 0
    size: int = 1
    way: str = "ddp"

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def slots(self, slots: int) -> range:
        """The slots of a step that this process takes.

        Raises:
            UsageError: E-OPTION where they cannot be shared evenly.
        """
        if slots % self.size:
            message = f"{slots} batches a step cannot be shared among {self.size} processes."
            raise UsageError("E-OPTION", message, f"a multiple of {self.size}")
        return range(self.rank, slots, self.size)

    def total(self, value: float) -> float:
        """The sum of everybody's number."""
        if self.size == 1:
            return value
        number = torch.tensor([value], dtype=torch.float64)
        dist.all_reduce(number)
        return float(number)

    def agreed(self, value: float) -> float:
        """The first process's number, for everybody: clocks and machines differ."""
        return self.total(value if self.first else 0.0)

    def gathered(self, carried: dict[int, State]) -> dict[int, State]:
        """Everybody's states by slot, in the first process."""
        if self.size == 1:
            return carried
        all_of: list[Any] = [None] * self.size
        dist.all_gather_object(all_of, carried)
        return {slot: state for each in all_of for slot, state in each.items()}

    def wait(self) -> None:
        """Until everybody is here."""
        if self.size > 1:
            dist.barrier()

    def wrapped(self, model: nn.Module, blocks: list[nn.Module]) -> nn.Module:
        """The module whose gradients are everybody's; `blocks` of it are gathered one by one."""
        if self.size == 1:
            return model
        if self.way == "fsdp":
            from torch.distributed.fsdp import fully_shard  # noqa: PLC0415 - only for who asks

            for block in blocks:
                fully_shard(block)
            fully_shard(model)
            return model
        return nn.parallel.DistributedDataParallel(model)

    @contextmanager
    def meeting(self, forward: nn.Module, *, last: bool) -> Iterator[None]:
        """Within: backward passes; gradients are exchanged in the last one of a step alone."""
        if isinstance(forward, nn.parallel.DistributedDataParallel) and not last:
            with forward.no_sync():
                yield
            return
        for part in _shared(forward, self):
            part.set_requires_gradient_sync(last, recurse=False)
        yield

    @contextmanager
    def gathering(self, forward: nn.Module) -> Iterator[None]:
        """Within: every parameter is whole, so that any part of the model can be asked."""
        parts = _shared(forward, self)
        for part in parts:
            part.unshard()
        yield
        for part in parts:
            part.reshard()

    def scale(self) -> float:
        """By which a summed loss is multiplied, since gradients are averaged over processes."""
        return float(self.size)


@contextmanager
def joined(way: str = "ddp", device: str = "cpu") -> Iterator[World]:
    """The world that `torchrun` made, or this process alone.

    Raises:
        UsageError: E-OPTION for an unknown way.
    """
    if way not in WAYS:
        message = f"No way to train on several processes is called {shown(way)}."
        raise UsageError("E-OPTION", message, f"one of {', '.join(WAYS)}")
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "RANK" not in os.environ:
        yield World(way=way)
        return
    backend = "nccl" if device.startswith("cuda") else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=PATIENCE_SECONDS))
    try:
        yield World(dist.get_rank(), dist.get_world_size(), way)
    finally:
        dist.destroy_process_group()


def whole(value: Any) -> Any:  # noqa: ANN401 - tensors inside dicts and lists
    """The same with every shared tensor gathered into a plain one on the CPU."""
    if isinstance(value, DTensor):
        return value.full_tensor().detach().cpu().clone()
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(whole(item) for item in value)
    return value


def load_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Give an optimiser the whole state that `whole(optimiser.state_dict())` kept.

    Where a parameter is cut into shares, so is what the optimiser holds of it.
    """
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    shared = {
        key: {name: _like(value, parameters[int(key)]) for name, value in held.items()}
        for key, held in state["state"].items()
    }
    optimiser.load_state_dict({"state": shared, "param_groups": state["param_groups"]})


def load_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give a model whole weights, cut into shares where its own are."""
    own = model.state_dict()
    model.load_state_dict({name: _like(value, own[name]) for name, value in weights.items()})


def _shared(forward: nn.Module, world: World) -> list[Any]:
    """The modules whose parameters are cut into shares."""
    if world.size == 1 or world.way != "fsdp":
        return []
    from torch.distributed.fsdp import FSDPModule  # noqa: PLC0415 - only for who asks

    return [part for part in forward.modules() if isinstance(part, FSDPModule)]


def _like(value: Any, parameter: Tensor) -> Any:  # noqa: ANN401
    if not isinstance(value, Tensor) or not isinstance(parameter, DTensor):
        return value
    if value.shape != parameter.shape:  # the optimiser's count of steps
        return value
    return distribute_tensor(value, parameter.device_mesh, parameter.placements)
