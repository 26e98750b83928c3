"""Paired design: one forward pass a k over the same targets, for any model.

Idea     x^(k) keeps the k tokens nearest to the target, farther ones are changed (from a donor
         sequence, unless told otherwise); effect = D(f(x), f(x^(k))) at the target,
         worse = loss(x^(k)) - loss(x)
Shapes   each effect is (S, N): S models, N sequences
"""

import numpy as np
from torch import Tensor

from howfar.core.errors import HowfarError, UsageError
from howfar.measure import probe
from howfar.measure.stats import log_grid
from howfar.measure.swap.asking import Asking
from howfar.measure.swap.change import CHANGES, draws
from howfar.measure.swap.effects import noise_of
from howfar.measure.swap.options import SwapOptions
from howfar.measure.swap.region import Region


class Paired:
    """Effects at chosen k: one forward pass a k over the same targets.

    moved, worse: k -> (S, N); `top` is the k at which nothing is changed, by construction.
    whole: (S, N), the effect of a swap of the whole region: what shares are shares of.
    moved_by_way, worse_by_way, whole_by_way: the same before the mean over donors, (W, S, N).
    ways, given: the donors of every row, and their tokens, one entry a donor.
    noise: what repeating the clean pass moves; floor: that and what rounding may, in units of the
    divergence.

    Args:
        asking: the models.
        seqs: the rows that are changed.
        region: which of their places are far at a k.
        options: of these the change, donors, divergence, grid and seed.
        labels_N: the class at each target, or None.
    """

    def __init__(
        self,
        asking: Asking,
        seqs: probe.Sequences,
        region: Region,
        options: SwapOptions,
        labels_N: Tensor | None = None,
    ) -> None:
        self.asking, self.models, self.seqs, self.region = asking, asking.models, seqs, region
        self.how, self.labels = options.how, labels_N
        self.draws = draws(seqs, options)
        self.ways = [draw.way for draw in self.draws]
        self.given = [draw.given for draw in self.draws]
        self.clean = asking.answers(seqs)
        self.kind = probe.divergence_kind(options.divergence, asking.tokens, self.clean[0].shape[1])
        if labels_N is not None:
            probe.check_labels(labels_N, self.clean[0].shape[1])
        self.noise, self.floor = noise_of(self.kind, self.models, self.clean, asking.answers(seqs))
        self.window = self.top = region.top
        nothing = np.zeros((len(self.draws), len(self.models), len(seqs.tokens)))
        self.moved_by_way = {self.top: nothing}
        self.worse_by_way = {} if labels_N is None else {self.top: nothing}
        self.moved: dict[int, np.ndarray] = {self.top: nothing.mean(0)}
        self.worse: dict[int, np.ndarray] = {} if labels_N is None else {self.top: nothing.mean(0)}
        for k in {0, *(options.grid or log_grid(self.window - 1))}:
            if k < self.top:
                self.at(k)
        plain = self.how == "swap" and bool((region.far(0) == region.everything).all())
        by_way = self.moved_by_way[0] if plain else self.change("swap", region.everything)[0]
        self.whole_by_way = by_way
        self.whole = self.moved[0] if plain else by_way.mean(0)

    @property
    def passes(self) -> float:
        """Forward passes over all sequences, so far."""
        return self.asking.passes

    def spent(self, passes: float) -> None:
        """Count what was asked outside."""
        self.asking.passes += passes

    def at(self, k: int) -> np.ndarray:
        """Mean divergence over donors with k tokens kept: (S, N). Remembered."""
        if k not in self.moved:
            self.moved_by_way[k], worse = self.change(self.how, self.region.far(k))
            self.moved[k] = self.moved_by_way[k].mean(0)
            if self.labels is not None:
                self.worse_by_way[k], self.worse[k] = worse, worse.mean(0)
        return self.moved[k]

    def change(self, how: str, far_NW: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Effect and extra loss of changing some places, donor by donor: (W, S, N) each."""
        moved = np.zeros((len(self.draws), len(self.models), len(self.seqs.tokens)))
        worse = np.zeros_like(moved)
        for way, draw in enumerate(self.draws):
            part = CHANGES[how](self.seqs, far_NW, self.region, draw)
            for s, answer_NV in enumerate(self._answers(part)):
                moved[way, s] = probe.diverge(self.kind, self.clean[s], answer_NV)
                if self.labels is not None:
                    worse[way, s] = probe.extra_nats(answer_NV, self.clean[s], self.labels)
        return moved, worse

    def _answers(self, part: probe.Sequences) -> list[Tensor]:
        if part.tokens.shape == self.seqs.tokens.shape:
            return self.asking.answers(part)
        try:
            return self.asking.answers(part)
        except HowfarError:
            raise
        except Exception as error:  # a stranger's model may fail on another length in any way
            message = f"The model cannot be asked about rows of {part.tokens.shape[1]} tokens."
            raise UsageError("E-OPTION", message, 'how="swap", which keeps lengths.') from error
