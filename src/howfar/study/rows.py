"""One family's row of a comparison, from whatever of its jobs were finished."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from howfar.cost.clock import Cost
from howfar.cost.fit import fit_exponent
from howfar.measure import task_reach
from howfar.models import MODELS
from howfar.record.comparison import DistancePoint, Exponent, Learning, Reach, Row
from howfar.study.jobs import Result
from howfar.study.plan import Design
from howfar.study.problems import Problem, TaskProblem
from howfar.study.problems.base import accuracy

LEAST_ANSWERS = 20  # in a bin of distances, over which an accuracy says anything


@dataclass
class File:
    """What is known of one family so far."""

    design: Design
    rates: dict[float, Result] = field(default_factory=dict)
    rate: float | None = None
    results: dict[int, Result] = field(default_factory=dict)
    reach: Reach | None = None
    cost: Cost | None = None
    failures: list[str] = field(default_factory=list)

    @property
    def finished(self) -> list[Result]:
        """Runs that ended well, by seed."""
        results = [self.results[seed] for seed in sorted(self.results)]
        return [result for result in results if result.trained.status == "done"]


def family_row(file: File, problem: Problem, seed: int, *, interrupted: bool) -> Row:
    """Everything known of one family."""
    model = file.design.build()
    counts = model.count()
    status, reason = _status(file, interrupted=interrupted)
    tried = {rate: result.trained.best_nats for rate, result in sorted(file.rates.items())}
    row = Row(
        family=file.design.family,
        kind=MODELS[file.design.family].kind,
        status=status,
        reason=reason,
        reach=file.reach,
        parameters=counts["body"],
        embedding_parameters=counts["embedding"],
        head_parameters=counts["head"],
        width=file.design.width,
        depth=int(getattr(MODELS[file.design.family].settings(), "depth", 1)),
        declared_reach=model.reach(problem.length),
        learning_rates={f"{rate:g}": nats for rate, nats in tried.items() if np.isfinite(nats)},
        cost=file.cost.points if file.cost else (),
        cost_exponent=_exponent(file.cost, "train"),
        forward_exponent=_exponent(file.cost, "forward"),
        state_bytes=model.state_bytes(problem.length),
        notes=_notes(file, causal=problem.causal),
    )
    finished = file.finished
    if not finished:
        return row
    score, each = problem.score([r.answers for r in finished if r.answers is not None], seed)
    points = _by_distance(finished, problem, seed)
    solved, censored = task_reach(points, _chance(problem)) if points else (None, False)
    return replace(
        row,
        score=score,
        seed_scores=each,
        by_distance=points or None,
        task_reach=solved,
        task_reach_censored=censored,
        train_seconds=float(np.median([r.trained.seconds for r in finished])),
        tokens_seen=int(np.median([r.trained.tokens for r in finished])),
        steps=int(np.median([r.trained.steps for r in finished])),
        learning_rate=file.rate,
        seeds=tuple(result.seed for result in finished),
        learning=tuple(_learning(result, file.rate or 0.0) for result in finished),
    )


def _chance(problem: Problem) -> float:
    return problem.task.chance if isinstance(problem, TaskProblem) else 1 / problem.outputs


def _by_distance(
    finished: Sequence[Result], problem: Problem, seed: int
) -> tuple[DistancePoint, ...]:
    """Accuracy at exact distances where a task can place its cue, else of test items in octaves."""
    asked: list[tuple[int, int, list[np.ndarray], np.ndarray | None]]
    if finished[0].by_distance:
        asked = [
            (distance, distance, [r.by_distance[distance] for r in finished if r.by_distance], None)
            for distance in finished[0].by_distance
        ]
    else:
        asked = list(_in_bins(finished, problem))
    points = []
    for first, last, right, rows in asked:
        score, _ = accuracy(right, seed, rows)
        points.append(
            DistancePoint(
                distance=first,
                last=None if first == last else last,
                accuracy=score.value,
                low=score.value if score.low is None else score.low,
                high=score.value if score.high is None else score.high,
                count=sum(len(answers) for answers in right),
            )
        )
    return tuple(points)


def _in_bins(
    finished: Sequence[Result], problem: Problem
) -> Iterator[tuple[int, int, list[np.ndarray], np.ndarray | None]]:
    """First and last distance of a bin, the answers of every seed in it, and their rows."""
    answers = [r.answers for r in finished if r.answers is not None]
    if not isinstance(problem, TaskProblem) or problem.task.numbers or not answers:
        return
    far = answers[0].distance
    for first, last in _halves_of_octaves(int(far.max(initial=0))):
        here = (far >= first) & (far <= last)
        if here.sum() >= LEAST_ANSWERS:
            yield first, last, [a.correct[here] for a in answers], answers[0].row[here]


def _halves_of_octaves(most: int) -> Iterator[tuple[int, int]]:
    """1, 2, 3, 4-5, 6-7, 8-11, 12-15, ... up to `most`; the last one ends there."""
    first, step = 0, 1
    while first <= most:
        yield first, min(most, first + step - 1)
        first += step
        if first >= 4 * step and first & (first - 1) == 0:
            step *= 2


def _status(file: File, *, interrupted: bool) -> tuple[str, str | None]:
    ended = [r for _, r in sorted(file.results.items()) if r.trained.status != "done"]
    reasons = [*file.failures, *(f"seed {r.seed}: {r.trained.reason or 'failed'}" for r in ended)]
    if file.finished:
        return "done", "; ".join(reasons) or None
    if interrupted and not reasons:
        return "stopped", "stopped before a run was finished"
    return "failed", "; ".join(reasons) or "no run was finished"


def _learning(result: Result, rate: float) -> Learning:
    return Learning(
        seed=result.seed,
        learning_rate=rate,
        tokens=tuple(tokens for tokens, _ in result.trained.curve),
        validation_nats=tuple(nats for _, nats in result.trained.curve),
    )


def _exponent(cost: Cost | None, kind: str) -> Exponent | None:
    if cost is None:
        return None
    totals = []
    for point in cost.points:
        us = point.forward_us_per_token if kind == "forward" else point.train_us_per_token
        if us is not None:
            totals.append((point.length, point.length * us))
    return fit_exponent([length for length, _ in totals], [total for _, total in totals])


def _notes(file: File, *, causal: bool) -> tuple[str, ...]:
    notes = list(file.cost.notes) if file.cost else []
    if file.design.family == "textcnn" and not causal:
        notes.append(
            "max over time makes all windows compete, which shows as a low floor of interaction "
            "at every lag: joint treatment in the formula's sense, not a relation of two words"
        )
    return tuple(notes)
