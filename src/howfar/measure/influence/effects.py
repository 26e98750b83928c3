"""What a change of one token does to the outputs before and after it.

Idea     from the source: one changed row tells the effect at every lag at once. A streaming model
         runs the past of the source once, for the clean row and the changed one
Shapes   past (N, W) by lag 0 .. W - 1, ahead (N, F) by lag -1 .. -F, worse (N, W)
Cost     one source, one substitute, 64 rows: 2.1 passes; of a streaming model 1.6
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
from howfar.measure.influence.options import InfluenceOptions


@dataclass(frozen=True, slots=True)
class Effects:
    """Effects of several models, stacked: past (S, N, W), ahead (S, N, F), worse (S, N, W) or None.

    noise: what asking twice moves; floor: that and what rounding may. replaced: share of the
    sources whose substitute is another token. passes: forward passes over all rows.
    """

    past: np.ndarray
    ahead: np.ndarray
    worse: np.ndarray | None
    kind: str
    noise: float
    floor: float
    replaced: float
    passes: float


def places(sources: int | Sequence[int], length: int) -> tuple[int, ...]:
    """Source positions: as named, or so many that part the shortest row evenly.

    Raises:
        UsageError: E-OPTION for none, or one outside the shortest row.
    """
    if isinstance(sources, int):
        evenly = np.linspace(0, length, max(sources, 0) + 2).astype(int)[1:-1]
        named = tuple(sorted({int(place) for place in evenly}))
    else:
        named = tuple(sorted({int(place) for place in sources}))
    if not named or named[0] < 0 or named[-1] >= length:
        message = f"sources={sources!r} names no position of every row: the shortest has {length}."
        raise UsageError("E-OPTION", message, "how many, or positions counted from 0.")
    return named


def measure(
    models: Sequence[Predict],
    seqs: probe.Sequences,
    sources: tuple[int, ...],
    labels: Tensor | None,
    options: InfluenceOptions,
) -> Effects:
    """Ask every model, clean and with each source changed."""
    if labels is not None and labels.shape != seqs.tokens.shape[:2]:
        message = f"labels must be (N, L), got {tuple(labels.shape)}."
        raise UsageError("E-SHAPE", message, "one class a position.")
    given = _substitutes(seqs, sources, options)
    walks = [probe.Walk(model, seqs, options.batch) for model in models]
    kind = probe.divergence_kind(options.divergence, seqs.tokens, walks[0].width)
    length = int(seqs.lengths.min())
    noise = max(walk.noise(kind, 0, length) for walk in walks)
    found = [_one(walk, sources, given, labels, kind) for walk in walks]
    at_NS = [(part != seqs.tokens)[:, list(sources)] for part in given]
    moved = [part.flatten(2).any(-1) if part.ndim == 3 else part for part in at_NS]
    return Effects(
        past=np.stack([part.past for part in found]),
        ahead=np.stack([part.ahead for part in found]),
        worse=None if labels is None else np.stack([part.worse for part in found]),
        kind=kind,
        noise=noise,
        floor=noise + max(part.rounding for part in found),
        replaced=float(torch.stack(moved).double().mean()),
        passes=sum(walk.passes for walk in walks),
    )


@dataclass(frozen=True, slots=True)
class _One:
    past: np.ndarray
    ahead: np.ndarray
    worse: np.ndarray
    rounding: float


def _one(
    walk: probe.Walk,
    sources: tuple[int, ...],
    given: Sequence[Tensor],
    labels: Tensor | None,
    kind: str,
) -> _One:
    """One model's effects, averaged over sources and substitutes."""
    length = int(walk.seqs.lengths.min())
    width = length - sources[-1]
    # what streams answers from the past alone: nothing moves before the source
    before = sources[0] if walk.stream is None else 0
    segments = [
        probe.Segment(s - before, s + width, tuple(probe.Changed(g, s, s + 1) for g in given))
        for s in sources
    ]
    if labels is not None:
        probe.check_labels(labels[:, sources[0] : length], walk.width)
    moved = np.zeros((len(walk.seqs.tokens), before + width))
    worse = np.zeros_like(moved)
    largest = 0.0
    for block in walk.compare(segments):
        begin = segments[block.segment].begin
        largest = max(largest, block.largest)
        if torch.equal(block.clean, block.other):
            continue
        here = np.s_[block.rows.numpy(), block.first - begin : block.last - begin]
        moved[here] += probe.diverge(kind, block.clean, block.other)
        if labels is not None:
            known = labels[block.rows, block.first : block.last]
            worse[here] += probe.extra_nats(block.other, block.clean, known)
    count = len(sources) * len(given)
    rounding = probe.resolution(kind, torch.tensor([largest]).double(), walk.asked.eps)
    moved, worse = moved / count, worse / count
    return _One(moved[:, before:], moved[:, :before][:, ::-1], worse[:, before:], rounding)


def _substitutes(
    seqs: probe.Sequences, sources: tuple[int, ...], options: InfluenceOptions
) -> list[Tensor]:
    """Rows with what to put in at the sources, (N, L) or (N, L, D) each."""
    rng = Seeds(options.seed).numpy("influence substitutes")
    num = len(seqs.tokens)
    if options.substitute == "donor":
        ways = probe.donors(num, options.donors, rng)
        return [probe.donor_tokens(seqs, way) for way in ways]
    if isinstance(options.substitute, int):
        if seqs.tokens.is_floating_point():
            message = f"substitute={options.substitute} is an id, and the tokens are real numbers."
            raise UsageError("E-OPTION", message, 'substitute="donor" or "unigram".')
        return [torch.full_like(seqs.tokens, options.substitute)]
    real_NL = torch.arange(seqs.tokens.shape[1])[None, :] < seqs.lengths[:, None]
    every = seqs.tokens[real_NL]
    given = []
    for _ in range(options.donors):
        rows = seqs.tokens.clone()
        drawn = rng.integers(len(every), size=(num, len(sources)))
        rows[:, list(sources)] = every[torch.from_numpy(drawn)]
        given.append(rows)
    return given
