"""A comparison from end to end: every family under the same budget, measured with one ruler.

Idea     for each family: the learning-rate grid, then one run a seed at the best rate, then reach
         and cost; baselines beside them; one record at the end, whatever happened on the way
"""

import time
from collections.abc import Callable, Sequence

from howfar.record.comparison import Baseline, Comparison, Data, Need
from howfar.study import jobs
from howfar.study.advice import advise
from howfar.study.engine import Engine, Event, Outcome, engine
from howfar.study.plan import CompareOptions, Design, designs, resolved
from howfar.study.problems import Problem, TaskProblem
from howfar.study.provenance import provenance
from howfar.study.rows import File, family_row
from howfar.train import Trained

SAME_NATS = 0.01  # validation losses this close are not told apart
Listener = Callable[[Event], None]
MISSING = {"look": "reach was not measured", "price": "cost was not measured"}


def compare(
    problem: Problem,
    options: CompareOptions,
    *,
    listen: Listener = lambda event: None,
    command: str | None = None,
) -> Comparison:
    """Run a comparison and return its record.

    A run that fails, or KeyboardInterrupt, ends early what it must: the record then holds what was
    finished, and says what was not.

    Args:
        problem: what to compare on.
        options: the same settings for every family.
        listen: called with (job, share done, loss in nats) while runs go on.
        command: the command line, kept in the record.
    """
    started = time.monotonic()
    options = resolved(options, problem)
    plan = designs(problem, options)
    desk = _Desk(problem, options, plan)
    run = jobs.Run(problem, options)
    works = engine(run, listen, min(options.workers, 4 * len(plan)))
    interrupted = False
    try:
        desk.open(works)
        for outcome in works.outcomes():
            desk.take(outcome, works)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        works.close()
    return desk.record(time.monotonic() - started, command, interrupted=interrupted)


class _Desk:
    """Hands out jobs, takes results, and writes the record."""

    def __init__(self, problem: Problem, options: CompareOptions, plan: Sequence[Design]) -> None:
        self.problem, self.options = problem, options
        self.files = {design.family: File(design) for design in plan}
        self.baselines: tuple[Baseline, ...] = ()
        self.demand: tuple[Need, ...] = ()
        self.warnings: list[str] = []
        reaches = [design.build().reach(problem.length) for design in plan]
        self.distances = _distances(problem, reaches)

    def open(self, works: Engine) -> None:
        """Submit everything that waits for nothing; the dearest families first."""
        works.submit("baselines", jobs.baselines)
        if self.options.reach and not isinstance(self.problem, TaskProblem):
            works.submit("demand", jobs.demand)
        length = self.problem.length
        for name, file in sorted(
            self.files.items(), key=lambda item: -item[1].design.build().flops(length)
        ):
            if len(self.options.rates) == 1:
                self._train(name, self.options.rates[0], works)
                continue
            for rate in self.options.rates:
                job, seed = f"rate/{name}/{rate!r}", self.options.seed
                if self.options.grid_share < 1:
                    works.submit(job, jobs.try_rate, file.design, rate)
                else:
                    works.submit(job, jobs.train, file.design, rate, seed, self.distances)

    def take(self, outcome: Outcome, works: Engine) -> None:
        """File a result and submit what it makes possible."""
        kind, _, rest = outcome.name.partition("/")
        name, _, detail = rest.partition("/")
        if kind == "baselines":
            self.baselines = outcome.result or ()
            if outcome.error is not None:
                self.warnings.append(f"baselines failed: {outcome.error}")
            return
        if kind == "demand":
            self.demand = outcome.result or ()
            if outcome.error is not None:
                self.warnings.append(f"the data's own reach was not measured: {outcome.error}")
            return
        file = self.files[name]
        if outcome.error is not None and kind in MISSING:
            file.failures.append(f"{MISSING[kind]}: {outcome.error}")
        if kind == "rate":
            self._rate_done(name, float(detail), outcome, works)
        elif kind == "train":
            self._train_done(name, int(detail), outcome, works)
        elif kind == "look":
            file.reach = outcome.result
        elif kind == "price":
            file.cost = outcome.result

    def _rate_done(self, name: str, rate: float, outcome: Outcome, works: Engine) -> None:
        file = self.files[name]
        failed = jobs.Result(self.options.seed, Trained(status="failed", reason=outcome.error))
        file.rates[rate] = outcome.result or failed
        if len(file.rates) < len(self.options.rates):
            return
        ends = {rate: result.trained for rate, result in file.rates.items()}
        finite = {rate: end.best_nats for rate, end in ends.items() if end.status == "done"}
        if not finite:
            reasons = list(dict.fromkeys(end.reason for end in ends.values() if end.reason))
            file.failures.append(f"no learning rate worked: {'; '.join(reasons)}")
            return
        # Of rates that do equally well the smallest: it is the least likely to fail another seed.
        best = min(r for r in finite if finite[r] <= min(finite.values()) + SAME_NATS)
        if self.options.grid_share == 1:
            # The run that won the grid is this seed's run: same rate, seed and budget.
            file.results[self.options.seed] = file.rates[best]
        self._train(name, best, works)

    def _train(self, name: str, rate: float, works: Engine) -> None:
        file = self.files[name]
        file.rate = rate
        for seed in self.seeds:
            if seed not in file.results:
                job = f"train/{name}/{seed}"
                works.submit(job, jobs.train, file.design, rate, seed, self.distances)
        self._go_on(name, works)

    def _train_done(self, name: str, seed: int, outcome: Outcome, works: Engine) -> None:
        file = self.files[name]
        failed = Trained(status="failed", reason=outcome.error)
        file.results[seed] = outcome.result or jobs.Result(seed, failed)
        self._go_on(name, works)

    def _go_on(self, name: str, works: Engine) -> None:
        """Measure and price a family once all its seeds are trained."""
        file = self.files[name]
        if len(file.results) < len(self.seeds):
            return
        finished = file.finished
        if finished and self.options.reach:
            weights = [result.trained.weights for result in finished]
            works.submit(f"look/{name}", jobs.look, file.design, weights)
        if self.options.cost_lengths:
            works.submit(f"price/{name}", jobs.price, file.design)

    @property
    def seeds(self) -> list[int]:
        """Seeds of the runs."""
        return [self.options.seed + i for i in range(self.options.seeds)]

    def record(self, seconds: float, command: str | None, *, interrupted: bool) -> Comparison:
        """Everything that is known, as a record."""
        rows = tuple(
            family_row(file, self.problem, self.options.seed, interrupted=interrupted)
            for file in self.files.values()
        )
        data: Data = self.problem.data
        partly = [f"{r.family}: {r.reason}" for r in rows if r.status == "done" and r.reason]
        return Comparison(
            data=data,
            rows=rows,
            baselines=self.baselines,
            demand=self.demand,
            advice=advise(data, rows, self.baselines),
            warnings=(*self.warnings, *partly),
            settings=_settings(
                jobs.Run(self.problem, self.options), next(iter(self.files.values())).design
            ),
            provenance=provenance(self.options.threads),
            command=command,
            interrupted=interrupted,
            seconds=seconds,
        )


def _distances(problem: Problem, reaches: Sequence[int | None]) -> list[int]:
    """Exact distances to score: two an octave, and both sides of each bounded reach's edge."""
    if not isinstance(problem, TaskProblem) or not problem.places:
        return []
    last = problem.length - 1
    grid = {1, 2, 3, last}
    step = 4
    while step <= last:
        grid |= {step, step * 3 // 2}
        step *= 2
    for reach in reaches:
        if reach is not None:  # `reach` kept tokens: the cue is seen up to distance reach - 1
            grid |= {reach - 1, reach, reach + 1}
    return sorted(d for d in grid if 1 <= d <= last)


def _settings(run: jobs.Run, design: Design) -> dict[str, str | int | float | bool]:
    options, budget = run.options, run.budget
    return {
        "budget a run": str(budget),
        "learning rates tried": ", ".join(f"{rate:g}" for rate in options.rates),
        "budget a tried rate": str(budget.part(options.grid_share)),
        "seeds": options.seeds,
        "first seed": options.seed,
        "parameters a body": options.parameters,
        "embedding width": options.embedding,
        "dropout": design.dropout,
        "rows a batch": options.batch,
        "sequences for reach": options.sequences,
        "optimiser": "AdamW (0.9, 0.98), weight decay 0.01, clip 1, warm-up 10 %, cosine to 10 %",
        "threads": options.threads,
        "device": options.device,
    }
