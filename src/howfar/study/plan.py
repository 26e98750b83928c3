"""What to run: the settings of a comparison, resolved and checked before any work starts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral

from howfar.core.errors import UsageError, closest, shown
from howfar.core.seeds import Seeds
from howfar.models import MODELS, USUAL, build, fit_width
from howfar.models.model import Model
from howfar.study.problems import Problem
from howfar.train import Budget

RATES = (1e-3, 3e-3, 1e-2)
COST_LENGTHS = (128, 512, 2048, 8192)
DEFAULT_TOKENS, MOST_PASSES = 1_000_000, 8  # more passes than that overfit before they help
WHOLE = ("seeds", "seed", "parameters", "embedding", "batch", "sequences", "workers", "threads")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """Settings of one comparison, the same for every family.

    budget: what each run may train on; None: a million tokens, at most 8 passes over the data.
    rates: the learning-rate grid, tried with `grid_share` of the budget each and chosen on the
    validation part; at 1, the winning run is the first seed's run.
    seeds: how many runs at the chosen rate.
    parameters: of each body, embedding and head apart. batch: rows a step.
    sequences: how many to measure reach on. cost_lengths: empty for no cost.
    workers: processes; threads: of torch in each.
    """

    families: tuple[str, ...] = USUAL
    budget: Budget | None = None
    rates: tuple[float, ...] = RATES
    grid_share: float = 1.0
    seeds: int = 2
    seed: int = 0
    parameters: int = 60_000
    embedding: int = 64
    dropout: float | None = None
    batch: int = 32
    sequences: int = 256
    reach: bool = True
    cost_lengths: tuple[int, ...] = COST_LENGTHS
    cost_seconds: float = 0.3
    workers: int = 1
    threads: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in WHOLE:
            value = getattr(self, name)
            if type(value) is bool or not isinstance(value, Integral):
                raise UsageError("E-OPTION", f"{name}={shown(value)} is not a whole number.")
        checks = {
            "families": len(self.families) > 0,
            "rates": 0 < len(self.rates) == len(set(self.rates))
            and all(1e-8 <= rate <= 10 for rate in self.rates),
            "grid_share": 0 < self.grid_share <= 1,
            "seeds": 1 <= self.seeds <= 100,
            "seed": 0 <= self.seed < 2**63,
            "parameters": 1000 <= self.parameters <= 10**9,
            "embedding": 1 <= self.embedding <= 4096,
            "dropout": self.dropout is None or 0 <= self.dropout < 1,
            "batch": 1 <= self.batch <= 65_536,
            "sequences": 2 <= self.sequences <= 10**6,
            "cost_lengths": all(1 <= n <= 2**20 for n in self.cost_lengths),
            "cost_seconds": 0 < self.cost_seconds <= 3600,
            "workers": 1 <= self.workers <= 256,
            "threads": 1 <= self.threads <= 256,
        }
        for name, fine in checks.items():
            if not fine:
                message = f"{name}={shown(getattr(self, name))} is out of range."
                raise UsageError("E-OPTION", message, "`howfar compare --help` gives the ranges")
        for family in self.families:
            check_family(family)


def resolved(options: CompareOptions, problem: Problem) -> CompareOptions:
    """The options with a budget, where none was asked for."""
    if options.budget is not None:
        return replace(options, budget=options.budget.counted(problem.pass_tokens))
    tokens = DEFAULT_TOKENS
    if problem.pass_tokens is not None:
        tokens = min(tokens, MOST_PASSES * problem.pass_tokens)
    return replace(options, budget=Budget(tokens))


def check_family(name: str) -> None:
    """Raise UsageError E-MODEL with the nearest name for an unknown family."""
    if name not in MODELS:
        near, known = closest(str(name), MODELS), ", ".join(MODELS)
        message = f"No family is called {shown(name)}. {near}Known: {known}."
        raise UsageError("E-MODEL", message, "`howfar models` says what each one is")


@dataclass(frozen=True, slots=True)
class Design:
    """One family at the width that gives it the wanted number of parameters."""

    family: str
    width: int
    vocabulary: int
    outputs: int
    causal: bool
    embedding: int
    dropout: float
    channels: int = 0  # the model reads this many real numbers a position, not ids
    last: bool = False  # one answer a sequence, at its last position

    def build(self, seed: int = 0) -> Model:
        """A fresh model; the seed sets its first weights."""
        return build(
            self.family,
            vocabulary=self.vocabulary,
            outputs=self.outputs,
            width=self.width,
            causal=self.causal,
            pooled="last" if self.last else None,
            embedding=self.embedding,
            dropout=self.dropout,
            channels=self.channels,
            generator=Seeds(seed).torch(f"init {self.family}"),
        )


def design(family: str, problem: Problem, options: CompareOptions) -> Design:
    """Solve the width of a family for a problem."""
    width = fit_width(
        family, options.parameters, causal=problem.causal, embedding=options.embedding
    )
    dropout = options.dropout
    if dropout is None:
        dropout = 0.0 if problem.causal else 0.3
    return Design(
        family,
        width,
        problem.vocabulary,
        problem.outputs,
        problem.causal,
        options.embedding,
        dropout,
        problem.channels,
        problem.last,
    )


def designs(problem: Problem, options: CompareOptions) -> Sequence[Design]:
    """All families of the comparison, in the order asked for."""
    return [design(family, problem, options) for family in dict.fromkeys(options.families)]
