"""What a script calls: `howfar.reach`, `howfar.compare`, `howfar.build` and the rest.

Idea     thin functions over the rooms; the names and shapes here are what users' code relies on
"""

import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from howfar import measure
from howfar.core.errors import UsageError, closest
from howfar.core.protocols import Predict
from howfar.measure import InteractionReach, SwapReach
from howfar.models import MODELS, Family, build
from howfar.record.comparison import Baseline, Comparison, Row
from howfar.report.save import write_report
from howfar.study.compare import compare as run_comparison
from howfar.study.engine import Event
from howfar.study.plan import CompareOptions
from howfar.study.sources import SourceOptions, open_problem
from howfar.tasks import task, tasks
from howfar.train import Budget

__all__ = ["Compared", "build", "compare", "families", "interaction", "reach", "task", "tasks"]

READING = tuple(SourceOptions.__dataclass_fields__)


def families() -> dict[str, Family]:
    """All families by name, each with its kind, reach, state and source."""
    return dict(MODELS)


def reach(
    model: Predict,
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    labels: Tensor | None = None,
    targets: Tensor | str = "last",
    **options: Any,  # noqa: ANN401 - the fields of SwapOptions
) -> SwapReach:
    """Swap reach of any model: how many of the last tokens carry the effect of the input.

    Args:
        model: any callable, `model(tokens)` or `model(tokens, lengths)`, or an nn.Module.
        tokens: integer (N, L), or real (N, L) or (N, L, D); rows are each other's donors.
        lengths: (N,) real tokens a row, padding on the right; None: all.
        labels: (N, L) classes, for the benefit curve and `useful`; None: without.
        targets: "last", or (N,) positions.
        **options: eps=0.05, design="paired" or "fast", divergence="auto", donors=1, ci=0.95,
            seed=0 and the other fields of `howfar.measure.SwapOptions`.

    Returns:
        `.value` in kept tokens (None: no influence, or `.censored`), `.low`, `.high`, `.r50`,
        `.ladder`, `.detectable`, `.structural`, `.useful`, `.curve`, `.noise_floor`, `.warnings`.

    Raises:
        UsageError: shapes or options that do not fit. DataError: the model answers NaN.
    """
    return measure.swap_reach(
        _callable(model),
        torch.as_tensor(tokens),
        lengths=lengths,
        labels=labels,
        targets=targets,
        options=_options(measure.SwapOptions, options),
    )


def interaction(
    model: Predict,
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    **options: Any,  # noqa: ANN401 - the fields of InteractionOptions
) -> InteractionReach:
    """Interaction reach: how far apart two tokens may stand and still be treated jointly.

    Args:
        model: any callable, `model(tokens)` or `model(tokens, lengths)`, or an nn.Module.
        tokens: as for `reach`.
        lengths: as for `reach`.
        **options: eps=0.05, span=1, lags=None, pairs=1, ci=0.95, seed=0, ...
    """
    return measure.interaction_reach(
        _callable(model),
        torch.as_tensor(tokens),
        lengths=lengths,
        options=_options(measure.InteractionOptions, options),
    )


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
    source: str | Path,
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
        source: a path (.csv .tsv .jsonl .parquet .txt), "recall", or a shipped set's name.
        families: names from `howfar.families()`, or "a,b,c"; None: all.
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
    settings = _options(CompareOptions, options)
    problem = open_problem(os.fspath(source), _options(SourceOptions, reading))
    return Compared(run_comparison(problem, settings, listen=listen or (lambda event: None)))


def _options(kind: Any, given: dict[str, Any]) -> Any:  # noqa: ANN401 - an options dataclass
    """Build an options dataclass; an unknown name is an error that lists the known ones."""
    known = kind.__dataclass_fields__
    for name in given:
        if name not in known:
            near = closest(name, known)
            message = f"There is no option {name!r}. {near}Known: {', '.join(known)}."
            raise UsageError("E-OPTION", message, "one of these names")
    try:
        return kind(**given)
    except TypeError as error:
        raise UsageError("E-OPTION", f"An option has a value of a wrong type: {error}.") from error


def _callable(model: Any) -> Predict:  # noqa: ANN401 - anything that can be called
    """Accept `model(tokens)` as well as `model(tokens, lengths)`."""
    called = model.forward if isinstance(model, torch.nn.Module) else model
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):
        return cast(Predict, model)
    try:
        signature.bind(None, None)
    except TypeError:
        return _Alone(model)
    places = [
        p
        for p in signature.parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    # A second argument that may be left out is an attention mask or a state, not the lengths.
    if len(places) > 1 and places[1].default is not places[1].empty and "len" not in places[1].name:
        return _Alone(model)
    return cast(Predict, model)


class _Alone(torch.nn.Module):
    """A model that takes tokens alone, as `Predict`; lengths are let go."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """The model's own output."""
        output: Tensor = self.model(tokens)
        return output
