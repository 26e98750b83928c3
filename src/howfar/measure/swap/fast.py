"""Fast design: causal models, one further pass a cut s gives every k = t - s + 1 at once.

Idea     the tokens before the cut come from a donor; position t behind it keeps k = t - s + 1.
         A streaming model reads a row up to the cut once: that is the clean row's past and, for
         the row it gives to, the changed one's; only what follows the cut is run twice
Cost     one cut, one donor, 64 rows: 2.1 passes; of a streaming model 1.6
Shapes   each effect is (S, N): S models, N sequences
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from howfar.core.errors import UsageError
from howfar.core.protocols import Predict
from howfar.core.seeds import Seeds
from howfar.measure import probe
from howfar.measure.swap.options import SwapOptions


class Fast:
    """Effects at every k from one pass a cut: position t keeps k = t - s + 1 tokens.

    moved, worse, whole, their parts by way, floor, top: as in `Paired`, but the window ends at the
    last position: nothing is known beyond, and `top` is a measured point like any other. noise:
    what asking a small share of the rows or tokens twice moves. passes: what was asked, looks and
    repeats too.
    """

    def __init__(
        self,
        models: Sequence[Predict],
        seqs: probe.Sequences,
        labels: Tensor | None,
        options: SwapOptions,
    ) -> None:
        length = int(seqs.lengths.min())
        if length < 2:
            raise UsageError("E-SHAPE", "The fast design needs 2 tokens a row.", 'design="paired".')
        if labels is not None and labels.ndim != 2:
            message = f"The fast design needs labels (N, L), got {tuple(labels.shape)}."
            raise UsageError("E-SHAPE", message, 'one label a position, or design="paired".')
        self.seqs, self.labels, self.length = seqs, labels, length
        rng = Seeds(options.seed).numpy("swap donors")
        self.ways = probe.donors(len(seqs.tokens), options.donors, rng)
        self.given = [probe.donor_tokens(seqs, way) for way in self.ways]
        evenly = np.linspace(0, length, options.cuts + 2).round().astype(int)[1:-1]
        self.cuts: list[int] = sorted({max(1, int(cut)) for cut in evenly})
        self.window = self.top = length - self.cuts[-1]
        walks = [probe.Walk(model, seqs, options.batch) for model in models]
        self.models = [walk.asked for walk in walks]
        self.kind = probe.divergence_kind(options.divergence, seqs.tokens, walks[0].width)
        self.noise = max(walk.noise(self.kind, self.cuts[0] - 1, length) for walk in walks)
        found = [self._effects(walk) for walk in walks]
        self.floor = self.noise + max(rounding for _, _, rounding in found)
        self.passes = sum(walk.passes for walk in walks)
        kept = range(self.top + 1)
        moved_WSNK = np.stack([moved for moved, _, _ in found], axis=1)
        self.moved_by_way = {k: moved_WSNK[..., k] for k in kept}
        moved_SNK = moved_WSNK.mean(0)
        self.moved = {k: moved_SNK[..., k] for k in kept}
        self.worse_by_way: dict[int, np.ndarray] = {}
        if labels is not None:
            worse_WSNK = np.stack([worse for _, worse, _ in found], axis=1)
            self.worse_by_way = {k: worse_WSNK[..., k] for k in kept}
        self.worse = {k: worse.mean(0) for k, worse in self.worse_by_way.items()}
        self.whole, self.whole_by_way = self.moved[0], self.moved_by_way[0]

    def at(self, k: int) -> np.ndarray:
        """Mean divergence with k tokens kept: (S, N)."""
        moved: np.ndarray = self.moved[k]
        return moved

    def spent(self, passes: float) -> None:
        """Count what was asked outside."""
        self.passes += passes

    def _effects(self, walk: probe.Walk) -> tuple[np.ndarray, np.ndarray, float]:
        """One model's (W, N, K) effects and extra losses, and what rounding may make of nothing."""
        first = self.cuts[0] - 1
        if self.labels is not None:
            probe.check_labels(self.labels[:, first : self.length], walk.width)
        segments = [
            probe.Segment(cut - 1, cut + self.top, tuple(self._changed(cut))) for cut in self.cuts
        ]
        moved = np.zeros((len(self.given), len(self.seqs.tokens), self.top + 1))
        worse = np.zeros_like(moved)
        largest = 0.0
        for block in walk.compare(segments):
            begin = segments[block.segment].begin
            rows = block.rows.numpy()
            here = np.s_[block.changed, rows, block.first - begin : block.last - begin]
            moved[here] += probe.diverge(self.kind, block.clean, block.other)
            if self.labels is not None:
                labels = self.labels[block.rows, block.first : block.last]
                worse[here] += probe.extra_nats(block.other, block.clean, labels)
            largest = max(largest, block.largest)
        moved, worse = moved / len(self.cuts), worse / len(self.cuts)
        rounding = probe.resolution(self.kind, torch.tensor([largest]).double(), walk.asked.eps)
        return moved, worse, rounding

    def _changed(self, cut: int) -> list[probe.Changed]:
        return [
            probe.Changed(given, 0, cut, torch.from_numpy(way))
            for given, way in zip(self.given, self.ways, strict=True)
        ]
