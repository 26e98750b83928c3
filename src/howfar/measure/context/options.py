"""How a context-length curve is to be measured."""

from dataclasses import dataclass

from howfar.core.errors import in_range


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextOptions:
    """How to measure.

    tolerance_nats: less extra loss than this counts as none. eps: share of the gain from context
    that may be missing at `share_value`. ci: level of the intervals.
    targets: how many last positions of a row are asked for (None: an eighth of it, 1 to 16).
    longest: tokens of the full context (None: all that the targets of the longest row have).
    grid: context lengths to try (None: two an octave); exact: bisect to the exact length.
    prefix: ids put before every window, such as the one a text begins with; not counted.
    head: name of the module to ask at the last position alone, so that no logits are made that
    nobody reads. chunk: tokens at a time where a model can stop and go on. budget: tokens in one
    forward pass. trained_length: warn where windows are longer.
    """

    tolerance_nats: float = 0.01
    eps: float = 0.05
    ci: float = 0.95
    seed: int = 0
    resamples: int = 1000
    targets: int | None = None
    longest: int | None = None
    grid: tuple[int, ...] | None = None
    exact: bool = True
    prefix: tuple[int, ...] = ()
    head: str | None = None
    chunk: int = 1024
    budget: int = 2**16
    trained_length: int | None = None

    def __post_init__(self) -> None:
        checks = {
            "tolerance_nats": self.tolerance_nats > 0,
            "eps": 0 < self.eps < 1,
            "ci": 0 < self.ci < 1,
            "resamples": self.resamples >= 1,
            "targets": self.targets is None or self.targets >= 1,
            "longest": self.longest is None or self.longest >= 2,
            "grid": self.grid is None or (len(self.grid) > 0 and min(self.grid) >= 0),
            "chunk": self.chunk >= 1,
            "budget": self.budget >= 1,
        }
        in_range(self, checks, "`help(howfar.context)` gives the ranges.")
