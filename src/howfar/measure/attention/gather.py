"""Run a model over all rows, batch by batch, and add up what its attention says.

Idea     rows of equal length run together, so that there is no padding; the queries looked at are
         one drawn from each of M equal stretches of the row
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from howfar.core.errors import UsageError
from howfar.core.protocols import Predict
from howfar.core.seeds import Seeds
from howfar.measure.attention.options import AttentionOptions
from howfar.measure.attention.rollout import Rollout
from howfar.measure.attention.rows import Attended, of_weights
from howfar.measure.attention.tally import Looked, Tally, View, look
from howfar.measure.attention.watching import watched
from howfar.measure.watch import quiet

Take = Callable[[Attended], None]
Weights = Callable[[Tensor, Tensor], Sequence[Tensor]]

AHEAD = 1e-6  # less attention to later positions is what a finite mask leaves


@dataclass(slots=True)
class Gathered:
    """All that was seen.

    past, bare, ahead, weighted: a row each, its mass by lag averaged over layers and heads; order:
    which rows they are. uniform: by layer, summed over rows, the distance and entropy of attention
    to all visible positions alike. shortest_view: positions the earliest query sees.
    """

    causal: bool
    tally: Tally = field(default_factory=Tally)
    rolled: Tally = field(default_factory=Tally)
    uniform: list[dict[str, float]] = field(default_factory=list)
    bare: list[np.ndarray] = field(default_factory=list)
    past: list[np.ndarray] = field(default_factory=list)
    ahead: list[np.ndarray] = field(default_factory=list)
    weighted: list[np.ndarray] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    rows: int = 0
    left_out: int = 0
    shortest_view: int = 0
    not_rolled: bool = False


class Gather:
    """How one model is run: `run` asks it, whatever way its weights are obtained."""

    def __init__(
        self,
        run: Callable[[Tensor, Tensor, Take], int],
        tokens: Tensor,
        lengths: Tensor,
        options: AttentionOptions,
    ) -> None:
        self.run, self.tokens, self.lengths, self.options = run, tokens, lengths, options

    def all(self) -> Gathered:
        """Every row.

        Raises:
            UsageError: E-ATTENTION where no attention is seen.
        """
        found = Gathered(causal=self._causal())
        for index in self._batches():
            self._batch(index, found)
        return found

    def _batches(self) -> Iterator[Tensor]:
        """Row numbers of equal length."""
        for length in np.unique(self.lengths.numpy()).tolist():
            if length < 2:
                continue
            rows = max(1, min(self.options.batch, self.options.budget // length))
            here = (self.lengths == length).nonzero()[:, 0]
            yield from torch.split(here, rows)

    def _causal(self) -> bool:
        """Whether the longest row's attention leaves out what lies ahead, in every layer."""
        longest = self.lengths.argmax()[None]
        length = int(self.lengths.max())
        ahead: list[float] = []

        def take(attended: Attended) -> None:
            place_M = torch.arange(0, attended.length, max(1, attended.length // 16))
            view = View(place_M, torch.zeros(1, attended.length, dtype=torch.bool))
            ahead.append(float(look(attended, view).numbers["ahead"].max()))

        left_out = self.run(self.tokens[longest, :length], torch.tensor([length]), take)
        if not ahead:
            seen = f"{left_out} calls to another sequence, " if left_out else ""
            message = f"No attention was seen in the model: {seen}none of a sequence to itself."
            hint = 'weights=..., or a model with attn_implementation "sdpa" or "eager".'
            raise UsageError("E-ATTENTION", message, hint)
        return max(ahead) <= AHEAD

    def _batch(self, index: Tensor, found: Gathered) -> None:
        length = int(self.lengths[index[0]])
        tokens = self.tokens[index, :length]
        views: dict[int, View] = {}
        rollout = Rollout(self.options.rollout)
        sums: list[Looked] = []
        layer = 0

        def take(attended: Attended) -> None:
            nonlocal layer
            size = attended.length
            if size not in views:
                views[size] = self._view(tokens, size, causal=found.causal)
            looked = look(attended, views[size])
            found.tally.add(layer, attended, looked)
            _uniform(found, layer, views[size], len(index))
            sums.append(_over_heads(looked))
            rollout.add(attended)
            layer += 1

        found.left_out += self.run(tokens, self.lengths[index], take)
        if found.rows and layer != len(found.tally.names):
            message = f"{layer} calls of attention here, {len(found.tally.names)} elsewhere."
            raise UsageError("E-ATTENTION", message, "a model that calls all layers for all rows.")
        found.order += index.tolist()
        found.rows += len(index)
        seen = min(int(view.places.min()) for view in views.values()) + 1
        found.shortest_view = min(found.shortest_view or seen, seen)
        self._keep(found, sums)
        rolled = rollout.attended()
        found.not_rolled |= rolled is None and self.options.rollout > 0
        if rolled is not None:
            looked = look(rolled, views[rolled.length])
            found.rolled.add(0, rolled, looked)
            found.rolled.rows += len(index)

    def _keep(self, found: Gathered, sums: Sequence[Looked]) -> None:
        """Means over layers, a row each."""
        longest = max(part.past.shape[-1] for part in sums)

        def mean(parts: Sequence[Tensor | None]) -> list[np.ndarray]:
            there = [part for part in parts if part is not None]
            if len(there) < len(parts):
                return []
            total = sum(
                torch.nn.functional.pad(part, (0, longest - part.shape[-1])) for part in there
            )
            return list((total / len(there)).numpy()) if isinstance(total, Tensor) else []

        found.past += mean([part.past for part in sums])
        found.bare += mean([part.bare for part in sums])
        found.ahead += mean([part.ahead for part in sums])
        found.weighted += mean([part.weighted for part in sums])

    def _view(self, tokens: Tensor, size: int, *, causal: bool) -> View:
        """One query from each of M stretches of positions first .. size - 1."""
        first = self.options.first
        first = (size // 2 if causal else 0) if first is None else first
        num = min(self.options.queries, size - first)
        if num < 1:
            message = f"first={first}, and rows have {size} positions."
            raise UsageError("E-OPTION", message, "a smaller first=.")
        rng = Seeds(self.options.seed).numpy(f"attention queries {size}")
        edge_M = first + np.arange(num + 1) * (size - first) / num
        place_M = np.floor(edge_M[:-1] + rng.random(num) * np.diff(edge_M)).astype(np.int64)
        sinks_BT = torch.zeros(len(tokens), size, dtype=torch.bool)
        for place in self.options.sinks:
            sinks_BT[:, place : place + 1] = True
        if self.options.special_ids and tuple(tokens.shape) == tuple(sinks_BT.shape):
            sinks_BT |= torch.isin(tokens.cpu(), torch.tensor(self.options.special_ids))
        return View(torch.from_numpy(np.unique(place_M.clip(max=size - 1))), sinks_BT)


def from_model(predict: Predict) -> Callable[[Tensor, Tensor, Take], int]:
    """Ask a model, and watch its attention calls."""

    def run(tokens: Tensor, lengths: Tensor, take: Take) -> int:
        with torch.no_grad(), quiet(predict, hooks=True):
            with watched(predict, len(tokens), tokens.shape[1], take) as watch:
                predict(tokens, lengths)
            return watch.left_out

    return run


def from_weights(weights: Weights) -> Callable[[Tensor, Tensor, Take], int]:
    """Ask a function that returns the weights of every layer, (B, H, T, T) each."""

    def run(tokens: Tensor, lengths: Tensor, take: Take) -> int:
        with torch.no_grad():
            given: Sequence[object] = weights(tokens, lengths)
        for layer, full in enumerate(given):
            found = None
            if isinstance(full, Tensor) and full.ndim in (3, 4):
                found = of_weights(f"layer {layer}", "given", full, len(tokens))
            if found is None:
                shape = tuple(getattr(full, "shape", ())) or type(full).__name__
                message = f"Weights of layer {layer} must be (B, H, T, T), got {shape}."
                raise UsageError("E-WEIGHTS", message, "a list of one tensor a layer.")
            take(found)
        return 0

    return run


def _uniform(found: Gathered, layer: int, view: View, rows: int) -> None:
    """What attention to all visible positions alike would show: distance and entropy."""
    t_M, size = view.places.double(), view.sinks.shape[1]
    if found.causal:
        distance, entropy = t_M / 2, (t_M + 1).log()
    else:
        ahead_M = size - 1 - t_M
        distance = (t_M * (t_M + 1) + ahead_M * (ahead_M + 1)) / 2 / size
        entropy = torch.full_like(t_M, size).log()
    if layer == len(found.uniform):
        found.uniform.append({"distance": 0.0, "entropy": 0.0})
    found.uniform[layer]["distance"] += rows * float(distance.mean())
    found.uniform[layer]["entropy"] += rows * float(entropy.mean())


def _over_heads(looked: Looked) -> Looked:
    """Masses averaged over heads: (B, T)."""
    weighted = None if looked.weighted is None else looked.weighted.mean(1)
    return Looked({}, looked.past.mean(1), looked.bare.mean(1), looked.ahead.mean(1), weighted)
