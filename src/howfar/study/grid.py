"""A study as a grid: axes, and everything else that is the same in every cell.

Idea     one cell is one training run. Its name `run` is the hash of all that decides its result,
         and of nothing else: the same cell of two studies is one run, and is trained once
Fair     budget, parameters of the body and settings are those of the study, for every family
Order    the first axis moves slowest: family, length, rate, seed, parameters
"""

import hashlib
import itertools
import json
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from howfar.core.errors import UsageError, shown
from howfar.study.material import Material
from howfar.study.plan import CompareOptions
from howfar.study.problems import Problem
from howfar.train import Budget

FORM = 1  # of what is hashed: raised when a cell comes to mean something else
MOST_CELLS = 10_000
DIGITS = 20  # of the hash that names a run
USUALLY = CompareOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """What differs between cells: no axis is empty, and no value stands twice.

    rate: peak learning rates. seed: of weights and of the order of data. parameters: of the body.
    length: tokens a sequence; None, for labelled texts: as suits them.
    """

    family: tuple[str, ...]
    rate: tuple[float, ...]
    seed: tuple[int, ...]
    length: tuple[int | None, ...] = (None,)
    parameters: tuple[int, ...] = (USUALLY.parameters,)

    def __post_init__(self) -> None:
        """Refuse a grid that is empty, too large, or holds a cell twice."""
        if self.count > MOST_CELLS:
            sizes = " x ".join(f"{len(getattr(self, name)):,} {name}" for name in AXES)
            message = f"The grid has {self.count:,} cells ({sizes}), more than {MOST_CELLS:,}."
            raise UsageError("E-OPTION", message, "fewer values, or several studies")
        for name in AXES:
            times = Counter(getattr(self, name))
            if not times:
                raise UsageError("E-OPTION", f"The axis {name} is empty.", "one value or more")
            value, count = times.most_common(1)[0]
            if count > 1:
                message = f"The axis {name} holds {shown(value)} more than once."
                raise UsageError("E-OPTION", message, "each value once")

    @property
    def count(self) -> int:
        """Cells of the grid."""
        return math.prod(len(getattr(self, name)) for name in AXES)


AXES = ("family", "length", "rate", "seed", "parameters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How every cell is trained; as in `CompareOptions`."""

    batch: int = USUALLY.batch
    embedding: int = USUALLY.embedding
    dropout: float | None = None
    threads: int = USUALLY.threads
    device: str = USUALLY.device


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What is measured of a trained cell; as in `CompareOptions`. No cost unless asked for."""

    reach: bool = USUALLY.reach
    sequences: int = USUALLY.sequences
    cost_lengths: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run: everything that decides its result."""

    family: str
    length: int | None
    rate: float
    seed: int
    parameters: int
    data: Material
    budget: Budget
    settings: Settings = field(default_factory=Settings)
    measure: Measure = field(default_factory=Measure)

    @property
    def identity(self) -> dict[str, Any]:
        """What the name of the run is the hash of, as plain values."""
        known: dict[str, Any] = {name: getattr(self, name) for name in AXES}
        known["rate"] = float(self.rate)
        known["data"] = self.data.identity
        known["budget"] = {self.budget.unit: float(self.budget.amount)}
        for part in (self.settings, self.measure):
            known |= {name: getattr(part, name) for name in part.__slots__}
        dropout = self.settings.dropout
        known["dropout"] = dropout if dropout is None else float(dropout)
        return known | {"form": FORM}

    @property
    def run(self) -> str:
        """The run's name: 20 hex digits."""
        return _digest(self.identity)

    def problem(self) -> Problem:
        """What it is trained on; see `Material.problem`."""
        return self.data.problem(self.length)

    def options(self) -> CompareOptions:
        """Settings for `howfar.study.jobs.Run` and `howfar.study.plan.design`.

        One rate and one seed: `jobs.train` then trains as a comparison would.

        Raises:
            UsageError: E-OPTION, E-MODEL for a value out of range.
        """
        return CompareOptions(
            families=(self.family,),
            budget=self.budget,
            rates=(self.rate,),
            seeds=1,
            seed=self.seed,
            parameters=self.parameters,
            batch=self.settings.batch,
            embedding=self.settings.embedding,
            dropout=self.settings.dropout,
            threads=self.settings.threads,
            device=self.settings.device,
            reach=self.measure.reach,
            sequences=self.measure.sequences,
            cost_lengths=self.measure.cost_lengths,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A grid of runs under one budget. The name is for people; it decides nothing."""

    name: str
    axes: Axes
    data: Material
    budget: Budget
    settings: Settings = field(default_factory=Settings)
    measure: Measure = field(default_factory=Measure)

    def cells(self) -> tuple[Cell, ...]:
        """All runs, the first axis slowest."""
        values = (getattr(self.axes, name) for name in AXES)
        return tuple(
            Cell(
                family=family,
                length=length,
                rate=rate,
                seed=seed,
                parameters=parameters,
                data=self.data,
                budget=self.budget,
                settings=self.settings,
                measure=self.measure,
            )
            for family, length, rate, seed, parameters in itertools.product(*values)
        )

    @property
    def fingerprint(self) -> str:
        """20 hex digits that two studies share where they have the same runs, in any order."""
        return _digest(sorted(cell.run for cell in self.cells()))


def _digest(plain: object) -> str:
    """The hash of plain values in one form: keys sorted, floats by their shortest digits."""
    said = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(said.encode("ascii")).hexdigest()[:DIGITS]
