"""How single-token influence is to be measured."""

from dataclasses import dataclass

from howfar.core.errors import in_range


@dataclass(frozen=True, slots=True, kw_only=True)
class InfluenceOptions:
    """How to measure.

    eps: share of the influence that may fall beyond the reach; levels: further shares at which the
    ladder is read off. substitute: "donor" (another row's token at the same place), "unigram" (a
    token drawn from all rows), or the id to put. donors: substitutes a source.
    divergence: "auto", "js" (bits), "kl" (nats) or "l2". ci: level of the intervals.
    batch: rows a forward pass.
    """

    eps: float = 0.05
    substitute: str | int = "donor"
    donors: int = 1
    divergence: str = "auto"
    levels: tuple[float, ...] = (0.5, 0.05, 0.01)
    ci: float = 0.95
    seed: int = 0
    resamples: int = 1000
    batch: int = 64

    def __post_init__(self) -> None:
        named = self.substitute in ("donor", "unigram")
        checks = {
            "eps": 0 < self.eps < 1,
            "substitute": named if isinstance(self.substitute, str) else _id(self.substitute),
            "donors": self.donors >= 1,
            "levels": all(0 < level < 1 for level in self.levels),
            "ci": 0 < self.ci < 1,
            "resamples": self.resamples >= 1,
            "batch": self.batch >= 1,
        }
        in_range(self, checks, "`help(InfluenceOptions)` gives the ranges.")


def _id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
