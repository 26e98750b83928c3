"""The record of one comparison: what was asked, what was measured, with doubt, and what it cost.

Idea     every number in a table, figure or report is read from here; nothing else is kept
Units    reach and lags in tokens; `_us` microseconds; `_bytes`; `_nats` and `_bits` as named
Absent   a field that does not apply is None here and absent in JSON
"""

from dataclasses import dataclass, field

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A quality with its interval. `better` says which direction is good."""

    name: str  # "accuracy", "bits per character", ...
    value: float
    low: float | None = None
    high: float | None = None
    better: str = "higher"  # or "lower"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One measured curve: `mean[i]` at `x[i]` with the interval `low[i]`, `high[i]`."""

    axis: str  # "kept tokens", "lag", "length"
    x: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def kept(self) -> tuple[int, ...]:
        """`x` of a curve over kept tokens."""
        return self.x

    @property
    def lag(self) -> tuple[int, ...]:
        """`x` of a curve over lags."""
        return self.x


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The reach card, in kept tokens. A name in `censored` means "more than the window showed"."""

    structural: int  # the furthest token that could matter within the measured window
    structural_unbounded: bool = False  # True: the architecture itself sets no limit
    detectable: int | None = None
    used50: int | None = None
    used95: int | None = None
    used99: int | None = None
    useful: int | None = None
    censored: tuple[str, ...] = ()  # of the field names above


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far back: swap reach (kept tokens) or interaction reach (lag), with its curve.

    `value` None and `censored` False means "no influence" (swap) or "no interaction".
    `value` None and `censored` True means "more than the longest grid point", `window`.
    """

    kind: str  # "swap" or "interaction"
    window: int  # the longest grid point, in tokens
    value: int | None = None
    low: int | None = None
    high: int | None = None
    censored: bool = False
    card: Card | None = None
    # One entry a seed, in the order of the row's `seeds`; None: no influence, or beyond the window.
    per_seed: tuple[int | None, ...] = ()
    curve: Curve | None = None
    benefit: Curve | None = None  # extra loss in nats per target when only `x` tokens are kept
    noise_floor: float = 0.0
    sequences: int = 0
    design: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CostPoint:
    """What one length costs; one sequence a batch."""

    length: int
    forward_us_per_token: float
    train_us_per_token: float | None = None  # forward + backward
    forward_peak_bytes: int | None = None
    peak_bytes: int | None = None  # of forward + backward, above model and input
    flops_per_token: float | None = None  # forward, analytic; a multiply-add is 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Exponent:
    """p in time ~ length**p, fitted over the measured lengths, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DistancePoint:
    """Accuracy at one distance (or the bin that starts there), with a Wilson interval."""

    distance: int
    accuracy: float
    low: float
    high: float
    count: int = 0
    last: int | None = None  # the last distance of the bin, where it is a bin


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """One learning curve: validation loss in nats per target against tokens seen."""

    seed: int
    learning_rate: float
    tokens: tuple[int, ...]
    validation_nats: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One family in the comparison."""

    family: str
    kind: str  # "convolutional", "recurrent", "attention"
    status: str = "done"  # "done", "failed", "stopped"
    reason: str | None = None  # why it failed or stopped
    score: Score | None = None
    seed_scores: tuple[float, ...] = ()
    reach: Reach | None = None
    task_reach: int | None = None  # tasks: largest distance solved at every shorter one too
    task_reach_censored: bool = False
    by_distance: tuple[DistancePoint, ...] | None = None
    parameters: int = 0  # the body: without embedding and head
    embedding_parameters: int = 0
    head_parameters: int = 0
    width: int = 0
    depth: int = 0
    declared_reach: int | None = None  # None: unbounded
    train_seconds: float = 0.0  # median over seeds
    tokens_seen: int = 0
    steps: int = 0
    learning_rate: float | None = None
    learning_rates: dict[str, float] | None = None  # the grid: rate -> validation loss in nats
    seeds: tuple[int, ...] = ()
    learning: tuple[Learning, ...] = ()
    cost: tuple[CostPoint, ...] = ()
    cost_exponent: Exponent | None = None  # of forward + backward time
    forward_exponent: Exponent | None = None
    state_bytes: int | None = None  # what must be carried to go on, at the training length
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A simple predictor on the same test items."""

    name: str
    score: Score
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One answer to how far back the data itself reaches, whatever the model.

    `value` None and `censored` False: no dependence was found. None and `censored` True: more than
    `window`, the furthest that was looked at (or as far as it can be told from there).
    """

    name: str  # "mutual information", "counting and copying", "TF-IDF, last tokens", ...
    says: str  # what the number means, in a few words
    unit: str  # of the curve
    window: int
    value: int | None = None
    censored: bool = False
    curve: Curve | None = None
    floor: tuple[float, ...] = ()  # what shuffled data shows, at each x of the curve
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What was read, what was left out, and what was cut."""

    kind: str  # "labels", "text", "task"
    name: str
    unit: str  # what one token is: "word", "character", "byte", "piece", "symbol"
    rows: int = 0
    dropped: int = 0
    truncated_rows: int = 0
    truncated_tokens: int = 0
    duplicates: int = 0  # rows whose text stands in an earlier row too
    train: int = 0  # rows, or tokens of a text
    validation: int = 0
    test: int = 0
    vocabulary: int = 0
    unknown_tokens: int = 0  # tokens of validation and test outside the vocabulary
    length: int = 0  # tokens a sequence
    labels: dict[str, int] | None = None  # label -> rows
    sha256: str | None = None  # of the file's bytes
    notes: tuple[str, ...] = ()
    licence: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything one `compare` measured."""

    data: Data
    rows: tuple[Row, ...]
    baselines: tuple[Baseline, ...] = ()
    demand: tuple[Need, ...] = ()
    advice: str = ""
    report: str | None = None  # where the page was written
    warnings: tuple[str, ...] = ()
    settings: dict[str, str | int | float | bool] = field(default_factory=dict)
    provenance: dict[str, str | int | float | bool] = field(default_factory=dict)
    command: str | None = None
    interrupted: bool = False
    seconds: float = 0.0  # of the whole comparison
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What `demand` measured: how far back the data reaches, whatever the model."""

    data: Data
    needs: tuple[Need, ...]
    report: str | None = None  # where the figures were written
    command: str | None = None
    seconds: float = 0.0
    schema: int = SCHEMA
