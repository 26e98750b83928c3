"""What a model's modules return in a pass, by name: the tensors that may be states.

Idea     a hook on every module asked for. A module called once gives its output under its own
         name; a recurrent one a tensor a layer, "name layer 2"; one called once a token (a cell in
         a loop) its outputs in order of time; one called several times otherwise "name call 2".
         "into the head" is what the linear map that made the model's output was given
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from howfar.core.protocols import Predict
from howfar.measure.probe import Sequences
from howfar.measure.retention.recurrent import layer_states
from howfar.measure.watch import passing, quiet

HEAD = "into the head"
SAMPLES = 4  # rows whose last tokens are changed to find the newest token a state sees

Take = Callable[[str, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Watch:
    """What to keep of a pass: modules by name, the head, and those that are called once a token."""

    names: tuple[str, ...]
    head: str = ""
    stepwise: frozenset[str] = frozenset()


class Trace:
    """One pass over a few rows, every module watched.

    Attributes:
        length: tokens a row; lengths: the real ones. tensors: by key, in order of the calls.
        given: the first tensor each module was given. called: names in order of their first
            call's end. embeddings: those given the tokens.
        head: the linear map whose output is the model's. stepwise: modules called once a token.
    """

    def __init__(self, tokens: Tensor, lengths: Tensor) -> None:
        self.tokens, self.lengths = tokens, lengths
        self.length = tokens.shape[1]
        self.tensors: dict[str, Tensor] = {}
        self.given: dict[str, Tensor] = {}
        self.called: list[str] = []
        self.embeddings: list[str] = []
        self.head = ""
        self.stepwise: frozenset[str] = frozenset()
        self._linear: dict[str, Any] = {}
        self._calls: dict[str, list[Tensor]] = {}
        self._owner: dict[str, str] = {}

    def see(self, name: str, module: nn.Module, args: Any, keywords: Any, output: Any) -> None:  # noqa: ANN401
        """Note one call."""
        if name not in self.called:
            self.called.append(name)
        given = args[0] if args and isinstance(args[0], Tensor) else None
        if given is not None:
            self.given.setdefault(name, given)
            if isinstance(module, nn.Linear):
                self._linear[name] = output
            if isinstance(module, nn.Embedding) and _same(given, self.tokens):
                self.embeddings.append(name)
        for key, x in _returned(name, module, args, keywords, output):
            self._calls.setdefault(key, []).append(x)
            self._owner[key] = name

    def close(self, output: Any) -> "Trace":  # noqa: ANN401 - None: the pass did not end
        """Sort what was seen; `output` is the model's."""
        once = {key for key, parts in self._calls.items() if _once_a_token(parts, self.length)}
        self.stepwise = frozenset(self._owner[key] for key in once)
        for key, parts in self._calls.items():
            if key in once:
                self.tensors[key] = _in_time(parts)
                continue
            for place, x in enumerate(parts):
                self.tensors[key if place == 0 else f"{key} call {place + 1}"] = x
        for name, result in self._linear.items():
            if output is not None and result is output:
                self.head, self.tensors[HEAD] = name, self.given[name]
        return self


def run(
    predict: Predict, watch: Watch, tokens: Tensor, lengths: Tensor, take: Take | None = None
) -> dict[str, Tensor]:
    """One pass: what the watched modules returned, by key.

    take: applied to each tensor as soon as it is complete, such as a choice of times, so that a
    batch's states need not all be held.
    """
    cut = take or (lambda key, x: x)
    found: dict[str, Tensor] = {}
    steps: dict[str, list[Tensor]] = {}
    calls: dict[str, int] = {}

    def see(name: str, module: nn.Module, args: Any, keywords: Any, output: Any) -> None:  # noqa: ANN401
        if name == watch.head and args:
            found[HEAD] = cut(HEAD, args[0])
        if name not in watch.names:
            return
        calls[name] = calls.get(name, 0) + 1
        for key, x in _returned(name, module, args, keywords, output):
            if name in watch.stepwise:
                steps.setdefault(key, []).append(x)
                continue
            again = key if calls[name] == 1 else f"{key} call {calls[name]}"
            found[again] = cut(again, x)

    watched = dict.fromkeys([*watch.names, *([watch.head] if watch.head else [])])
    with torch.no_grad(), quiet(predict, hooks=True), passing(predict, list(watched), see):
        predict(tokens, lengths)
    return found | {key: cut(key, _in_time(parts)) for key, parts in steps.items()}


def trace(predict: nn.Module, seqs: Sequences, rows: int, share: float) -> Trace:
    """Watch every module over `rows` rows cut to a share of their columns.

    A pass that fails on cut rows (a model of fixed length) still tells what was called.
    """
    length = max(1, int(seqs.lengths.max() * share + 0.5))
    order = seqs.lengths.argsort(descending=True, stable=True)
    index = order[torch.arange(rows) % len(order)]
    tokens, lengths = seqs.tokens[index][:, :length], seqs.lengths[index].clamp(max=length)
    found = Trace(tokens, lengths)
    names = [name for name, _ in predict.named_modules()]
    output = None
    try:
        with torch.no_grad(), quiet(predict, hooks=True), passing(predict, names, found.see):
            output = predict(tokens, lengths)
    except Exception:
        if share == 1.0:
            raise
    return found.close(output)


def newest_of_last(
    predict: Predict, seqs: Sequences, key: str, time: int, watch: Watch, reach: int
) -> int:
    """The newest token that can move the last state in time: change the last tokens, more and more.

    Row r has everything from token L - r on replaced by another sequence's; row 0 is unchanged.
    """
    order = seqs.lengths.argsort(descending=True, stable=True)
    length = int(seqs.lengths.max())
    rows = min(length, reach)
    newest = -1
    for sample in range(min(SAMPLES, len(order) - 1)):
        row, other = seqs.tokens[order[sample]][:length], seqs.tokens[order[sample + 1]][:length]
        first = length - torch.arange(rows + 1)
        changed = torch.arange(length)[None, :] >= first[:, None]
        changed = changed[..., None] if row.ndim == 2 else changed
        tokens = torch.where(changed, other, row)
        states = run(predict, watch, tokens, torch.full((rows + 1,), length))[key]
        last = states.select(time, states.shape[time] - 1).flatten(1)
        gap = (last - last[0]).abs().amax(1)
        moved = gap > 64 * torch.finfo(last.dtype).eps * last.abs().amax()
        if bool(moved.any()):
            newest = max(newest, length - int(moved.int().argmax()))
    return newest if newest >= 0 else length - 1


def _same(ids: Tensor, tokens: Tensor) -> bool:
    return ids.shape == tokens.shape and not ids.is_floating_point() and torch.equal(ids, tokens)


def _returned(
    name: str,
    module: nn.Module,
    args: Any,  # noqa: ANN401 - whatever a stranger's module takes and returns
    keywords: Any,  # noqa: ANN401
    output: Any,  # noqa: ANN401
) -> list[tuple[str, Tensor]]:
    """The tensors of one call, by key."""
    if isinstance(module, nn.RNNBase):
        states = layer_states(module, args, keywords)
        several = len(states) > 1
        return [(f"{name} layer {i + 1}" if several else name, x) for i, x in enumerate(states)]
    if isinstance(module, nn.LSTMCell):
        return [(name, torch.cat(output, dim=-1))]
    while not isinstance(output, Tensor):
        parts = list(output.values()) if hasattr(output, "values") else output
        if not isinstance(parts, list | tuple) or not parts:
            return []
        output = parts[0]
    if output.ndim == 4 and output.shape[-1] == 1:
        output = output[..., 0]  # a convolution over images one column wide
    return [(name, output.detach())]


def _once_a_token(parts: list[Tensor], length: int) -> bool:
    flat = all(x.ndim == 2 or (x.ndim == 3 and x.shape[1] == 1) for x in parts)
    return len(parts) == length > 1 and flat


def _in_time(parts: list[Tensor]) -> Tensor:
    """Outputs of single steps, (B, D) or (B, 1, D), as (B, steps, D)."""
    return torch.stack(parts, dim=1) if parts[0].ndim == 2 else torch.cat(parts, dim=1)
