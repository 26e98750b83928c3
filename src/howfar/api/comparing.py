"""What starts from data: families side by side, and how far back the data itself reaches."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from howfar.api.options import options as built
from howfar.core.errors import UsageError, shown
from howfar.record.comparison import Baseline, Comparison, Need, Row
from howfar.report.save import write_report
from howfar.study.compare import compare as run_comparison
from howfar.study.demand import needs, needs_of_rows
from howfar.study.engine import Event
from howfar.study.plan import CompareOptions
from howfar.study.problems import Problem, TaskProblem
from howfar.study.sources import SourceOptions, open_problem
from howfar.tasks import Task
from howfar.train import Budget

READING = tuple(SourceOptions.__dataclass_fields__)


class Compared:
    """A finished comparison: `.rows`, `.baselines`, `.advice`, `.record`, `.report(folder)`."""

    def __init__(self, record: Comparison) -> None:
        self.record = record

    @property
    def rows(self) -> tuple[Row, ...]:
        """One row a family."""
        return self.record.rows

    @property
    def baselines(self) -> tuple[Baseline, ...]:
        """Simple predictors on the same test items."""
        return self.record.baselines

    @property
    def advice(self) -> str:
        """What to take, computed from the numbers."""
        return self.record.advice

    def report(self, folder: str | Path) -> Path:
        """Write report.html, figures and records.json into a folder; returns the page's path."""
        return write_report([self.record], Path(folder))


def compare(
    source: str | Path | Task,
    *,
    families: str | Sequence[str] | None = None,
    budget: str | Budget | None = None,
    listen: Callable[[Event], None] | None = None,
    **options: Any,  # noqa: ANN401 - the fields of CompareOptions and SourceOptions
) -> Compared:
    """Train and measure families side by side on a file, a shipped set or a task.

    With workers > 1 other processes are started, so a script then needs the usual
    `if __name__ == "__main__":` guard.

    Args:
        source: a path (.csv .tsv .jsonl .parquet .txt), the name of a shipped set or of a made
            task, or a task: `howfar.task("mqar", pairs=8)`.
        families: names from `howfar.families()`, or "a,b,c"; None: the six of
            `howfar.models.USUAL`.
        budget: what each run may train on, such as "200k tokens"; None: 1M
            tokens, at most 8 passes over the data.
        listen: called with (job, share done, loss) while runs go on.
        **options: text, label, test, tokens, length, ... (see `study.sources.SourceOptions`) and
            seeds, rates, parameters, workers, ... (see `study.plan.CompareOptions`).
    """
    reading = {key: options.pop(key) for key in READING if key in options and key != "seed"}
    reading["seed"] = options.get("seed", 0)
    if families is not None:
        named = families.split(",") if isinstance(families, str) else families
        options["families"] = tuple(named)
    if budget is not None:
        options["budget"] = budget if isinstance(budget, Budget) else Budget.parse(budget)
    settings = built(CompareOptions, options)
    problem: Problem
    if isinstance(source, Task):
        problem = TaskProblem.of(source)
    else:
        problem = open_problem(os.fspath(source), built(SourceOptions, reading))
    return Compared(run_comparison(problem, settings, listen=listen or (lambda event: None)))


def demand(
    source: Any,  # noqa: ANN401 - a path, a name, or rows of ids
    *,
    seed: int = 0,
    **options: Any,  # noqa: ANN401 - the fields of SourceOptions
) -> tuple[Need, ...]:
    """How far back the data reaches, whatever the model: what a long memory could be good for.

    Args:
        source: a path, or a shipped set's name, as for `compare`; or token ids: (L,) of one text,
            (N, L), or a list of rows.
        seed: of all draws.
        **options: text, label, tokens, length, ... (see `study.sources.SourceOptions`).

    Returns:
        One `Need` a measure that fits the data: `.name`, `.value`, `.censored`, `.curve`, ...

    Raises:
        UsageError, DataError: whatever is wrong with the data, or a made task, which says its
        distances itself.
    """
    if not isinstance(source, (str, os.PathLike)):
        return needs_of_rows(_rows(source), seed)
    reading = {"whole": options.get("length") is None, **options, "seed": seed}
    found = needs(open_problem(os.fspath(source), built(SourceOptions, reading)), seed)
    if not found:
        message = f"{shown(str(source))} is a made task: it says its distances itself."
        raise UsageError("E-OPTION", message, "a file, or a shipped set such as tinyshakespeare")
    return found


def _rows(source: Any) -> list[np.ndarray]:  # noqa: ANN401
    """Rows of ids from an array, a tensor or a list of rows."""
    try:
        rows = [np.asarray(row) for row in (source if np.ndim(source[0]) else [source])]
    except (TypeError, ValueError, IndexError, KeyError) as error:
        message = f"{shown(type(source).__name__)} is neither a path nor rows of token ids."
        raise UsageError("E-SHAPE", message, "ids (N, L), or the path of a text") from error
    if any(row.ndim != 1 or row.dtype.kind not in "iu" or (row < 0).any() for row in rows):
        raise UsageError("E-SHAPE", "Rows must hold token ids, 0 or more.", "integers (N, L)")
    return rows
