"""How far back the data of a problem reaches, asked in every way that fits it.

Idea     a running text: dependence between two tokens, and what visible context is worth to
         counting and copying; labelled texts: dependence, and TF-IDF on the last and first tokens;
         a made task says its distances itself
"""

from collections.abc import Sequence

import numpy as np

from howfar.data.labelled import Labelled
from howfar.data.running import Running
from howfar.measure.demand import (
    LabelDemand,
    LabelOptions,
    Mutual,
    MutualOptions,
    Predictability,
    PredictOptions,
    label_demand,
    mutual_information,
    predictability,
)
from howfar.record.comparison import Need
from howfar.study.problems import LabelProblem, Problem, TextProblem

Rows = Sequence[np.ndarray]


def needs(problem: Problem, seed: int = 0) -> tuple[Need, ...]:
    """Every measure of demand that fits the problem's data; none for a made task."""
    if isinstance(problem, TextProblem):
        return _of_text(problem.running, seed)
    if isinstance(problem, LabelProblem):
        return _of_labels(problem.labelled, seed)
    return ()


def needs_of_rows(rows: Rows, seed: int = 0) -> tuple[Need, ...]:
    """Dependence within rows of ids, and what context is worth: counted on the first 80 % of them.

    One long row is cut in order instead.
    """
    if len(rows) == 1:
        (row,) = rows
        first, second = int(0.8 * len(row)), int(0.9 * len(row))
        parts = [row[:first]], [row[first:second]], [row[second:]]
    else:
        first, second = int(0.8 * len(rows)), max(int(0.8 * len(rows)) + 1, int(0.9 * len(rows)))
        parts = list(rows[:first]), list(rows[first:second]), list(rows[second:])
    mutual = mutual_information(rows, MutualOptions(seed=seed))
    vocabulary = 1 + max(int(row.max()) for row in rows if len(row))
    found = predictability(*parts, vocabulary, PredictOptions(seed=seed))
    return _dependence(mutual, "token"), _context(found, "token")


def _of_text(text: Running, seed: int) -> tuple[Need, ...]:
    parts = [text.train], [text.validation], [text.test]
    found = predictability(*parts, text.tokeniser.vocabulary, PredictOptions(seed=seed))
    mutual = mutual_information(parts[0], MutualOptions(seed=seed))
    return _dependence(mutual, text.data.unit), _context(found, text.data.unit)


def _of_labels(labelled: Labelled, seed: int) -> tuple[Need, ...]:
    train, test = labelled.train, labelled.test
    unit = labelled.data.unit
    rows = [row for row in train.ids if len(row) > 1]
    found = [_dependence(mutual_information(rows, MutualOptions(seed=seed)), unit)] if rows else []
    options = LabelOptions(seed=seed)
    for side in ("last", "first"):
        part = label_demand(
            train.ids, train.labels, test.ids, test.labels, side=side, options=options
        )
        found.append(_kept(part, unit))
    return tuple(found)


def _dependence(found: Mutual, unit: str) -> Need:
    return Need(
        name="mutual information",
        says=f"two {unit}s depend on each other up to this far apart",
        unit="bits",
        window=found.curve.x[-1],
        value=None if found.censored else found.value,
        censored=found.censored,
        curve=found.curve.plain(),
        floor=found.floor,
        notes=found.warnings,
    )


def _context(found: Predictability, unit: str) -> Need:
    longest = found.curve.x[-1]
    return Need(
        name="counting and copying",
        says=f"{unit}s of context beyond which a {found.order}-gram model that also copies "
        "gains less than 0.01 nats",
        unit=f"bits per {unit}",
        window=longest // 2 if found.censored else longest,
        value=found.value,
        censored=found.censored,
        curve=found.curve.plain(),
        notes=found.warnings,
    )


def _kept(found: LabelDemand, unit: str) -> Need:
    longest = found.curve.x[-1]
    before = found.curve.x[-2] if len(found.curve.x) > 1 else longest
    return Need(
        name=f"TF-IDF, {found.side} tokens",
        says=f"{found.side} {unit}s of a text that tell its label as well as all of it, "
        "within 0.01 of accuracy",
        unit="accuracy",
        window=before if found.censored else longest,
        value=found.value,
        censored=found.censored,
        curve=found.curve.plain(),
        notes=found.warnings,
    )
