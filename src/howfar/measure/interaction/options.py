"""How interaction reach is to be measured."""

from collections.abc import Sequence
from dataclasses import dataclass

from howfar.core.errors import in_range


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractionOptions:
    """How to measure.

    eps: share of the strongest interaction that counts. span: tokens swapped at each end.
    pairs: pairs of places a sequence and lag. lags: None for two an octave, with a search for
    isolated lags in between where the window is 128 tokens or less; "all"; or the lags to try.
    hold: repeat the measure with the winners of a max pooling held fixed, where there is one.
    """

    eps: float = 0.05
    span: int = 1
    pairs: int = 1
    lags: Sequence[int] | str | None = None
    hold: bool = True
    ci: float = 0.95
    seed: int = 0
    resamples: int = 1000
    batch: int = 64

    def __post_init__(self) -> None:
        checks = {
            "eps": 0 < self.eps < 1,
            "ci": 0 < self.ci < 1,
            "span": self.span >= 1,
            "pairs": self.pairs >= 1,
            "resamples": self.resamples >= 1,
            "batch": self.batch >= 1,
            "lags": self._fine_lags(),
        }
        in_range(self, checks, "`help(howfar.interaction)` says more.")

    def _fine_lags(self) -> bool:
        if self.lags is None or isinstance(self.lags, str):
            return self.lags in (None, "all")
        return len(self.lags) > 0 and min(self.lags) >= self.span
