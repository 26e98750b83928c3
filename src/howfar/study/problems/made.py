"""A made task as a problem: items by counter, scored where they are, and by distance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from howfar.core.batch import IGNORED, Batch
from howfar.core.protocols import Source
from howfar.record.comparison import Baseline, Data, Score
from howfar.study.problems.base import Probe, accuracy
from howfar.study.score import error_score
from howfar.tasks import Task, scored
from howfar.tasks.recall import Recall
from howfar.train import Answers

TASK_ITEMS = {"validation": 128, "test": 640}
EVALUATED = 128  # items a batch


@dataclass(frozen=True)
class TaskProblem:
    """A made task: items by counter, scored at the positions that ask."""

    task: Task
    data: Data

    @classmethod
    def of(cls, task: Task) -> "TaskProblem":
        """Wrap a task with its data record."""
        data = Data(
            kind="task",
            name=task.name,
            unit="symbol" if task.vocabulary else "number",
            train=task.size("train") or 0,
            validation=items(task, "validation"),
            test=items(task, "test"),
            vocabulary=task.vocabulary,
            length=task.length,
            notes=(told(task), *kept(task)),
        )
        return cls(task, data)

    causal = True

    @property
    def vocabulary(self) -> int:
        """Symbols, padding included; 0 where items are numbers."""
        return self.task.vocabulary

    @property
    def channels(self) -> int:
        """Numbers a position, where items are numbers."""
        return self.task.channels

    @property
    def last(self) -> bool:
        """Whether the answer is one number, at the last position."""
        return self.task.numbers

    @property
    def outputs(self) -> int:
        """Classes to choose from."""
        return self.task.outputs

    @property
    def length(self) -> int:
        """Tokens an item."""
        return self.task.length

    @property
    def pass_tokens(self) -> int | None:
        """Items are made as they are needed."""
        return None

    @property
    def places(self) -> bool:
        """Whether items can be asked for at an exact distance."""
        return isinstance(self.task, Recall)

    def source(self, seed: int, rows: int) -> Source:
        """Fresh training items for every step; fixed validation and test items."""
        return TaskSource(self.task, seed, rows)

    def score(self, answers: Sequence[Answers], seed: int) -> tuple[Score, tuple[float, ...]]:
        """Accuracy over the scored positions of the test items, or the squared error."""
        if self.task.numbers:
            each = tuple(a.mean_nats for a in answers)
            return error_score(np.stack([a.nats for a in answers]), seed), each
        return accuracy([a.correct for a in answers], seed, answers[0].row)

    def probe(self, count: int, seed: int) -> Probe:
        """Items cut behind the last position that is scored, with its answer."""
        if (most := self.task.size("test")) is None:
            batch = self.task.batch(range(count), split=f"probe {seed}")
        else:
            batch = self.task.batch(range(min(count, most)), split="test")
        if self.task.numbers:
            return Probe(batch.tokens, batch.lengths)
        asked_BL = batch.targets != IGNORED
        places_L = torch.arange(1, asked_BL.shape[1] + 1)
        lengths = (asked_BL * places_L).amax(1).clamp(min=1)
        return Probe(batch.tokens, lengths, batch.targets.clamp(min=0))

    def at_distance(self, distance: int, count: int) -> Batch:
        """Test items with the cue exactly this far back."""
        assert isinstance(self.task, Recall)
        return self.task.batch(range(count), split="distance", distance=distance)

    def baselines(self, seed: int) -> tuple[Baseline, ...]:
        """Chance, and the ladder of shortcuts."""
        batch = self.task.batch(range(items(self.task, "test")), split="test")
        target = scored(batch)
        if self.task.numbers:
            guess = Score(name="squared error", value=self.task.chance, better="lower")
        else:
            guess = Score(name="accuracy", value=self.task.chance)
        rungs = [Baseline(name="chance", score=guess, note="the best that a blind guess does")]
        for name, rule in self.task.shortcuts.items():
            found = rule(batch)
            if self.task.numbers:
                score = error_score((found - target).square().double().numpy()[None], seed)
            else:
                rows = (batch.targets != IGNORED).nonzero()[:, 0].numpy()
                score, _ = accuracy([(found == target).numpy()], seed, rows)
            rungs.append(Baseline(name=name, score=score, note="a shortcut, on the same items"))
        return tuple(rungs)


def items(task: Task, part: str) -> int:
    """How many items of a part are scored: none twice."""
    size = task.size(part)
    return TASK_ITEMS[part] if size is None else min(size, TASK_ITEMS[part])


def told(task: Task) -> str:
    """The task in one line, with what its settings are."""
    settings = ", ".join(f"{name}={value}" for name, value in task.settings.items())
    return f"{task.idea} ({settings})"


def kept(task: Task) -> tuple[str, ...]:
    """How much must be held, where it is known: a family's state stands beside it."""
    if task.state_bits is None:
        return ()
    size = max(1, round(task.state_bits / 8))
    return (f"at the worst moment {task.state_bits:,.1f} bits must be held, about {size:,} bytes",)


@dataclass(frozen=True)
class TaskSource:
    """Batches of a task; item numbers follow from seed and step alone."""

    task: Task
    seed: int
    rows: int

    def batch(self, step: int) -> Batch:
        """Training items step * rows ... of this seed's own split."""
        items = range(step * self.rows, (step + 1) * self.rows)
        return self.task.batch(items, split=f"train {self.seed}")

    def evaluation(self, part: str) -> Iterator[Batch]:
        """The fixed items of "validation" or "test"."""
        most = items(self.task, part)
        for start in range(0, most, EVALUATED):
            yield self.task.batch(range(start, min(start + EVALUATED, most)), split=part)
