"""How retention is to be measured."""

from dataclasses import dataclass

from howfar.core.errors import in_range


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionOptions:
    """How to measure.

    eps: share of what there is to know (entropy, or variance) that counts as held.
    lags: tokens back from the state; negative: tokens to come. None: 0 .. at most 64.
    positions: sampled times a sequence, where `targets` is "spread".
    held_out: share of the sequences that the probes never see; all numbers come from them.
    ridge: penalties to choose from, in mean squares of a standardised unit; the choice is made by
        generalised cross-validation inside the training part, for every layer and lag.
    classes: at most so many symbols; of a larger vocabulary the commonest are kept, the rest is
        one class, "other".
    logistic: lags that a multinomial logistic probe is also asked about (slow; tokens only).
    codelength: lags whose online code length is also measured (slower; tokens only).
    recent: if above 0, the probe of lag d is also given the newest raw tokens, as many of them as
        are newer than lag d, and what counts is what the state adds to them: for natural text,
        where a token can be guessed from its neighbours. A factorisation more a token and layer.
    batch: rows a forward pass. seed: of split, times, controls and bootstrap.
    """

    eps: float = 0.05
    lags: tuple[int, ...] | None = None
    positions: int = 8
    held_out: float = 0.35
    ridge: tuple[float, ...] = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 1e3)
    classes: int = 256
    logistic: tuple[int, ...] = ()
    codelength: tuple[int, ...] = ()
    recent: int = 0
    ci: float = 0.95
    seed: int = 0
    resamples: int = 1000
    batch: int = 64

    def __post_init__(self) -> None:
        checks = {
            "eps": 0 < self.eps < 1,
            "ci": 0 < self.ci < 1,
            "held_out": 0 < self.held_out < 1,
            "positions": self.positions >= 1,
            "resamples": self.resamples >= 1,
            "batch": self.batch >= 1,
            "classes": self.classes >= 2,
            "recent": self.recent >= 0,
            "lags": self.lags is None or len(self.lags) > 0,
            "ridge": len(self.ridge) > 0 and min(self.ridge) > 0,
        }
        in_range(self, checks, "`help(howfar.retention)` says more.")
