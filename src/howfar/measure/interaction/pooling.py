"""Hold the winners of a maximum over time: which places won on the clean text wins on changed ones.

Idea     every window competes for a maximum, so a change anywhere can dethrone a winner: joint
         treatment by competition. With p_j = c_j[i*_j], and i*_j fixed as on the clean text, only
         the windows themselves relate tokens. Operators are watched as torch runs them, whatever
         module, function or method asked for them
Covers   amax, max along a dimension, cummax, topk, argmax, max pooling in one or two dimensions,
         adaptive or not, over any dimension that grows with the text
Limits   a maximum that a hand-written softmax subtracts is held too, which changes nothing. A
         compiled model runs its operators unseen
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from howfar.core.protocols import Predict
from howfar.measure.watch import quiet

_ATEN = torch.ops.aten


class Winners(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's base says nothing
    """Watch the maxima of the passes made inside: first record who wins, then let them win.

    Args:
        chosen: which maxima of one pass, counted from 0, run over time; None: watch only.

    Attributes:
        shapes: of every maximum watched, (shape of what was maximised, dimensions, operator).
    """

    def __init__(self, chosen: frozenset[int] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.chosen = chosen or frozenset()
        self.replaying = False
        self.shapes: list[tuple[tuple[int, ...], tuple[int, ...], str]] = []
        self.batches: list[dict[int, Tensor]] = []
        self.batch = -1
        self.count = 0

    def begin(self, batch: int) -> None:
        """A pass over this batch begins."""
        self.batch, self.count = batch, 0
        if not self.replaying and batch == len(self.batches):
            self.batches.append({})

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - torch's signature
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run one operator; a chosen maximum answers with its recorded winners."""
        kwargs = kwargs or {}
        name = func.overloadpacket
        if name not in _MAXIMA or (name is _ATEN.max and func is not _ATEN.max.dim):
            return func(*args, **kwargs)
        place, self.count = self.count, self.count + 1
        dims = _dims(name, args, kwargs)
        if self.batch < 0:
            self.shapes.append((tuple(args[0].shape), dims, name.__name__))
        if place not in self.chosen or not dims:
            return func(*args, **kwargs)
        find, give = _MAXIMA[name]
        if self.replaying:
            winners = self.batches[self.batch][place]
        else:
            winners = self.batches[self.batch][place] = find(func(*args, **kwargs), args[0], dims)
        return give(args[0], dims, winners, _keeps(name, args, kwargs))


def over_time(predict: Predict, tokens: Tensor, lengths: Tensor) -> tuple[frozenset[int], str]:
    """Which maxima of a pass run over time, and what to say of them.

    A dimension is time if it shrinks with the text; where the model takes texts of one length
    only, if it is more than half as long as the text. Nothing is chosen where watching fails.
    """
    length = tokens.shape[1]
    less = length - max(1, length // 4)
    try:
        whole = _watched(predict, tokens, lengths)
    except Exception:  # a stranger's model may refuse to be watched in any way
        return frozenset(), "unknown: the model does not run while its operators are watched"
    try:
        part = _watched(predict, tokens[:, :less], lengths.clamp(max=less)) if less else []
    except Exception:  # a model of one length fails on another in any way
        part = []
    known = len(part) == len(whole)
    chosen, said = set(), []
    for place, (shape, dims, name) in enumerate(whole):
        if known:
            time = len(part[place][0]) == len(shape) and any(
                part[place][0][dim] != shape[dim] for dim in dims
            )
        else:
            time = max((shape[dim] for dim in dims), default=0) > length / 2
        if time:
            chosen.add(place)
            places = int(torch.tensor([shape[dim] for dim in dims]).prod())
            said.append(f"{name} over {places} places")
    said = said or ["none: no maximum over time was seen in a pass"]
    return frozenset(chosen), "; ".join(dict.fromkeys(said))


def _watched(
    predict: Predict, tokens: Tensor, lengths: Tensor
) -> list[tuple[tuple[int, ...], tuple[int, ...], str]]:
    watch = Winners()
    with torch.no_grad(), quiet(predict), watch:
        predict(tokens, lengths)
    return watch.shapes


class Held:
    """A callable whose maxima over time go to fixed winners: the first round of batches records.

    A round is the batches of one reading of all rows, in order, `rounds` of them.
    """

    def __init__(self, predict: Predict, chosen: frozenset[int], rounds: int) -> None:
        self.predict, self.rounds, self.asked = predict, rounds, 0
        self.winners = Winners(chosen)

    def __call__(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """As the callable answers, with the winners of the first round."""
        self.winners.replaying = self.asked >= self.rounds
        self.winners.begin(self.asked % self.rounds)
        self.asked += 1
        with quiet(self.predict), self.winners:
            return self.predict(tokens, lengths)


_POOLS = (_ATEN.max_pool2d_with_indices, _ATEN.adaptive_max_pool2d)


def _dims(name: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, ...]:  # noqa: ANN401
    """The dimensions that are maximised, counted from 0."""
    ndim = args[0].ndim
    if name in _POOLS:
        return ndim - 2, ndim - 1
    at = 2 if name is _ATEN.topk else 1
    given = args[at] if len(args) > at else kwargs.get("dim", -1 if name is _ATEN.topk else None)
    if given is None:
        return ()
    dims = [given] if isinstance(given, int) else given
    return tuple(sorted(dim % ndim for dim in dims))


def _keeps(name: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:  # noqa: ANN401
    return bool(args[2] if len(args) > 2 else kwargs.get("keepdim", False))


def _flat(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, list[int]]:
    """(kept..., product of the maximised dimensions)."""
    kept = [dim for dim in range(x.ndim) if dim not in dims]
    return x.permute(*kept, *dims).flatten(len(kept)), kept


def _amax(x: Tensor, dims: tuple[int, ...], winners: Tensor, keep: bool) -> Tensor:
    best = _flat(x, dims)[0].gather(-1, winners).squeeze(-1)
    for dim in dims if keep else ():
        best = best.unsqueeze(dim)
    return best


def _max(x: Tensor, dims: tuple[int, ...], winners: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    at = winners if keep else winners.unsqueeze(dims[0])
    best = x.gather(dims[0], at)
    return (best if keep else best.squeeze(dims[0])), winners.clone()


def _along(x: Tensor, dims: tuple[int, ...], winners: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    return x.gather(dims[0], winners), winners.clone()


def _pool(x: Tensor, dims: tuple[int, ...], winners: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    best = x.flatten(-2).gather(-1, winners.flatten(-2)).view(winners.shape)
    return best, winners.clone()


def _second(output: tuple[Tensor, Tensor], x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return output[1].clone()


_Find = Callable[[Any, Tensor, tuple[int, ...]], Tensor]
_Give = Callable[[Tensor, tuple[int, ...], Tensor, bool], Any]
_MAXIMA: dict[Any, tuple[_Find, _Give]] = {
    _ATEN.amax: (lambda out, x, dims: _flat(x, dims)[0].argmax(-1, keepdim=True), _amax),
    _ATEN.argmax: (lambda out, x, dims: out.clone(), lambda x, dims, won, keep: won.clone()),
    _ATEN.max: (_second, _max),
    _ATEN.cummax: (_second, _along),
    _ATEN.topk: (_second, _along),
    _ATEN.max_pool2d_with_indices: (_second, _pool),
    _ATEN.adaptive_max_pool2d: (_second, _pool),
}
