"""What moves when only the last k tokens are kept: the raw effects behind swap reach.

Idea     x^(k) keeps the last k tokens before the target, older ones come from a donor sequence;
         effect = D(f(x), f(x^(k))) at the target, worse = loss(x^(k)) - loss(x)
Designs  Paired: one forward pass a k, the same targets for every k, any model
         Fast: causal models, one further pass a cut s gives every k = t - s + 1 at once
Shapes   each effect is (S, N): S models, N sequences
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from howfar.core.errors import UsageError
from howfar.core.protocols import Predict
from howfar.core.seeds import Seeds
from howfar.measure import probe
from howfar.measure.stats import log_grid


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapOptions:
    """How to measure.

    eps: share of the effect that may come from beyond the reach. ci: level of the intervals.
    design: "paired" or "fast"; cuts: how many cut positions the fast design averages.
    divergence: "auto", "js" (bits), "kl" (nats) or "l2". donors: donor sequences a sequence.
    grid: kept tokens to try (None: two an octave); exact: bisect crossings to the exact token.
    batch: rows a forward pass. tolerance_nats: less extra loss than this counts as none.
    trained_length: warn where the window is longer. structural: the reach the model declares.
    """

    eps: float = 0.05
    design: str = "paired"
    divergence: str = "auto"
    donors: int = 1
    ci: float = 0.95
    seed: int = 0
    resamples: int = 1000
    batch: int = 64
    grid: tuple[int, ...] | None = None
    exact: bool = True
    cuts: int = 1
    tolerance_nats: float = 0.01
    trained_length: int | None = None
    structural: int | None = None

    def __post_init__(self) -> None:
        checks = {
            "eps": 0 < self.eps < 1,
            "ci": 0 < self.ci < 1,
            "donors": self.donors >= 1,
            "resamples": self.resamples >= 1,
            "batch": self.batch >= 1,
            "cuts": self.cuts >= 1,
            "design": self.design in ("paired", "fast"),
            "grid": self.grid is None or (len(self.grid) > 0 and min(self.grid) >= 0),
        }
        for name, fine in checks.items():
            if not fine:
                message = f"{name}={getattr(self, name)!r} is out of range."
                raise UsageError("E-OPTION", message, "`help(howfar.reach)` gives the ranges.")


class Paired:
    """Effects at chosen k: one forward pass a k over the same targets.

    moved, worse: k -> (S, N); `top` is the k at which nothing is swapped, by construction.
    floor: what repeating the clean pass and rounding move, in units of the divergence.
    """

    def __init__(
        self,
        models: Sequence[Predict],
        seqs: probe.Sequences,
        labels: Tensor | None,
        options: SwapOptions,
    ) -> None:
        self.models, self.seqs, self.batch = models, seqs, options.batch
        rng = Seeds(options.seed).numpy("swap donors")
        ways = probe.donors(len(seqs.tokens), options.donors, rng)
        self.given = [probe.donor_tokens(seqs, way) for way in ways]
        self.clean = [probe.answers(model, seqs, self.batch) for model in models]
        self.kind = probe.divergence_kind(options.divergence, seqs.tokens, self.clean[0].shape[1])
        self.labels = _at_targets(labels, seqs)
        again = [probe.answers(model, seqs, self.batch) for model in models]
        self.floor = _floor(self.kind, self.clean, again, probe.output_dtype(models[0], seqs))
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
                    worse[s] += _extra_nats(answer_NV, self.clean[s], self.labels)
                self.passes += 1
        self.moved[k] = moved / len(self.given)
        if self.labels is not None:
            self.worse[k] = worse / len(self.given)
        return self.moved[k]


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
        self.models, self.seqs, self.batch, self.passes = models, seqs, options.batch, 0
        self.labels = labels
        rng = Seeds(options.seed).numpy("swap donors")
        self.given = [
            probe.donor_tokens(seqs, way)
            for way in probe.donors(len(seqs.tokens), options.donors, rng)
        ]
        evenly = np.linspace(0, length, options.cuts + 2).round().astype(int)[1:-1]
        self.cuts = sorted({max(1, int(cut)) for cut in evenly})
        self.window = self.top = length - self.cuts[-1]
        found = [self._model(model, options.divergence) for model in models]
        self.floor = max(floor for _, _, floor in found)
        self.moved = {
            k: np.stack([moved[:, k] for moved, _, _ in found]) for k in range(self.top + 1)
        }
        self.worse: dict[int, np.ndarray] = {}
        if labels is not None:
            self.worse = {k: np.stack([worse[:, k] for _, worse, _ in found]) for k in self.moved}

    def at(self, k: int) -> np.ndarray:
        """Mean divergence with k tokens kept: (S, N)."""
        return self.moved[k]

    def _model(self, model: Predict, divergence: str) -> tuple[np.ndarray, np.ndarray, float]:
        """One model's (N, K) effects and extra losses, and its floor."""
        clean_NLV = probe.answers_everywhere(model, self.seqs, self.batch)
        again_NLV = probe.answers_everywhere(model, self.seqs, self.batch)
        kind = probe.divergence_kind(divergence, self.seqs.tokens, clean_NLV.shape[2])
        dtype = probe.output_dtype(model, self.seqs)
        floor = _floor(kind, [clean_NLV], [again_NLV], dtype)
        self.passes += 2
        moved = np.zeros((len(self.seqs.tokens), self.top + 1))
        worse = np.zeros_like(moved)
        place_L = torch.arange(self.seqs.tokens.shape[1])
        for given in self.given:
            for cut in self.cuts:
                old_NL = (place_L < cut)[None, :].expand(self.seqs.tokens.shape[:2])
                swapped = probe.where_tokens(old_NL, given, self.seqs.tokens)
                part = probe.Sequences(swapped, self.seqs.lengths, self.seqs.targets)
                other_NLV = probe.answers_everywhere(model, part, self.batch)
                self.passes += 1
                here = slice(cut - 1, cut + self.top)
                moved += probe.diverge(kind, clean_NLV[:, here], other_NLV[:, here])
                if self.labels is not None:
                    labels = self.labels[:, here]
                    worse += _extra_nats(other_NLV[:, here], clean_NLV[:, here], labels)
        count = len(self.given) * len(self.cuts)
        return moved / count, worse / count, floor


def _floor(
    kind: str, clean: Sequence[Tensor], again: Sequence[Tensor], dtype: torch.dtype
) -> float:
    repeats = [float(probe.diverge(kind, c, a).mean()) for c, a in zip(clean, again, strict=True)]
    return max(repeats) + max(probe.resolution(kind, c, dtype) for c in clean)


def _at_targets(labels: Tensor | None, seqs: probe.Sequences) -> Tensor | None:
    if labels is None or labels.ndim == 1:
        return labels
    return labels[torch.arange(len(labels)), seqs.targets]


def _extra_nats(other: Tensor, clean: Tensor, labels: Tensor) -> np.ndarray:
    """Extra loss -log p(label) of `other` over `clean`, along the last axis."""
    index = labels[..., None]
    gain = clean.log_softmax(-1).gather(-1, index) - other.log_softmax(-1).gather(-1, index)
    return gain[..., 0].numpy()
