"""How fragments are to be looked for."""

from dataclasses import dataclass

from howfar.core.errors import in_range
from howfar.measure.fragments.threshold import PURITY


@dataclass(frozen=True, slots=True, kw_only=True)
class FragmentsOptions:
    """How to look.

    top: n-grams to list a class and sign. purity: share of matches above a filter's threshold.
    """

    top: int = 10
    purity: float = PURITY
    ci: float = 0.95
    seed: int = 0
    resamples: int = 1000
    batch: int = 64

    def __post_init__(self) -> None:
        checks = {
            "top": self.top >= 1,
            "purity": 0 < self.purity <= 1,
            "ci": 0 < self.ci < 1,
            "resamples": self.resamples >= 1,
            "batch": self.batch >= 1,
        }
        in_range(self, checks, "`help(howfar.fragments)` says more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapFragmentsOptions:
    """How to swap.

    width: tokens a window. step: tokens from window to window. donors: how many other texts
    replace each window (None: up to 64). divergence: "auto", "js", "kl" or "l2".
    """

    width: int = 3
    step: int = 1
    donors: int | None = None
    divergence: str = "auto"
    ci: float = 0.95
    seed: int = 0
    resamples: int = 1000
    batch: int = 64

    def __post_init__(self) -> None:
        checks = {
            "width": self.width >= 1,
            "step": self.step >= 1,
            "donors": self.donors is None or self.donors >= 1,
            "ci": 0 < self.ci < 1,
            "resamples": self.resamples >= 1,
            "batch": self.batch >= 1,
        }
        in_range(self, checks, "`help(howfar.fragments)` says more.")
