"""Which modules of a model are its layers, and which state stands for which token.

Idea     looked at, not guessed from names: two small passes (3 rows of L tokens, 2 rows of about
         L/2) are traced. What was called, in which order, with which shapes, tells the layers; the
         axis that went from 3 to 2 is the batch, the one that followed the length is time
Layers   in order of their calls: the embedding; every element of a ModuleList, of a Sequential or
         of a stack of equal modules; convolutions and poolings outside of these; recurrent modules
         layer by layer; and what goes into the head. Elements given the very same input stand side
         by side and make one layer. A residual block that holds a recurrent module gives two rows:
         the state it carries, and what it passes on
Time     as many states as tokens: state t is that of token t, wherever its window lies. Fewer: the
         last output stands for the newest token that can move it, found by changing the last
         tokens, and each output before it for one `stride` earlier: newest + stride * j. No time
         axis: one state for the whole sequence
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from howfar.core.errors import UsageError, closest, shown
from howfar.core.protocols import Predict
from howfar.measure.probe import Sequences
from howfar.measure.retention.trace import HEAD, Trace, Watch, newest_of_last, trace

CELLS = (nn.RNNBase, nn.RNNCellBase)
MIXING = (
    nn.Conv1d,
    nn.MaxPool1d,
    nn.AvgPool1d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveAvgPool1d,
    nn.MultiheadAttention,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
)
POINTWISE = ("activation", "batchnorm", "dropout", "flatten", "linear.Identity", "normalization")


@dataclass(frozen=True, slots=True)
class Part:
    """One tensor of a layer: `key` in a trace, its axes, and the token of each of its states.

    time: None: one state for the whole sequence. Output j stands for token newest + stride * j.
    """

    key: str
    batch: int
    time: int | None
    stride: int = 1
    newest: int = 0


@dataclass(frozen=True, slots=True)
class Layer:
    """A row of the map: parts that stand side by side."""

    name: str
    parts: tuple[Part, ...]

    @property
    def whole(self) -> bool:
        """Whether it has one state for the whole sequence."""
        return any(part.time is None for part in self.parts)


@dataclass(frozen=True, slots=True)
class Found:
    """The layers of a model, bottom first, and what to watch for them."""

    layers: tuple[Layer, ...]
    watch: Watch


def find(predict: Predict, seqs: Sequences, names: Sequence[str] | None) -> Found:
    """The layers of a model.

    Args:
        predict: an nn.Module.
        seqs: what will be measured on.
        names: modules to take instead, in this order; None: find them.

    Raises:
        UsageError: E-LAYERS where there are none, or a named one gives no states.
    """
    if not isinstance(predict, nn.Module):
        message = "Layers can be watched in an nn.Module only."
        raise UsageError("E-LAYERS", message, "layers=a function of tokens and lengths.")
    return Search(predict, seqs).found(names)


class Search:
    """A model, looked at twice."""

    def __init__(self, predict: nn.Module, seqs: Sequences) -> None:
        self.predict, self.seqs = predict, seqs
        self.long, self.short = trace(predict, seqs, 3, 1.0), trace(predict, seqs, 2, 0.5)

    def found(self, names: Sequence[str] | None) -> Found:
        """The layers found, or those named."""
        if names is not None:
            layers = [layer for name in names for layer in self.named(name)]
        else:
            chosen = _in_order(_walk(self.predict, "", self.long), self.long)
            groups = _side_by_side([*self.long.embeddings[:1], *chosen], self.long)
            layers = [layer for name, members in groups for layer in self.rows(name, members)]
            layers = self.with_head(layers)
        if not layers:
            message = "No layers were found in the model."
            raise UsageError("E-LAYERS", message, "layers=['a.module', ...], or a function.")
        keys = [part.key for layer in layers for part in layer.parts]
        watched = [name for name in self.long.called if any(_belongs(key, name) for key in keys)]
        head = self.long.head if HEAD in keys else ""
        return Found(tuple(layers), Watch(tuple(watched), head, self.long.stepwise))

    def named(self, name: str) -> list[Layer]:
        """Rows of a module the user asks for."""
        if name == HEAD and self.long.head:
            return self.with_head([])
        if not any(_belongs(key, name) for key in self.long.tensors):
            near = closest(name, self.long.called)
            message = f"The model calls no module {shown(name)}, or it returns no states. {near}"
            raise UsageError("E-LAYERS", message.strip(), "a name from model.named_modules().")
        layers = self.rows(name, [name])
        if not layers:
            sizes = next(tuple(x.shape) for k, x in self.long.tensors.items() if _belongs(k, name))
            message = f"What {shown(name)} returns, {sizes}, has no clear batch and time."
            raise UsageError("E-LAYERS", message, "(B, T, D), (B, D, T) or (B, D) states.")
        return layers

    def rows(self, name: str, members: list[str]) -> list[Layer]:
        """One layer for each call, or each inner layer, of modules that stand side by side."""
        keys = [[key for key in self.long.tensors if _belongs(key, m)] for m in members]
        found = []
        for group in zip(*keys, strict=False):
            parts = [part for part in map(self.part, group) if part is not None]
            kinds = {part.time is None for part in parts}
            if len(parts) == len(group) and len(kinds) == 1:
                found.append(Layer(name if len(parts) > 1 else group[0], tuple(parts)))
        return found

    def part(self, key: str) -> Part | None:
        """Axes and times of one tensor; None where it has no clear place for them."""
        x, other = self.long.tensors[key], self.short.tensors.get(key)
        if x.ndim not in (2, 3) or not x.is_floating_point():
            return None
        if other is None or other.ndim != x.ndim:
            batch, time = 0, 1 if x.ndim == 3 and x.shape[1] == self.long.length else None
        else:
            changed = [axis for axis in range(x.ndim) if x.shape[axis] != other.shape[axis]]
            rows = [axis for axis in changed if (x.shape[axis], other.shape[axis]) == (3, 2)]
            if not rows or len(changed) > 2:
                return None
            batch = rows[0]
            time = next((axis for axis in changed if axis != batch), None)
        if time is None or x.shape[time] == self.long.length:
            return Part(key, batch, time)
        return self._sparse(key, batch, time)

    def _sparse(self, key: str, batch: int, time: int) -> Part:
        """Fewer states than tokens: their distance, and the token of the first one."""
        wide, other = self.long.tensors[key].shape[time], self.short.tensors.get(key)
        fewer = wide - other.shape[time] if other is not None else 0
        length = self.long.length
        steps = (length - self.short.length) / fewer if fewer > 0 else length / wide
        stride = max(1, round(steps))
        watch = Watch(tuple(name for name in self.long.called if _belongs(key, name)))
        watch = Watch((), self.long.head) if key == HEAD else watch
        reach = 8 * stride + 32
        newest = newest_of_last(self.predict, self.seqs, key, time, watch, reach)
        return Part(key, batch, time, stride, newest - stride * (wide - 1))

    def with_head(self, found: list[Layer]) -> list[Layer]:
        """Add what goes into the head, unless it is what the last layer returned."""
        x = self.long.tensors.get(HEAD)
        part = None if x is None else self.part(HEAD)
        if x is None or part is None:
            return found
        if found and len(found[-1].parts) == 1:
            last = found[-1].parts[0]
            same = upright(self.long.tensors[last.key], last), upright(x, part)
            if same[0].shape == same[1].shape and torch.equal(*same):
                return found
        return [*found, Layer(HEAD, (part,))]


def _belongs(key: str, member: str) -> bool:
    return key == member or key.startswith((f"{member} layer ", f"{member} call "))


def _in_order(names: list[str], long: Trace) -> list[str]:
    """By first call; an embedding is a row of its own, and logits are no states."""
    order = {name: place for place, name in enumerate(long.called)}
    known = [name for name in names if name in order and name not in (*long.embeddings, long.head)]
    return sorted(known, key=order.__getitem__)


def _walk(module: nn.Module, name: str, long: Trace) -> list[str]:
    if isinstance(module, CELLS):
        return [name]
    children = [
        (f"{name}.{child}" if name else child, part) for child, part in module.named_children()
    ]
    found: list[str] = []
    for child, part in children:
        if _stack(module):
            inner = [n for n, m in part.named_modules(prefix=child) if isinstance(m, CELLS)]
            found += [*inner, child] if child in long.called else _walk(part, child, long)
            continue
        inner = [] if isinstance(part, MIXING) else _walk(part, child, long)
        loose = isinstance(module, nn.Sequential) and not _pointwise(part)
        found += inner or ([child] if loose or isinstance(part, MIXING) else [])
    if not found and name == "":
        found = [child for child, part in children if not _pointwise(part)]
    return list(dict.fromkeys(found))


def _stack(module: nn.Module) -> bool:
    """A ModuleList, or a Sequential of at least two composed modules of one kind."""
    if isinstance(module, nn.ModuleList):
        return True
    kinds = {type(child) for child in module.children()}
    composed = all(any(True for _ in child.children()) for child in module.children())
    same = len(kinds) == 1 and len(list(module.children())) > 1
    return isinstance(module, nn.Sequential) and same and composed


def _pointwise(module: nn.Module) -> bool:
    kind = type(module)
    known = any(f"nn.modules.{part}" in f"{kind.__module__}.{kind.__name__}" for part in POINTWISE)
    return known and not isinstance(module, MIXING)


def _side_by_side(names: list[str], long: Trace) -> list[tuple[str, list[str]]]:
    """Join neighbours of one list that were given the very same tensor."""
    groups: list[tuple[str, list[str]]] = []
    for name in names:
        parent = name.rpartition(".")[0]
        last = groups[-1][1][-1] if groups else ""
        same = long.given.get(name) is not None and long.given.get(name) is long.given.get(last)
        if groups and same and parent and parent == last.rpartition(".")[0]:
            groups[-1] = (parent, [*groups[-1][1], name])
        else:
            groups.append((name, [name]))
    return groups


def upright(x: Tensor, part: Part) -> Tensor:
    """(B, T, D), or (B, D) of one state a sequence."""
    if part.time is None:
        return x.movedim(part.batch, 0).flatten(1)
    return x.movedim((part.batch, part.time), (0, 1))
