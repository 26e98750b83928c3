"""The record of one evaluation: what a trained model was asked, and how right it was.

Absent   a field that does not apply is None here and absent in JSON: F1 where only one class is
         there, an interval of a single row
Scores   the first is the headline; `better` says which direction is good
"""

from dataclasses import dataclass

from howfar.record.comparison import Baseline, Score

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Rows whose answer had a probability in (low, high], with its mean and their accuracy."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """One class or label; None where nothing was there to divide by."""

    name: str
    rows: int  # that have it in truth
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthScore:
    """Share right among rows of `first` to `last` tokens, with Wilson's interval."""

    first: int
    last: int
    rows: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One model on one part or file.

    rows: scored. left_out: rows whose label the model does not know, where they were let pass;
    they count as wrong in the score "accuracy with unknown labels". confusion: rows of this class
    (outer) that got that answer (inner), in order of `names`.
    """

    aim: str
    family: str
    data: str
    rows: int
    targets: int  # tokens of tagging and language models, else rows
    seconds: float
    scores: tuple[Score, ...]
    baselines: tuple[Baseline, ...] = ()
    classes: tuple[ClassScore, ...] = ()
    names: tuple[str, ...] = ()  # of classes or labels
    confusion: tuple[tuple[int, ...], ...] | None = None
    calibration: tuple[Bin, ...] = ()
    by_length: tuple[LengthScore, ...] = ()
    left_out: int = 0
    notes: tuple[str, ...] = ()
    sha256: str | None = None
    schema: int = SCHEMA

    def score(self, name: str) -> Score | None:
        """The score of this name, if there is one."""
        return next((score for score in self.scores if score.name == name), None)
