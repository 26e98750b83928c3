"""How attention is to be measured."""

from dataclasses import dataclass

from howfar.core.errors import in_range


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionOptions:
    """How to measure.

    eps: share of the attention that may lie beyond the reach. ci: level of the interval.
    queries: positions a row that are looked at, drawn evenly; first: the earliest of them (None:
    half of the row for models that look back only, so that far keys are there; else 0).
    sinks: positions that attract attention whatever they hold; special_ids: tokens that do.
    rollout: multiply the layers out for rows of at most so many positions; 0: never.
    batch: rows a forward pass; budget: tokens in one.
    """

    eps: float = 0.05
    ci: float = 0.95
    seed: int = 0
    resamples: int = 1000
    queries: int = 64
    first: int | None = None
    sinks: tuple[int, ...] = (0,)
    special_ids: tuple[int, ...] = ()
    rollout: int = 256
    batch: int = 16
    budget: int = 2**15

    def __post_init__(self) -> None:
        checks = {
            "eps": 0 < self.eps < 1,
            "ci": 0 < self.ci < 1,
            "resamples": self.resamples >= 1,
            "queries": self.queries >= 1,
            "first": self.first is None or self.first >= 0,
            "sinks": all(place >= 0 for place in self.sinks),
            "rollout": self.rollout >= 0,
            "batch": self.batch >= 1,
            "budget": self.budget >= 1,
        }
        in_range(self, checks, "`help(howfar.attention)` gives the ranges.")
