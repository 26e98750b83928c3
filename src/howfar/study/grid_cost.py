"""What a study will cost, before any of it is run: operations and tokens, by the models' own count.

Idea     a cell's budget fixes one of tokens, operations, steps or seconds; the family's operations
         a token give the others. Nothing is timed, and models have no memory ("meta")
Counts   of training alone: forward and backward, thrice the forward pass. Validation, test and
         measures come on top
Steps    have at most `batch` x length tokens; of labelled texts, batch x the mean of a row
Source   twice the forward pass for the backward one: Kaplan et al. 2020,
         https://arxiv.org/abs/2001.08361
"""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from howfar.models import Model, Sizes, named
from howfar.study.grid import Cell, Study
from howfar.study.plan import Design, design
from howfar.study.problems import Problem
from howfar.train.loop import FORWARD_AND_BACKWARD


@dataclass(frozen=True, slots=True)
class Amount:
    """Of so many cells; a budget in seconds says neither flops nor tokens, any other no seconds."""

    cells: int
    flops: float | None
    tokens: float | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Cost:
    """Of all cells, and of each family's."""

    total: Amount
    families: dict[str, Amount]


def cost(study: Study) -> Cost:
    """The cost of training all cells of a study.

    Raises:
        UsageError: E-WIDTH where a family cannot have so many parameters.
        UsageError, DataError, EnvironmentFault: the data cannot be read at a length.
    """
    axes = study.axes
    alike = len(axes.rate) * len(axes.seed)
    kinds = {(cell.length, cell.family, cell.parameters): cell for cell in study.cells()}
    counts = _Counts()
    amounts: dict[str, list[Amount]] = {family: [] for family in axes.family}
    for length in axes.length:  # outermost: the data is opened once a length
        problem = study.data.problem(length)
        for family, parameters in itertools.product(axes.family, axes.parameters):
            one = counts.of(kinds[length, family, parameters], problem)
            amounts[family].append(_times(one, alike))
    families = {family: _summed(each) for family, each in amounts.items()}
    return Cost(_summed(families.values()), families)


class _Counts:
    """Amounts of cells; a family's width is solved once for all lengths."""

    def __init__(self) -> None:
        self.known: dict[tuple[object, ...], Model] = {}

    def of(self, cell: Cell, problem: Problem) -> Amount:
        """The cost of one cell."""
        amount, unit = cell.budget.amount, cell.budget.unit
        model = self.model(cell, problem)
        if unit == "seconds":
            return Amount(1, None, None, amount)
        row = _row(problem)
        each = FORWARD_AND_BACKWARD * model.flops(row) / row
        if unit == "flops":
            return Amount(1, amount, amount / each, None)
        tokens = amount * cell.settings.batch * row if unit == "steps" else amount
        return Amount(1, each * tokens, tokens, None)

    def model(self, cell: Cell, problem: Problem) -> Model:
        """The family's model without memory, as a run will build it."""
        key = cell.family, cell.parameters, problem.vocabulary, problem.outputs
        if key not in self.known:
            self.known[key] = _shape(design(cell.family, problem, cell.options()))
        return self.known[key]


def _shape(wanted: Design) -> Model:
    family = named(wanted.family)
    sizes = Sizes(wanted.embedding, wanted.width, wanted.causal, wanted.dropout)
    with torch.device("meta"):
        return Model(
            family.build_body(sizes, family.settings()),
            vocabulary=wanted.vocabulary,
            outputs=wanted.outputs,
            embedding=wanted.embedding,
            dropout=wanted.dropout,
            pooled="last" if wanted.last else None,
            channels=wanted.channels,
        )


def _row(problem: Problem) -> int:
    """Tokens of a training row: of labelled texts the mean, else the length."""
    if problem.pass_tokens is None or problem.causal:
        return problem.length
    return max(1, round(problem.pass_tokens / problem.data.train))


def _times(one: Amount, count: int) -> Amount:
    return _summed([one] * count)


def _summed(amounts: Iterable[Amount]) -> Amount:
    each = list(amounts)

    def total(name: str) -> float | None:
        values = [getattr(amount, name) for amount in each]
        return None if None in values else math.fsum(values)

    return Amount(sum(a.cells for a in each), total("flops"), total("tokens"), total("seconds"))
