"""How swap reach is to be measured."""

from dataclasses import dataclass

from howfar.core.errors import in_range

SIDES = ("past", "future", "self", "source")
HOWS = ("swap", "shuffle", "reverse", "drop")


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapOptions:
    """How to measure.

    eps: share of the effect that may come from beyond the reach. ci: level of the intervals.
    side: "past"; "future" of a model that reads both ways; for an encoder-decoder "self" (its own
    prefix, the source fixed) or "source".
    how: what becomes of far tokens: "swap" (a donor's), "shuffle" or "reverse" (the row's own in
    another order), "drop" (left out, the row is shorter).
    design: "paired" or "fast"; cuts: how many cut positions the fast design averages.
    divergence: "auto", "js" (bits), "kl" (nats) or "l2". donors: donor sequences a sequence.
    grid: kept tokens to try (None: two an octave); exact: bisect crossings to the exact token.
    levels: shares at which the ladder is read off. batch: rows a forward pass.
    tolerance_nats: less extra loss than this counts as none.
    trained_length: warn where the window is longer. structural: the reach the model declares.
    """

    eps: float = 0.05
    side: str = "past"
    how: str = "swap"
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
            "side": self.side in SIDES,
            "how": self.how in HOWS,
            "grid": self.grid is None or (len(self.grid) > 0 and min(self.grid) >= 0),
        }
        in_range(self, checks, "`help(howfar.reach)` gives the ranges.")
