"""The record of one training run: what was asked, how it went, what came out."""

from dataclasses import dataclass, field

from howfar.record.comparison import Baseline, Data, Score

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The run at one validation: `loss` is the mean of the training loss since the last point.

    Losses are in nats a target (classes) or squared units (numbers); `score` is named in the
    record: accuracy, or the part of the variance explained.
    """

    step: int
    tokens: int
    seconds: float
    learning_rate: float
    loss: float
    validation: float
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One run. `status`: "done", "stopped" (by the user) or "failed", with the reason."""

    aim: str
    family: str
    seed: int
    budget: str
    learning_rate: float
    status: str
    steps: int
    tokens: int
    seconds: float
    flops: int
    parameters: dict[str, int]
    settings: dict[str, str | int | float | bool]
    data: Data
    best_step: int = 0
    reason: str | None = None
    points: tuple[Point, ...] = ()
    scores: tuple[Score, ...] = ()  # of the best weights, on the test part
    baselines: tuple[Baseline, ...] = ()
    inexact: bool = False  # went on in a way that cannot give the same bits
    command: str = ""
    provenance: dict[str, str | int | float | bool] = field(default_factory=dict)
    schema: int = SCHEMA
