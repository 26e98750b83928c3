"""What every task is: items by counter, answers that are known, chance, and a ladder of shortcuts.

Idea     a frozen dataclass whose fields are the difficulty; `batch` makes items from their numbers,
         `oracle` reads the answers off the tokens, `shortcuts` are rules that need less than the
         task asks. Answers come as (N,), one a scored target, rows first: `scored(batch)`
Lengths  train, validation and test items have `length` tokens (or up to `length`, where a task says
         so); items of another length come from `at_length`, with the same ids
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

from torch import Tensor

from howfar.core.batch import IGNORED, Batch
from howfar.core.errors import UsageError
from howfar.tasks.streams import Draws

Rule = Callable[[Batch], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(ABC):
    """A task. Item i of a split is the same on every machine and in every shard.

    Args:
        length: tokens a sequence; what else is counted in it, each task says.
        seed: another seed is another set of items.
    """

    name: ClassVar[str]
    idea: ClassVar[str]  # one line, as `howfar task list` shows it
    version: ClassVar[int] = 1  # part of the key of every item: raised when the items change
    numbers: ClassVar[bool] = False  # answers are one number a row, not classes
    channels: ClassVar[int] = 0  # real numbers a position; 0: tokens are ids
    informative: ClassVar[str] = ""  # why counts of tokens tell of the answer, where they do

    length: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be made; subclasses call this first, then `require` their own."""
        self.require(self.seed >= 0, "seed >= 0")
        self.require(self.length >= 1, "length >= 1")

    @property
    @abstractmethod
    def vocabulary(self) -> int:
        """Ids, padding 0 included; the same at every length. 0 where tokens are numbers."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Classes to choose from; 1 where the answer is a number."""

    @property
    @abstractmethod
    def chance(self) -> float:
        """Accuracy of the best blind guess; for numbers the squared error of the best constant."""

    @property
    @abstractmethod
    def symbols(self) -> tuple[str, ...]:
        """A short name of every id, for drawings."""

    @property
    def answers(self) -> tuple[str, ...]:
        """A short name of every class."""
        return tuple(str(number) for number in range(self.outputs))

    @property
    def state_bits(self) -> float | None:
        """Bits that must be held at the worst moment to answer everything; None: not known."""
        return None

    @abstractmethod
    def batch(self, indices: Sequence[int], *, split: str = "train") -> Batch:
        """Items `indices` of a split."""

    @abstractmethod
    def oracle(self, batch: Batch) -> Tensor:
        """The right answers, worked out from the tokens alone: (N,)."""

    @property
    @abstractmethod
    def shortcuts(self) -> Mapping[str, Rule]:
        """Rules that need less than the task asks, each giving (N,) answers: the ladder."""

    def at_length(self, length: int) -> Self:
        """The same task with items of exactly this length."""
        exactly = {"shortest": length} if "shortest" in self.settings else {}
        return replace(self, length=length, **exactly)

    @property
    def settings(self) -> dict[str, Any]:
        """The fields and their values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def size(self, split: str) -> int | None:
        """Different items of a split, where they come from data; later ones repeat them."""
        return None

    def draws(self, split: str, indices: Sequence[int]) -> Draws:
        """The random words of these items."""
        return Draws(f"{self.name}/{self.version}/{self.seed}/{split}", indices)

    def require(self, holds: bool, inequality: str, hint: str = "") -> None:
        """Refuse settings for which an inequality, as it is written, does not hold.

        Raises:
            UsageError: E-OPTION with the inequality and the values.
        """
        if not holds:
            given = ", ".join(
                f"{name}={value!r}" for name, value in self.settings.items() if name in inequality
            )
            message = f"{self.name} needs {inequality}; got {given}."
            raise UsageError("E-OPTION", message, hint or "other settings")


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberTask(Task):
    """A task whose tokens are numbers, with one number as the answer at the last position."""

    numbers: ClassVar[bool] = True

    @property
    def vocabulary(self) -> int:
        """No ids: tokens are numbers."""
        return 0

    @property
    def outputs(self) -> int:
        """One number."""
        return 1

    @property
    def symbols(self) -> tuple[str, ...]:
        """No ids, no names."""
        return ()


def scored(batch: Batch) -> Tensor:
    """The targets that are scored, rows first: (N,) classes, or (B,) numbers."""
    if batch.targets.is_floating_point():
        return batch.targets
    return batch.targets[batch.targets != IGNORED]


def distances(batch: Batch) -> Tensor:
    """How far back the farthest token stands that decides each scored target: (N,)."""
    if batch.distance is None:
        raise ValueError("These items do not say how far back their answer stands.")
    if batch.targets.is_floating_point():
        return batch.distance.amax(1)
    return batch.distance[batch.targets != IGNORED]
