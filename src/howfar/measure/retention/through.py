"""Find the poolings over time of a model, and send derivatives back through them.

Idea     poolings that are modules are seen by their type. One that is a function in `forward` is
         found by its numbers: columns of what goes into the head that equal the maximum (or mean)
         over time of some module's output, maybe behind relu or tanh; wider outputs are tried
         first, so that one row of filters is one pooling
Cost     one forward pass and a backward pass a pooling
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from howfar.core.protocols import Predict
from howfar.measure.probe import Sequences
from howfar.measure.retention.layers import Search, upright
from howfar.measure.retention.pooling import MAXIMA, POOLS, Chosen, of_module, survivors
from howfar.measure.retention.trace import HEAD
from howfar.measure.watch import embedded, passing, quiet

SHAPES: tuple[Callable[[Tensor], Tensor], ...] = (lambda x: x, torch.relu, torch.tanh)


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns first .. first + width - 1 of the head's input are pooled from a module's output."""

    module: str
    first: int
    width: int
    axes: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Pooling:
    """One pooling: a module (no columns), or what goes into the head (`head`: its module)."""

    name: str
    kind: str
    head: str = ""
    columns: tuple[Columns, ...] = ()


@dataclass(frozen=True, slots=True)
class Passed:
    """Of one batch and pooling: chosen positions (B, T), idle share (B,), tokens through (B, L)."""

    chosen: Tensor
    idle: Tensor
    through: Tensor


def poolings(predict: nn.Module, seqs: Sequences) -> list[Pooling]:
    """The poolings over time, in order of their calls; one that is no module comes last."""
    search = Search(predict, seqs)
    long, modules = search.long, dict(predict.named_modules())
    found = [
        Pooling(name, "max" if isinstance(modules[name], MAXIMA) else "mean")
        for name in long.called
        if isinstance(modules[name], POOLS)
    ]
    pooled = long.tensors.get(HEAD)
    if pooled is None or pooled.ndim != 2:
        return found
    free = torch.ones(pooled.shape[1], dtype=torch.bool)
    for pooling in found:
        # What a module has pooled already is not looked for again.
        made = long.tensors[pooling.name].flatten(1)
        for first in _places(pooled, made, free):
            free[first : first + made.shape[1]] = False
    for kind in ("max", "mean"):
        columns = _columns(search, pooled, free, kind)
        if columns:
            found.append(Pooling(HEAD, kind, long.head, tuple(columns)))
    return found


def _columns(search: Search, pooled: Tensor, free: Tensor, kind: str) -> list[Columns]:
    candidates = []
    for key, x in search.long.tensors.items():
        part = search.part(key) if key in search.long.called and x.ndim == 3 else None
        if part is not None and part.time is not None:
            candidates.append((key, upright(x, part), (part.batch, part.time)))
    found = []
    for key, x_BTF, axes in sorted(candidates, key=lambda each: -each[1].shape[2]):
        for shape in SHAPES:
            ways = [_over(shape(x_BTF), real, kind) for real in _real(x_BTF, search.long.lengths)]
            places = [place for made in ways for place in _places(pooled, made, free)]
            if places and x_BTF.shape[1] > 1:
                free[places[0] : places[0] + x_BTF.shape[2]] = False
                found.append(Columns(key, places[0], x_BTF.shape[2], axes))
                break
    return sorted(found, key=lambda each: each.first)


def _real(x_BTF: Tensor, lengths: Tensor) -> list[Tensor]:
    """Lengths over which a model may pool: real positions, or all, padding included."""
    full = torch.full((len(x_BTF),), x_BTF.shape[1])
    as_many = x_BTF.shape[1] >= int(lengths.max())
    return [lengths.cpu(), full] if as_many and not torch.equal(lengths.cpu(), full) else [full]


def _over(x_BTF: Tensor, lengths: Tensor, kind: str) -> Tensor:
    """The maximum or mean over the first positions of each row, (B, F)."""
    place_T = torch.arange(x_BTF.shape[1], device=x_BTF.device)
    lengths = lengths.to(x_BTF.device)
    beyond_BT1 = (place_T >= lengths[:, None])[..., None]
    if kind == "max":
        return x_BTF.masked_fill(beyond_BT1, -torch.inf).amax(1)
    return x_BTF.masked_fill(beyond_BT1, 0).sum(1) / lengths[:, None]


def _places(pooled: Tensor, made: Tensor, free: Tensor) -> list[int]:
    """Where the columns `made` stand in `pooled`, among those that are free."""
    width = made.shape[1]
    if len(made) != len(pooled) or not bool((made != 0).any()):
        return []
    return [
        first
        for first in range(pooled.shape[1] - width + 1)
        if bool(free[first : first + width].all())
        and torch.allclose(pooled[:, first : first + width], made, rtol=1e-5, atol=1e-7)
    ]


class Through:
    """One forward pass a batch with all poolings watched, and a backward pass from each."""

    def __init__(
        self,
        predict: nn.Module,
        found: list[Pooling],
        embedding: str | None,
        generator: torch.Generator,
    ) -> None:
        self.predict: Predict = predict
        self.found, self.embedding, self.generator = found, embedding, generator
        self.modules = dict(predict.named_modules())
        names = [c.module for pooling in found for c in pooling.columns]
        self.watched = list(
            dict.fromkeys([*names, *(pooling.head or pooling.name for pooling in found)])
        )

    def batch(self, tokens: Tensor, lengths: Tensor) -> list[Passed]:
        """What gets through each pooling, of one batch."""
        given: dict[str, Tensor] = {}
        made: dict[str, Tensor] = {}

        def see(name: str, module: nn.Module, args: Any, keywords: Any, output: Any) -> None:  # noqa: ANN401
            given[name], made[name] = args[0], output

        real = tokens.is_floating_point()
        with (
            torch.enable_grad(),
            quiet(self.predict, hooks=True, gradients=True),
            passing(self.predict, self.watched, see),
        ):
            if real:
                starts = [tokens.detach().requires_grad_()]
                self.predict(starts[0], lengths)
            else:
                with embedded(self.predict, tokens, self.embedding) as found:
                    self.predict(tokens, lengths)
                starts = found.parts
            return [self._passed(pooling, given, made, starts, lengths) for pooling in self.found]

    def _passed(
        self,
        pooling: Pooling,
        given: dict[str, Tensor],
        made: dict[str, Tensor],
        starts: list[Tensor],
        lengths: Tensor,
    ) -> Passed:
        if pooling.columns:
            pooled = given[pooling.head]
            out = torch.cat([pooled[:, c.first : c.first + c.width] for c in pooling.columns], 1)
            chosen, idle = self._into_head(pooling, pooled.detach(), made, lengths)
        else:
            out = made[pooling.name]
            each = of_module(self.modules[pooling.name], given[pooling.name])
            chosen, idle = each.positions, each.idle
        weight = torch.randn(out.shape, generator=self.generator, dtype=torch.float64).to(out)
        got: tuple[Tensor | None, ...] = torch.autograd.grad(
            (out * weight).sum(), starts, retain_graph=True, allow_unused=True
        )
        through = torch.zeros(starts[0].shape[:2], dtype=torch.bool)
        for slope in got:
            if slope is not None:
                through |= (slope != 0).reshape(*through.shape, -1).any(-1).cpu()
        return Passed(chosen, idle, through)

    def _into_head(
        self, pooling: Pooling, pooled: Tensor, made: dict[str, Tensor], lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Positions chosen by at least one of the filters that stand side by side."""
        parts = []
        for c in pooling.columns:
            x = made[c.module].detach()
            x_BTF = (x[..., 0] if x.ndim == 4 else x).movedim(c.axes, (0, 1))
            if pooling.kind == "mean":
                every = torch.ones(x_BTF.shape[:2], dtype=torch.bool)
                parts.append(Chosen(every, torch.zeros(len(x_BTF))))
            else:
                parts.append(_winners(x_BTF, pooled[:, c.first : c.first + c.width], lengths))
        width = max(part.positions.shape[1] for part in parts)
        wide = [nn.functional.pad(p.positions, (0, width - p.positions.shape[1])) for p in parts]
        return torch.stack(wide).any(0), torch.stack([part.idle for part in parts]).mean(0)


def _winners(x_BTF: Tensor, pooled_BF: Tensor, lengths: Tensor) -> Chosen:
    """The positions that won, behind whichever nonlinearity makes the pooled values of this batch.

    On a few rows a relu may look like nothing at all, so it is tried again on every batch.
    """
    for shape in SHAPES:
        for real in _real(x_BTF, lengths):
            y_BTF = shape(x_BTF)
            if torch.allclose(_over(y_BTF, real, "max"), pooled_BF, rtol=1e-5, atol=1e-7):
                return survivors(y_BTF, pooled_BF, real)
    return survivors(x_BTF, pooled_BF, lengths)
