"""What an evaluation keeps of each batch, and the scores that come of it, an aim a class.

Idea     `add` is given what a model answered to one batch; `result` adds up
Rows     the intervals draw rows anew: texts, or windows of a language model
"""

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional as F

from howfar.bundle import metrics
from howfar.bundle.spans import are_bio, span_counts
from howfar.core.batch import IGNORED, Batch
from howfar.core.errors import shown
from howfar.record.comparison import Score
from howfar.record.evaluation import Bin, ClassScore, LengthScore

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The parts of an `Evaluation` that depend on the aim."""

    scores: tuple[Score, ...]
    targets: int
    classes: tuple[ClassScore, ...] = ()
    confusion: tuple[tuple[int, ...], ...] | None = None
    calibration: tuple[Bin, ...] = ()
    by_length: tuple[LengthScore, ...] = ()
    notes: tuple[str, ...] = ()


class Tally(Protocol):
    """One aim."""

    def add(self, outputs: Tensor, targets: Tensor, batch: Batch) -> None:
        """Outputs (N, C) and targets (N,) or (N, C) of what is scored in a batch."""
        ...

    def result(self) -> Result:
        """All that was added, summed up."""
        ...


@dataclass
class Kept:
    """Columns that grow batch by batch."""

    columns: dict[str, list[npt.NDArray[np.generic]]] = field(default_factory=dict)

    def add(self, **parts: Tensor) -> None:
        """More rows of each column."""
        for name, part in parts.items():
            self.columns.setdefault(name, []).append(part.cpu().numpy())

    def __getitem__(self, name: str) -> npt.NDArray[np.generic]:
        return np.concatenate(self.columns[name])


def scored(
    name: str,
    value: float,
    interval: metrics.Interval | None = None,
    *,
    better: str = "higher",
) -> tuple[Score, ...]:
    """One score; none where it is nan, without an interval where that is."""
    if math.isnan(value):
        return ()
    if interval is None or any(map(math.isnan, interval)):
        return (Score(name=name, value=value, better=better),)
    low, high = min(interval[0], value), max(interval[1], value)
    return (Score(name=name, value=value, low=low, high=high, better=better),)


def ratio_score(
    name: str, top_N: npt.ArrayLike, of_N: npt.ArrayLike | None = None, *, better: str = "higher"
) -> tuple[Score, ...]:
    """Sum by sum over rows, with its bootstrap; `of_N` None: the mean over rows."""
    top = np.asarray(top_N, dtype=np.float64)
    table_N2 = np.stack([top, np.ones_like(top) if of_N is None else np.asarray(of_N)], axis=1)
    value = metrics.ratio(table_N2.sum(0))
    return scored(name, value, metrics.bootstrap(table_N2, metrics.ratio), better=better)


class ClassTally:
    """One class a row."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.kept = Kept()

    def add(self, outputs: Tensor, targets: Tensor, batch: Batch) -> None:
        """See `Tally`."""
        logs_NC = outputs.cpu().double().log_softmax(-1)
        targets = targets.cpu()
        top = logs_NC.max(-1)
        self.kept.add(
            truth=targets,
            answer=top.indices,
            confidence=top.values.exp(),
            second=logs_NC[:, -1].exp(),
            nats=F.nll_loss(logs_NC, targets, reduction="none"),
            length=batch.lengths,
        )

    def result(self) -> Result:
        """See `Tally`."""
        truth, answer = (self.kept[name].astype(np.int64) for name in ("truth", "answer"))
        right = truth == answer
        rows = len(truth)
        accuracy = float(right.mean())
        first = scored("accuracy", accuracy, metrics.wilson(accuracy, rows))
        lengths = metrics.by_length(self.kept["length"].astype(np.int64), right)
        table = metrics.confusion(truth, answer, len(self.names))
        if len(np.unique(truth)) < 2:
            only = shown(self.names[int(truth[0])])
            note = f"W-ONE-CLASS: all rows are of the class {only}: accuracy alone says something."
            return Result(
                scores=first, targets=rows, by_length=lengths, notes=(note,),
                confusion=_listed(table),
            )  # fmt: skip
        confidence = self.kept["confidence"].astype(np.float64)
        bins = metrics.reliability(confidence, right)
        two = metrics.auc(truth == 1, self.kept["second"].astype(np.float64))
        area = scored("AUC", two) if len(self.names) == 2 and two is not None else ()
        macro = scored("macro F1", metrics.macro_f1(table), metrics.macro_f1_interval(table))
        return Result(
            scores=(
                *first,
                *macro,
                *area,
                *ratio_score("log loss", self.kept["nats"].astype(np.float64), better="lower"),
                *scored("ECE", metrics.ece(bins), better="lower"),
            ),
            targets=rows,
            classes=metrics.class_scores(table, self.names),
            confusion=_listed(table),
            calibration=bins,
            by_length=lengths,
        )


class LabelTally:
    """Any number of labels a row; a label is given where its probability is above a half."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.kept = Kept()

    def add(self, outputs: Tensor, targets: Tensor, batch: Batch) -> None:
        """See `Tally`."""
        logits_NC, truth_NC = outputs.cpu().double(), targets.cpu().double()
        nats_NC = F.binary_cross_entropy_with_logits(logits_NC, truth_NC, reduction="none")
        self.kept.add(
            truth=truth_NC > 0.5, answer=logits_NC > 0, nats=nats_NC.mean(1), length=batch.lengths
        )

    def result(self) -> Result:
        """See `Tally`."""
        truth, answer = (self.kept[name].astype(bool) for name in ("truth", "answer"))
        right_NC = truth & answer
        sums_N3 = np.stack([x.sum(1) for x in (right_NC, answer, truth)], axis=1).astype(float)
        micro = metrics.f1_of_sums(sums_N3.sum(0))
        whole = (truth == answer).all(1)
        share = float(whole.mean())
        classes = tuple(
            ClassScore(
                name=name,
                rows=int(true),
                precision=float(right / said) if said else None,
                recall=float(right / true) if true else None,
                f1=float(2 * right / (said + true)) if said + true else None,
            )
            for name, right, said, true in zip(
                self.names, right_NC.sum(0), answer.sum(0), truth.sum(0), strict=True
            )
        )
        by_label = [c.f1 for c in classes if c.f1 is not None]
        macro = float(np.mean(by_label)) if by_label else math.nan
        return Result(
            scores=(
                *scored("micro F1", micro, metrics.bootstrap(sums_N3, metrics.f1_of_sums)),
                *scored("macro F1", macro),
                *scored("subset accuracy", share, metrics.wilson(share, len(whole))),
                *ratio_score("log loss a label", self.kept["nats"].astype(float), better="lower"),
            ),
            targets=len(whole),
            classes=classes,
            by_length=metrics.by_length(self.kept["length"].astype(np.int64), whole),
        )


class NumberTally:
    """A number a row, told in the unit of the data."""

    def __init__(self, scale: tuple[float, ...] | None) -> None:
        self.mean, self.deviation = (0.0, 1.0) if scale is None else scale
        self.kept = Kept()

    def add(self, outputs: Tensor, targets: Tensor, batch: Batch) -> None:
        """See `Tally`."""
        self.kept.add(answer=outputs[:, 0].cpu().double(), truth=targets.cpu().double())

    def result(self) -> Result:
        """See `Tally`."""
        z_truth, z_answer = (self.kept[name].astype(np.float64) for name in ("truth", "answer"))
        error = (z_answer - z_truth) * self.deviation
        # R squared knows no unit: of standardised numbers the sums lose no digits.
        sums_N4 = np.stack(
            [np.ones_like(z_truth), z_truth, z_truth**2, (z_answer - z_truth) ** 2], axis=1
        )
        told = metrics.r_squared(sums_N4.sum(0))
        ranked = metrics.spearman(z_truth, z_answer)
        return Result(
            scores=(
                *scored("R2", told, metrics.bootstrap(sums_N4, metrics.r_squared)),
                *ratio_score("MSE", error**2, better="lower"),
                *ratio_score("MAE", np.abs(error), better="lower"),
                *(() if ranked is None else scored("Spearman", ranked)),
            ),
            targets=len(error),
        )


class TagTally:
    """A class a token; spans where the tags are B-, I- and O."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.bio = are_bio(names)
        self.kept = Kept()
        self.lengths: list[int] = []

    def add(self, outputs: Tensor, targets: Tensor, batch: Batch) -> None:
        """See `Tally`."""
        logs_NC = outputs.cpu().double().log_softmax(-1)
        targets = targets.cpu()
        nats = F.nll_loss(logs_NC, targets, reduction="none")
        self.kept.add(truth=targets, answer=logs_NC.argmax(-1), nats=nats)
        self.lengths += (batch.targets != IGNORED).sum(1).tolist()

    def result(self) -> Result:
        """See `Tally`."""
        truth, answer = (self.kept[name].astype(np.int64) for name in ("truth", "answer"))
        lengths = np.asarray(self.lengths, dtype=np.int64)
        ends = lengths.cumsum()
        right = row_sums(truth == answer, lengths)
        nats = row_sums(self.kept["nats"].astype(np.float64), lengths)
        table = metrics.confusion(truth, answer, len(self.names))
        found: tuple[Score, ...] = ()
        if self.bio:
            rows = [slice(end - n, end) for end, n in zip(ends, lengths, strict=True)]
            sums_N3 = np.asarray([self._spans(truth[row], answer[row]) for row in rows], float)
            value = metrics.f1_of_sums(sums_N3.sum(0))
            found = scored("span F1", value, metrics.bootstrap(sums_N3, metrics.f1_of_sums))
        return Result(
            scores=(
                *found,
                *ratio_score("token accuracy", right, lengths),
                *scored("macro F1", metrics.macro_f1(table)),
                *ratio_score("log loss", nats, lengths, better="lower"),
            ),
            targets=len(truth),
            classes=metrics.class_scores(table, self.names),
            confusion=_listed(table),
            by_length=metrics.by_length(lengths, right, lengths),
        )

    def _spans(
        self, truth: npt.NDArray[np.int64], answer: npt.NDArray[np.int64]
    ) -> tuple[int, int, int]:
        named = ([self.names[i] for i in row] for row in (truth, answer))
        return span_counts(*named)


def row_sums(value_T: npt.ArrayLike, length_N: npt.NDArray[np.int64]) -> Array:
    """(N,) sums over rows that stand one after another; 0 for an empty row."""
    sums = np.concatenate(([0.0], np.asarray(value_T, dtype=np.float64).cumsum()))
    ends = length_N.cumsum()
    found: Array = sums[ends] - sums[ends - length_N]
    return found


def _listed(table: npt.NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in table.tolist())
