"""Fast design: causal models, one further pass a cut s gives every k = t - s + 1 at once.

Idea     the tokens before the cut come from a donor; position t behind it keeps k = t - s + 1
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
from howfar.measure.swap.effects import check_labels, extra_nats, noise_of
from howfar.measure.swap.options import SwapOptions


class Fast:
    """Effects at every k from one pass a cut: position t keeps k = t - s + 1 tokens.

    moved, worse, floor, top: as in `Paired`, but the window ends at the last position: nothing is
    known beyond, and `top` is a measured point like any other.
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
        self.models = [probe.ask(model, seqs) for model in models]
        self.seqs, self.batch, self.passes = seqs, options.batch, 0
        self.labels = labels
        if labels is not None and labels.ndim != 2:
            message = f"The fast design needs labels (N, L), got {tuple(labels.shape)}."
            raise UsageError("E-SHAPE", message, 'one label a position, or design="paired".')
        rng = Seeds(options.seed).numpy("swap donors")
        self.given = [
            probe.donor_tokens(seqs, way)
            for way in probe.donors(len(seqs.tokens), options.donors, rng)
        ]
        evenly = np.linspace(0, length, options.cuts + 2).round().astype(int)[1:-1]
        self.cuts = sorted({max(1, int(cut)) for cut in evenly})
        self.window = self.top = length - self.cuts[-1]
        self.places = slice(self.cuts[0] - 1, length)
        found = [self._model(model, options.divergence) for model in self.models]
        self.kind = found[0][4]
        self.noise = max(noise for _, _, noise, *_ in found)
        self.floor = max(floor for _, _, _, floor, _ in found)
        self.moved = {
            k: np.stack([moved[:, k] for moved, *_ in found]) for k in range(self.top + 1)
        }
        self.worse: dict[int, np.ndarray] = {}
        if labels is not None:
            self.worse = {k: np.stack([worse[:, k] for _, worse, *_ in found]) for k in self.moved}

    def at(self, k: int) -> np.ndarray:
        """Mean divergence with k tokens kept: (S, N)."""
        return self.moved[k]

    def _model(
        self, model: probe.Asked, divergence: str
    ) -> tuple[np.ndarray, np.ndarray, float, float, str]:
        """One model's (N, K) effects and extra losses, its noise, floor and divergence."""
        clean_NLV = probe.answers_everywhere(model, self.seqs, self.batch, self.places)
        again_NLV = probe.answers_everywhere(model, self.seqs, self.batch, self.places)
        kind = probe.divergence_kind(divergence, self.seqs.tokens, clean_NLV.shape[2])
        noise, floor = noise_of(kind, [model], [clean_NLV], [again_NLV])
        labels_NL = None if self.labels is None else self.labels[:, self.places]
        check_labels(labels_NL, clean_NLV.shape[2])
        self.passes += 2
        moved = np.zeros((len(self.seqs.tokens), self.top + 1))
        worse = np.zeros_like(moved)
        place_L = torch.arange(self.seqs.tokens.shape[1])
        for given in self.given:
            for cut in self.cuts:
                old_NL = (place_L < cut)[None, :].expand(self.seqs.tokens.shape[:2])
                swapped = probe.where_tokens(old_NL, given, self.seqs.tokens)
                part = probe.Sequences(swapped, self.seqs.lengths, self.seqs.targets)
                other_NLV = probe.answers_everywhere(model, part, self.batch, self.places)
                self.passes += 1
                first = cut - 1 - self.places.start
                here = slice(first, first + self.top + 1)
                moved += probe.diverge(kind, clean_NLV[:, here], other_NLV[:, here])
                if labels_NL is not None:
                    worse += extra_nats(other_NLV[:, here], clean_NLV[:, here], labels_NL[:, here])
        count = len(self.given) * len(self.cuts)
        return moved / count, worse / count, noise, floor, kind
