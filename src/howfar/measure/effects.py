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

from howfar.core.errors import DataError, UsageError
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
    levels: shares at which the ladder is read off. batch: rows a forward pass.
    tolerance_nats: less extra loss than this counts as none.
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
    levels: tuple[float, ...] = (0.5, 0.05, 0.01, 0.001)
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
            "levels": all(0 < level < 1 for level in self.levels),
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
        self.labels = _at_targets(labels, seqs)
        _check_labels(self.labels, self.clean[0].shape[1])
        again = [probe.answers(model, seqs, self.batch) for model in self.models]
        self.noise, self.floor = _noise(self.kind, self.models, self.clean, again)
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
        self.noise = max(noise for _, _, noise, _ in found)
        self.floor = max(floor for _, _, _, floor in found)
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
    ) -> tuple[np.ndarray, np.ndarray, float, float]:
        """One model's (N, K) effects and extra losses, its noise and its floor."""
        clean_NLV = probe.answers_everywhere(model, self.seqs, self.batch, self.places)
        again_NLV = probe.answers_everywhere(model, self.seqs, self.batch, self.places)
        kind = probe.divergence_kind(divergence, self.seqs.tokens, clean_NLV.shape[2])
        noise, floor = _noise(kind, [model], [clean_NLV], [again_NLV])
        labels_NL = None if self.labels is None else self.labels[:, self.places]
        _check_labels(labels_NL, clean_NLV.shape[2])
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
                    worse += _extra_nats(other_NLV[:, here], clean_NLV[:, here], labels_NL[:, here])
        count = len(self.given) * len(self.cuts)
        return moved / count, worse / count, noise, floor


def _noise(
    kind: str, models: Sequence[probe.Asked], clean: Sequence[Tensor], again: Sequence[Tensor]
) -> tuple[float, float]:
    """What a repeated pass moves on average, and that with what rounding may."""
    repeats = [float(probe.diverge(kind, c, a).mean()) for c, a in zip(clean, again, strict=True)]
    rounding = (probe.resolution(kind, c, m.eps) for c, m in zip(clean, models, strict=True))
    return max(repeats), max(repeats) + max(rounding)


def _at_targets(labels: Tensor | None, seqs: probe.Sequences) -> Tensor | None:
    if labels is None:
        return None
    if tuple(labels.shape) not in ((len(seqs.tokens),), tuple(seqs.tokens.shape[:2])):
        message = f"labels must be (N, L) or (N,), got {tuple(labels.shape)}."
        raise UsageError("E-SHAPE", message, "one class a position, or one at each target.")
    if labels.ndim == 1:
        return labels
    return labels[torch.arange(len(labels)), seqs.targets]


def _check_labels(labels: Tensor | None, classes: int) -> None:
    """Labels at the measured positions must be classes of the output."""
    if labels is None:
        return
    if classes < 2 or bool((labels < 0).any() | (labels >= classes).any()):
        message = f"A label at a measured position is none of the output's {classes} classes."
        raise UsageError("E-LABEL", message, "labels 0 .. V - 1 there, or no labels.")


def _extra_nats(other: Tensor, clean: Tensor, labels: Tensor) -> np.ndarray:
    """Extra loss -log p(label) of `other` over `clean`, along the last axis."""
    index = labels[..., None].long()
    gain = clean.log_softmax(-1).gather(-1, index) - other.log_softmax(-1).gather(-1, index)
    if not bool(gain.isfinite().all()):
        message = "The model gives a label no probability at all: its loss is infinite."
        raise DataError("E-OUTPUT", message, "finite logits, or no labels.")
    return np.asarray(gain[..., 0])
