"""The pieces of work of a comparison, each a plain function that another process can run.

Idea     try a learning rate -> train at the chosen one, once a seed -> look how far the trained
         models reach -> price each length. Jobs share nothing but their arguments
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from howfar.cost.clock import Cost, measure_cost
from howfar.measure import InteractionOptions, SwapOptions, interaction_reach, swap_reach
from howfar.measure.swap import SwapReach
from howfar.models.model import Model
from howfar.record.comparison import Baseline, Card, Need, Reach
from howfar.study.demand import needs
from howfar.study.plan import CompareOptions, Design
from howfar.study.problems import Problem, TaskProblem
from howfar.train import Answers, Budget, Trained, TrainOptions, evaluate, fit

Progress = Callable[[float, float], None]  # share done, loss in nats (or nan)
PASS_TOKENS = 2**13  # a forward pass of this many stays within the caches
DISTANCE_ITEMS = 120  # test items at each exact distance


@dataclass(frozen=True, slots=True)
class Run:
    """What every job of a comparison is given: the problem and the settings."""

    problem: Problem
    options: CompareOptions

    @property
    def budget(self) -> Budget:
        """What each run may train on."""
        if self.options.budget is None:
            raise AssertionError("the budget is resolved before jobs are made")
        return self.options.budget

    def fit(
        self, design: Design, rate: float, seed: int, budget: Budget, progress: Progress
    ) -> tuple[Model, Trained]:
        """Build and train one model."""
        torch.set_num_threads(self.options.threads)
        model = design.build(seed)
        settings = TrainOptions(
            budget=budget, learning_rate=rate, seed=seed, device=self.options.device
        )
        source = self.problem.source(seed, self.options.batch)
        return model, fit(model, source, settings, lambda now: progress(now.share, now.loss))


@dataclass(frozen=True, slots=True)
class Result:
    """One trained model, with its answers on the test part unless it failed."""

    seed: int
    trained: Trained
    answers: Answers | None = None
    by_distance: dict[int, np.ndarray] | None = None  # exact distance -> (items,) bool


def try_rate(run: Run, design: Design, rate: float, progress: Progress) -> Result:
    """Train with a share of the budget at one rate of the grid; the weights are let go."""
    options = run.options
    budget = run.budget.part(options.grid_share)
    _, trained = run.fit(design, rate, options.seed, budget, progress)
    return Result(options.seed, replace(trained, weights={}))


def train(
    run: Run, design: Design, rate: float, seed: int, distances: Sequence[int], progress: Progress
) -> Result:
    """Train with the whole budget, then answer the test part."""
    model, trained = run.fit(design, rate, seed, run.budget, progress)
    if trained.status != "done":
        return Result(seed, replace(trained, weights={}))
    device = run.options.device
    source = run.problem.source(seed, run.options.batch)
    answers = evaluate(model, (batch.to(device) for batch in source.evaluation("test")))
    by_distance = {}
    if isinstance(run.problem, TaskProblem) and run.problem.places:
        for distance in distances:
            batch = run.problem.at_distance(distance, DISTANCE_ITEMS).to(device)
            by_distance[distance] = evaluate(model, [batch]).correct
    weights = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    return Result(seed, replace(trained, weights=weights), answers, by_distance or None)


class AtTarget(nn.Module):
    """A model that answers at each row's last token alone: (B, L) -> (B, 1, outputs).

    The head is the dear part where the vocabulary is large; the measures read one position.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Logits at position lengths - 1."""
        if not self.model.causal or self.model.pool == "last":
            answer: Tensor = self.model(tokens, lengths)
            return answer[:, None]
        hidden = self.model.hidden(tokens, lengths)
        last = hidden[torch.arange(len(tokens)), lengths - 1]
        logits: Tensor = self.model.head(last)
        return logits[:, None]

    def reach(self, length: int) -> int | None:
        """As the model declares."""
        return self.model.reach(length)


def look(
    run: Run, design: Design, weights: Sequence[dict[str, Tensor]], progress: Progress
) -> Reach:
    """Measure how far the trained models of one family look, all seeds taken together."""
    torch.set_num_threads(run.options.threads)
    models = []
    for state in weights:
        model = design.build()
        model.load_state_dict(state)
        models.append(AtTarget(model.eval()))
    problem, seed = run.problem, run.options.seed
    probe = problem.probe(run.options.sequences, seed)
    batch = max(1, min(256, PASS_TOKENS // probe.tokens.shape[1]))
    if problem.causal:
        settings = SwapOptions(
            seed=seed, trained_length=problem.length, batch=batch, levels=(0.5, 0.05, 0.01)
        )
        found = swap_reach(
            models, probe.tokens, lengths=probe.lengths, labels=probe.labels, options=settings
        )
        return swap_record(found, unbounded=models[0].reach(problem.length) is None)
    pairs = interaction_reach(
        models,
        probe.tokens,
        lengths=probe.lengths,
        options=InteractionOptions(seed=seed, batch=batch),
    )
    return Reach(
        kind="interaction",
        window=pairs.window,
        value=pairs.value,
        low=pairs.low,
        high=pairs.high,
        censored=pairs.censored,
        curve=pairs.curve.plain(),
        noise_floor=pairs.noise_floor,
        sequences=pairs.num_sequences,
        design="random pairs",
        warnings=pairs.warnings,
    )


def swap_record(found: SwapReach, *, unbounded: bool) -> Reach:
    """The record of a measured swap reach."""
    card = {
        "detectable": found.detectable,
        "used50": found.ladder[0.5],
        "used95": found.ladder[0.05],
        "used99": found.ladder[0.01],
    }
    influence = found.value is not None or found.censored
    used = [name for name in card if name.startswith("used")]
    censored = [name for name in used if influence and card[name] is None]
    if found.detectable_censored:
        censored.append("detectable")
    if found.useful_censored:
        censored.append("useful")
    return Reach(
        kind="swap",
        window=found.window,
        value=found.value,
        low=found.low,
        high=found.high,
        censored=found.censored,
        card=Card(
            structural=found.structural,
            structural_unbounded=unbounded,
            useful=found.useful,
            censored=tuple(censored),
            **card,
        ),
        per_seed=found.per_model,
        curve=found.curve.plain(),
        benefit=found.benefit.plain() if found.benefit else None,
        noise_floor=found.noise_floor,
        sequences=found.num_sequences,
        design=found.design,
        warnings=found.warnings,
    )


def price(run: Run, design: Design, progress: Progress) -> Cost:
    """Time and peak memory a token at every length asked for."""
    options = run.options
    model = design.build()
    return measure_cost(
        design.build,
        vocabulary=design.vocabulary,
        channels=design.channels,
        lengths=options.cost_lengths,
        threads=options.threads,
        seconds_per_point=options.cost_seconds,
        flops=model.flops,
        seed=options.seed,
    )


def demand(run: Run, progress: Progress) -> tuple[Need, ...]:
    """How far back the data reaches, whatever the model."""
    return needs(run.problem, run.options.seed)


def baselines(run: Run, progress: Progress) -> tuple[Baseline, ...]:
    """Simple predictors on the same test items."""
    return run.problem.baselines(run.options.seed)
