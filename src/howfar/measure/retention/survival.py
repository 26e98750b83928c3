"""What survives pooling: which windows each pooling keeps, and which tokens get through all.

Idea     at every pooling over time, in order of the calls: which positions of its input at least
         one filter chose; and which tokens reach its output at all, through this and all poolings
         before it. A maximum lets a derivative through where it looked and nowhere else, so the
         second is read off one backward pass from all outputs with random weights: a token got
         through if its embedding has a derivative other than 0
Found    torch's pooling modules over time; and a maximum or mean over time that no module makes,
         where the head's input equals that of a module's output, maybe behind a relu or tanh
Units    shares of windows and of real tokens; `value`: tokens a sequence that get through all
Limits   a pooling by a function in the middle of a model is not seen: make it a module, or give
         its arrays to `survivors`. A token that got through moved a winner; it need not matter for
         the answer. A way around the poolings (a residual) is not looked at. A relu at 0 lets
         nothing through either
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from howfar.core.errors import UsageError
from howfar.core.protocols import Predict
from howfar.core.seeds import Seeds
from howfar.measure import probe
from howfar.measure.curve import Curve, curve_of
from howfar.measure.retention.through import Through, poolings
from howfar.measure.stats import MIN_SEQUENCES, Bootstrap, interval

TENTHS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SurvivalOptions:
    """How to measure. `embedding`: the module where tokens become vectors, if there are several."""

    ci: float = 0.95
    seed: int = 0
    resamples: int = 1000
    batch: int = 64
    embedding: str | None = None

    def __post_init__(self) -> None:
        for name, fine in {
            "ci": 0 < self.ci < 1,
            "resamples": self.resamples >= 1,
            "batch": self.batch >= 1,
        }.items():
            if not fine:
                message = f"{name}={getattr(self, name)!r} is out of range."
                raise UsageError("E-OPTION", message, "`help(howfar.survival)` says more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One pooling.

    name: its module, or "into the head". kind: "max" or "mean".
    windows: share of the positions of its input that at least one filter chose.
    tokens: share of the real tokens that reach its output; tokens_low, tokens_high: interval, None
    for few sequences. idle: share of choices that chose none.
    distance: tokens between neighbours that got through, on average; None where there are none.
    by_place: share that gets through in each tenth of a sequence, the first one first.
    chosen: (N, T) positions. through: (N, L) tokens; False on padding.
    """

    name: str
    kind: str
    windows: float
    tokens: float
    tokens_low: float | None
    tokens_high: float | None
    idle: float
    distance: float | None
    by_place: tuple[float, ...]
    chosen: np.ndarray = field(compare=False, repr=False)
    through: np.ndarray = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Survival:
    """What gets through the poolings of a model.

    value: tokens a sequence that get through all, on average, rounded. low, high: its interval.
    stages: one a pooling, in order. curve: share of tokens by stage, counted from 1.
    """

    value: int | None
    low: int | None
    high: int | None
    censored: bool
    curve: Curve
    num_sequences: int
    warnings: tuple[str, ...]
    stages: tuple[Stage, ...]


def survival(
    predict: Predict,
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    options: SurvivalOptions | None = None,
) -> Survival:
    """Measure which windows and tokens survive the poolings of a model.

    Args:
        predict: an nn.Module `predict(tokens, lengths)`.
        tokens: integer (N, L), or real (N, L) or (N, L, D).
        lengths: (N,) real tokens a row.
        options: see `SurvivalOptions`.

    Raises:
        UsageError: E-POOL where the model pools nothing over time.
    """
    options = options or SurvivalOptions()
    seqs = probe.sequences(tokens, lengths, "last")
    if not isinstance(predict, nn.Module):
        message = "Poolings can be watched in an nn.Module only."
        raise UsageError("E-POOL", message, "howfar.measure.retention.survivors for plain arrays.")
    found = poolings(predict, seqs)
    if not found:
        message = "No pooling over time was found in the model."
        raise UsageError("E-POOL", message, "howfar.measure.retention.survivors for plain arrays.")
    walk = Through(predict, found, options.embedding, Seeds(options.seed).torch("survival"))
    parts = [
        walk.batch(
            seqs.tokens[start : start + options.batch], seqs.lengths[start : start + options.batch]
        )
        for start in range(0, len(seqs.tokens), options.batch)
    ]
    passed = [torch.cat([part[s].through for part in parts]).numpy() for s in range(len(found))]
    real_NL = (torch.arange(seqs.tokens.shape[1]) < seqs.lengths[:, None]).numpy()
    share_NS = np.stack([(p & real_NL).sum(1) for p in passed], axis=1) / real_NL.sum(1)[:, None]
    few = len(real_NL) < MIN_SEQUENCES
    rng = Seeds(options.seed).numpy("survival bootstrap")
    weight_RN = Bootstrap((1, len(real_NL)), options.resamples, rng).sequences_RN / len(real_NL)
    low_S, high_S = interval(weight_RN @ share_NS, options.ci)
    count_N = (passed[-1] & real_NL).sum(1)
    ends = interval(weight_RN @ count_N, options.ci)
    stages = []
    for s, pooling in enumerate(found):
        chosen = _wide([part[s].chosen for part in parts])
        stages.append(
            Stage(
                name=pooling.name,
                kind=pooling.kind,
                windows=_share(chosen, seqs.lengths.numpy(), real_NL.shape[1]),
                tokens=float(share_NS[:, s].mean()),
                tokens_low=None if few else float(low_S[s]),
                tokens_high=None if few else float(high_S[s]),
                idle=float(torch.cat([part[s].idle for part in parts]).mean()),
                distance=_distance(passed[s] & real_NL),
                by_place=_by_place(passed[s], real_NL),
                chosen=chosen,
                through=passed[s] & real_NL,
            )
        )
    blank = np.full(len(found), np.nan)
    said = (f"no interval: {len(real_NL)} sequences, at least {MIN_SEQUENCES} are needed",)
    return Survival(
        value=round(float(count_N.mean())),
        low=None if few else int(np.floor(ends[0] + 1e-9)),
        high=None if few else int(np.ceil(ends[1] - 1e-9)),
        censored=False,
        curve=curve_of(
            range(1, len(found) + 1),
            share_NS.mean(0),
            blank if few else low_S,
            blank if few else high_S,
            share_NS[None],
            axis="pooling",
            unit="share of tokens",
            design="derivatives through the winners",
            passes=1.0 + 2.0 * len(found),
        ),
        num_sequences=len(real_NL),
        warnings=said if few else (),
        stages=tuple(stages),
    )


def _wide(parts: list[Tensor]) -> np.ndarray:
    """Batches of rows, maybe of different widths, as one (N, T); False beyond a batch's width."""
    width = max(part.shape[1] for part in parts)
    return np.concatenate(
        [np.pad(part.numpy(), [(0, 0), (0, width - part.shape[1])]) for part in parts]
    )


def _share(chosen_NT: np.ndarray, lengths_N: np.ndarray, length: int) -> float:
    """Mean share of chosen positions; of a short row, positions in the same share are real."""
    wide = chosen_NT.shape[1]
    real_N = np.maximum(1, np.floor(wide * lengths_N / length + 0.5)).astype(int)
    real_NT = np.arange(wide) < real_N[:, None]
    return float(((chosen_NT & real_NT).sum(1) / real_N).mean())


def _distance(through_NL: np.ndarray) -> float | None:
    gaps = [np.diff(np.flatnonzero(row)) for row in through_NL]
    every = np.concatenate(gaps) if gaps else np.zeros(0)
    return float(every.mean()) if every.size else None


def _by_place(through_NL: np.ndarray, real_NL: np.ndarray) -> tuple[float, ...]:
    """Share of the real tokens of each tenth of their sequence; NaN where no token stands."""
    length_N1 = real_NL.sum(1)[:, None]
    tenth_NL = np.arange(real_NL.shape[1]) * TENTHS // np.maximum(length_N1, 1)
    shares = []
    for tenth in range(TENTHS):
        here = real_NL & (tenth_NL == tenth)
        shares.append(float(through_NL[here].mean()) if here.any() else float("nan"))
    return tuple(shares)
