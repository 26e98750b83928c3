"""A made task as a problem: items by counter, accuracy at the one scored position."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from howfar.core.batch import Batch
from howfar.core.protocols import Source
from howfar.record.comparison import Baseline, Data, Score
from howfar.study.problems.base import Probe, accuracy
from howfar.tasks.recall import Recall
from howfar.train import Answers

TASK_ITEMS = {"validation": 128, "test": 640}


@dataclass(frozen=True)
class TaskProblem:
    """A made task: items by counter, accuracy at the one scored position."""

    task: Recall
    data: Data

    @classmethod
    def of(cls, task: Recall) -> "TaskProblem":
        """Wrap a task with its data record."""
        data = Data(
            kind="task",
            name="recall",
            unit="symbol",
            validation=TASK_ITEMS["validation"],
            test=TASK_ITEMS["test"],
            vocabulary=task.vocabulary,
            length=task.length,
            notes=(
                f"one of {task.cues} cues, then noise, then the question; the cue stands 1 to "
                f"{task.length - 1} tokens back, every octave equally often",
            ),
        )
        return cls(task, data)

    causal = True

    @property
    def vocabulary(self) -> int:
        """Symbols, padding included."""
        return self.task.vocabulary

    @property
    def outputs(self) -> int:
        """Cues."""
        return self.task.outputs

    @property
    def length(self) -> int:
        """Tokens an item."""
        return self.task.length

    @property
    def pass_tokens(self) -> int | None:
        """Items are made as they are needed."""
        return None

    def source(self, seed: int, rows: int) -> Source:
        """Fresh training items for every step; fixed validation and test items."""
        return TaskSource(self.task, seed, rows)

    def score(self, answers: Sequence[Answers], seed: int) -> tuple[Score, tuple[float, ...]]:
        """Accuracy over log-uniform distances."""
        return accuracy([a.correct for a in answers], seed)

    def probe(self, count: int, seed: int) -> Probe:
        """Items whose cue stands anywhere, log-uniformly."""
        batch = self.task.batch(range(count), split=f"probe {seed}")
        labels = batch.targets.clamp(min=0)
        return Probe(batch.tokens, batch.lengths, labels)

    def at_distance(self, distance: int, count: int) -> Batch:
        """Test items with the cue exactly this far back."""
        return self.task.batch(range(count), split="distance", distance=distance)

    def baselines(self, seed: int) -> tuple[Baseline, ...]:
        """Chance, and the ladder of shortcuts."""
        batch = self.task.batch(range(TASK_ITEMS["test"]), split="test")
        target = batch.targets[:, -1]
        chance = Score(name="accuracy", value=self.task.chance)
        rungs = [Baseline(name="chance", score=chance, note="1 of the cues, guessed")]
        for name, rule in self.task.shortcuts.items():
            correct = (rule(batch) == target).numpy()
            score, _ = accuracy([correct], seed)
            rungs.append(Baseline(name=name, score=score, note="a shortcut, on the same items"))
        return tuple(rungs)


@dataclass(frozen=True)
class TaskSource:
    """Batches of a task; item numbers follow from seed and step alone."""

    task: Recall
    seed: int
    rows: int

    def batch(self, step: int) -> Batch:
        """Training items step * rows ... of this seed's own split."""
        items = range(step * self.rows, (step + 1) * self.rows)
        return self.task.batch(items, split=f"train {self.seed}")

    def evaluation(self, part: str) -> Iterator[Batch]:
        """The fixed items of "validation" or "test"."""
        for start in range(0, TASK_ITEMS[part], 128):
            yield self.task.batch(range(start, min(start + 128, TASK_ITEMS[part])), split=part)
