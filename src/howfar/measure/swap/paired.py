"""Paired design: one forward pass a k over the same targets, for any model.

Idea     x^(k) keeps the last k tokens before the target, older ones come from a donor sequence;
         effect = D(f(x), f(x^(k))) at the target, worse = loss(x^(k)) - loss(x)
Shapes   each effect is (S, N): S models, N sequences
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from howfar.core.protocols import Predict
from howfar.core.seeds import Seeds
from howfar.measure import probe
from howfar.measure.stats import log_grid
from howfar.measure.swap.effects import at_targets, check_labels, extra_nats, noise_of
from howfar.measure.swap.options import SwapOptions


class Paired:
    """Effects at chosen k: one forward pass a k over the same targets.

    moved, worse: k -> (S, N); `top` is the k at which nothing is swapped, by construction.
    noise: what repeating the clean pass moves; floor: that and what rounding may, in units of the
    divergence.
    """

    def __init__(
        self,
        models: Sequence[Predict],
        seqs: probe.Sequences,
        labels: Tensor | None,
        options: SwapOptions,
    ) -> None:
        self.models = [probe.ask(model, seqs) for model in models]
        self.seqs, self.batch = seqs, options.batch
        rng = Seeds(options.seed).numpy("swap donors")
        ways = probe.donors(len(seqs.tokens), options.donors, rng)
        self.given = [probe.donor_tokens(seqs, way) for way in ways]
        self.clean = [probe.answers(model, seqs, self.batch) for model in self.models]
        self.kind = probe.divergence_kind(options.divergence, seqs.tokens, self.clean[0].shape[1])
        self.labels = at_targets(labels, seqs)
        check_labels(self.labels, self.clean[0].shape[1])
        again = [probe.answers(model, seqs, self.batch) for model in self.models]
        self.noise, self.floor = noise_of(self.kind, self.models, self.clean, again)
        self.passes = 2 * len(models)
        self.window = self.top = seqs.window
        nothing = np.zeros((len(models), len(seqs.tokens)))
        self.moved: dict[int, np.ndarray] = {self.top: nothing}
        self.worse: dict[int, np.ndarray] = {} if labels is None else {self.top: nothing}
        for k in {0, *(options.grid or log_grid(self.window - 1))}:
            if k < self.top:
                self.at(k)

    def at(self, k: int) -> np.ndarray:
        """Mean divergence over donors with k tokens kept: (S, N). Remembered."""
        if k in self.moved:
            return self.moved[k]
        moved = np.zeros((len(self.models), len(self.seqs.tokens)))
        worse = np.zeros_like(moved)
        place_L = torch.arange(self.seqs.tokens.shape[1])
        old_NL = place_L[None, :] <= (self.seqs.targets - k)[:, None]
        for given in self.given:
            swapped = probe.where_tokens(old_NL, given, self.seqs.tokens)
            part = probe.Sequences(swapped, self.seqs.lengths, self.seqs.targets)
            for s, model in enumerate(self.models):
                answer_NV = probe.answers(model, part, self.batch)
                moved[s] += probe.diverge(self.kind, self.clean[s], answer_NV)
                if self.labels is not None:
                    worse[s] += extra_nats(answer_NV, self.clean[s], self.labels)
                self.passes += 1
        self.moved[k] = moved / len(self.given)
        if self.labels is not None:
            self.worse[k] = worse / len(self.given)
        return self.moved[k]
