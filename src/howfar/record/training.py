"""The record of one training run: what was asked, how it went, what came out."""

from dataclasses import dataclass, field

from howfar.record.comparison import Baseline, Data, Score

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The run at one validation.

    loss: what was minimised, its mean since the last point: with label smoothing, class weights
    and dropout, so that it stands beside `validation` only where there are none. validation: the
    plain loss of the validation part. Both in nats a target (classes) or in squared standard
    deviations of the training numbers. score: by aim the share of right classes, tags or tokens,
    the share of labels that are answered right, or of numbers 1 - squared error / squared distance
    from the mean of training, which is not R2 where the parts' means differ.
    """

    step: int
    tokens: int
    seconds: float
    learning_rate: float
    loss: float
    validation: float
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a stage of a run, or several, took."""

    steps: int
    tokens: int
    flops: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretraining(Spent):
    """The stage before, on the texts alone. kind: "next" (token) or "denoise" (hidden ones)."""

    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One run. `status`: "done", "stopped" (by the user) or "failed", with the reason.

    steps, tokens, flops, seconds: of the training alone; pretraining: of the stage before, where
    there was one, and `total` of both. Of a run that ended while it was pretrained they are what
    that stage took, and `ended_in` says so.

    labels: how often each class stood in the training part, in rows (tags: in tokens), where
    `data.labels` counts all parts; None: not classes, or of a howfar that did not count them.
    """

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
    labels: dict[str, int] | None = None
    pretraining: Pretraining | None = None
    total: Spent | None = None
    ended_in: str | None = None  # "pretraining"
    best_step: int = 0
    reason: str | None = None
    points: tuple[Point, ...] = ()
    scores: tuple[Score, ...] = ()  # of the best weights, on the test part
    baselines: tuple[Baseline, ...] = ()
    inexact: bool = False  # went on in a way that cannot give the same bits
    command: str = ""
    provenance: dict[str, str | int | float | bool] = field(default_factory=dict)
    schema: int = SCHEMA
