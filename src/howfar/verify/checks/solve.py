"""Train models on a task and score them, at the trained length and at unseen ones.

Settings  task, [settings.task_settings]; items (test items a length); lengths (unseen, optional);
          seeds; shortcut_items (for the ladder alone); [settings.run.LABEL]: family, budget,
          rate, and width, depth, embedding, batch, or any setting of the family
Numbers   "LABEL" (accuracy, or squared error of numbers), "LABEL at unseen lengths" (mean over
          them), "LABEL, least" (of the seeds); "shortcut: NAME" and "chance", as `ladder`
Doubt     bootstrap over seeds and items; a run that fails counts as chance and is said
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from howfar.core.seeds import Seeds
from howfar.models import build
from howfar.models.model import Model
from howfar.record.comparison import Score
from howfar.study.problems.made import TaskSource
from howfar.study.score import accuracy_score, error_score
from howfar.tasks import Task, task
from howfar.train import Budget, TrainOptions, evaluate, fit
from howfar.verify.checks.ladder import rungs
from howfar.verify.verdict import Measured

RUN = ("family", "budget", "rate", "batch", "width", "depth", "embedding")
AT_ONCE = 64


def solve(settings: dict[str, Any], say: Callable[[str], None]) -> dict[str, Measured]:
    """Train and score every run."""
    made = task(settings["task"], **settings.get("task_settings", {}))
    items, lengths = int(settings.get("items", 1000)), settings.get("lengths", [])
    found = rungs(made, int(settings.get("shortcut_items", items)), say)
    for label, run in settings["run"].items():
        rows: list[list[np.ndarray]] = []
        for seed in range(int(settings.get("seeds", 2))):
            model = trained(made, run, seed, partial(_labelled, say, label))
            asked = [made, *(made.at_length(length) for length in lengths)]
            rows.append([scores(model, one, items) for one in asked])
        found |= summed(made, label, rows)
    return found


def trained(made: Task, run: dict[str, Any], seed: int, say: Callable[[str], None]) -> Model:
    """One model after its training."""
    own = {name: value for name, value in run.items() if name not in RUN}
    model = build(
        run["family"],
        vocabulary=made.vocabulary,
        channels=made.channels,
        outputs=made.outputs,
        pooled="last" if made.numbers else None,
        width=run.get("width", 64),
        depth=run.get("depth"),
        embedding=run.get("embedding", 64),
        generator=Seeds(seed).torch(f"init {run['family']}"),
        **own,
    )
    options = TrainOptions(
        budget=Budget.parse(run["budget"]), learning_rate=run["rate"], seed=seed, evaluations=10
    )
    source = TaskSource(made, seed, run.get("batch", 32))
    ended = fit(
        model,
        source,
        options,
        lambda now: say(f"seed {seed}, {now.share:.0%}, loss {now.loss:.4f}"),
    )
    if ended.status != "done":
        raise RuntimeError(f"{run['family']}, seed {seed}: {ended.reason}")
    return model


def _labelled(say: Callable[[str], None], label: str, line: str) -> None:
    say(f"{label}: {line}")


def scores(model: Model, made: Task, items: int) -> np.ndarray:
    """(items,) of each test item: share of its answers that are right, or the squared error."""
    each = []
    for start in range(0, items, AT_ONCE):
        batch = made.batch(range(start, min(start + AT_ONCE, items)), split="test")
        answers = evaluate(model, [batch])
        value = answers.nats if made.numbers else answers.correct.astype(float)
        count = np.bincount(answers.row, minlength=len(batch.tokens))
        each.append(np.bincount(answers.row, weights=value, minlength=len(batch.tokens)) / count)
    return np.concatenate(each)


def summed(made: Task, label: str, rows: list[list[np.ndarray]]) -> dict[str, Measured]:
    """The numbers of one label: rows[seed][length] are (items,)."""
    judged = error_score if made.numbers else accuracy_score
    seen = judged(np.stack([row[0] for row in rows]), 0)
    found = {label: measured(seen, len(rows))}
    each = [float(row[0].mean()) for row in rows]
    worst = max(each) if made.numbers else min(each)
    found[f"{label}, least"] = Measured.exactly(worst, f"of {len(rows)} seeds")
    if len(rows[0]) > 1:
        unseen = np.stack([np.stack(row[1:]).mean(0) for row in rows])
        found[f"{label} at unseen lengths"] = measured(judged(unseen, 0), len(rows))
    return found


def measured(score: Score, seeds: int) -> Measured:
    """A score as a measurement."""
    low = score.value if score.low is None else score.low
    high = score.value if score.high is None else score.high
    return Measured(score.value, low, high, f"{seeds} seeds")
