"""How gradient reach is to be measured."""

from dataclasses import dataclass

from howfar.core.errors import in_range

OUTPUTS = ("auto", "centred", "plain", "fisher")
SIGMAS = ("data", "identity")
SIDES = ("past", "future")


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientOptions:
    """How to measure.

    eps: share of the squared gradient that may come from beyond the reach. levels: shares at which
    the ladder is read off. ci: level of the intervals.
    output: "centred" logits, "plain" outputs, or "fisher": logits weighed as KL does; "auto":
    centred for token models of more than one output, else plain.
    sigma: "data" weighs directions of the input by their covariance over the data, "identity"
    takes them alike (the raw Frobenius norm).
    probes: random backward passes a sequence; as many as outputs, or more: exact.
    side: "past" or "future" of the target. embedding: name of the embedding module.
    chunk: tokens recomputed at a time, for models that offer `chunk`; None: the whole window at
    once, but pieces beyond 4,096 tokens where the state has a fixed size.
    batch: rows a forward pass at most (fewer where rows are long).
    """

    eps: float = 0.05
    levels: tuple[float, ...] = (0.5, 0.05, 0.01)
    output: str = "auto"
    sigma: str = "data"
    probes: int = 1
    side: str = "past"
    embedding: str | None = None
    chunk: int | None = None
    batch: int = 64
    ci: float = 0.95
    seed: int = 0
    resamples: int = 1000

    def __post_init__(self) -> None:
        checks = {
            "eps": 0 < self.eps < 1,
            "levels": all(0 < level < 1 for level in self.levels),
            "output": self.output in OUTPUTS,
            "sigma": self.sigma in SIGMAS,
            "probes": self.probes >= 1,
            "side": self.side in SIDES,
            "chunk": self.chunk is None or self.chunk >= 1,
            "batch": self.batch >= 1,
            "ci": 0 < self.ci < 1,
            "resamples": self.resamples >= 1,
        }
        in_range(self, checks, "`help(howfar.gradient)` gives the ranges.")
