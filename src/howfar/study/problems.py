"""What a comparison is about: a task, a running text, or labelled rows, behind one protocol.

Idea     each problem says what a model must look like (`vocabulary`, `outputs`, `causal`), gives
         batches, scores answers, offers sequences to measure reach on, and knows its baselines
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from howfar.core.batch import Batch
from howfar.core.protocols import Source
from howfar.core.seeds import Seeds
from howfar.data.batch import LabelSource, TextSource
from howfar.data.labelled import Labelled
from howfar.data.running import Running
from howfar.record.comparison import Baseline, Data, Score
from howfar.study.baselines import NGram, best_ngram, majority, tfidf
from howfar.study.score import accuracy_score, bits_score
from howfar.tasks.recall import Recall
from howfar.train import Answers

TASK_ITEMS = {"validation": 128, "test": 640}
TEXT_WINDOWS = {"validation": 128, "test": 512}  # at most; spread evenly over the part
LABEL_ROWS = {"validation": 400}  # at most, for choosing rates and weights; the test part is whole
EVALUATION_ROWS = 64


@dataclass(frozen=True, slots=True)
class Probe:
    """Sequences to measure reach on: tokens (N, L), lengths (N,), labels (N, L) or None."""

    tokens: Tensor
    lengths: Tensor
    labels: Tensor | None = None


class Problem(Protocol):
    """One thing to compare families on."""

    @property
    def data(self) -> Data:
        """What was read, or how items are made."""
        ...

    @property
    def causal(self) -> bool:
        """One answer a position (True), or one a sequence."""
        ...

    @property
    def vocabulary(self) -> int:
        """Token ids, padding included."""
        ...

    @property
    def outputs(self) -> int:
        """Classes to choose from."""
        ...

    @property
    def length(self) -> int:
        """Tokens a sequence is trained on, at most."""
        ...

    @property
    def pass_tokens(self) -> int | None:
        """Tokens of one pass over the training part; None: there is no end to them."""
        ...

    def source(self, seed: int, rows: int) -> Source:
        """Training and evaluation batches."""
        ...

    def score(self, answers: Sequence[Answers], seed: int) -> tuple[Score, tuple[float, ...]]:
        """The score with its interval over seeds and test items, and each seed's own value."""
        ...

    def probe(self, count: int, seed: int) -> Probe:
        """Test sequences to measure reach on."""
        ...

    def baselines(self, seed: int) -> tuple[Baseline, ...]:
        """Simple predictors on the same test items."""
        ...


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
        return _accuracy([a.correct for a in answers], seed)

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
            score, _ = _accuracy([correct], seed)
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


@dataclass(frozen=True)
class TextProblem:
    """Language modelling: the next token at every position of a running text."""

    running: Running

    causal = True

    @property
    def data(self) -> Data:
        """What was read."""
        return self.running.data

    @property
    def vocabulary(self) -> int:
        """Token ids."""
        return self.running.tokeniser.vocabulary

    @property
    def outputs(self) -> int:
        """The next token is any id."""
        return self.vocabulary

    @property
    def length(self) -> int:
        """Tokens a window."""
        return self.running.data.length

    @property
    def pass_tokens(self) -> int | None:
        """Tokens of the training part."""
        return len(self.running.train)

    def source(self, seed: int, rows: int) -> Source:
        """Windows of the training part; some of the half-overlapping ones for evaluation."""
        return Thinned(
            TextSource(self.running, rows=rows, seed=seed), self._windows(), TEXT_WINDOWS
        )

    def _windows(self) -> TextSource:
        return TextSource(self.running, rows=EVALUATION_ROWS, seed=0)

    def score(self, answers: Sequence[Answers], seed: int) -> tuple[Score, tuple[float, ...]]:
        """Bits a token on test targets that have at least half a window of context."""
        row = answers[0].row
        weight_W = np.bincount(row)
        mean_SW = np.stack(
            [np.bincount(row, weights=a.nats) / np.maximum(weight_W, 1) for a in answers]
        )
        seen = weight_W > 0
        name = f"bits per {self.data.unit}"
        score = bits_score(mean_SW[:, seen], weight_W[seen], name, seed)
        return score, tuple(a.mean_nats / float(np.log(2)) for a in answers)

    def probe(self, count: int, seed: int) -> Probe:
        """Windows of the test part, as long as in training, with the next token as label."""
        windows = torch.from_numpy(self._windows().windows("test", count, self.length, seed))
        tokens = windows[:, :-1].contiguous()
        lengths = torch.full((len(tokens),), self.length)
        return Probe(tokens, lengths, windows[:, 1:].contiguous())

    def baselines(self, seed: int) -> tuple[Baseline, ...]:
        """Unigram and interpolated n-gram, on the very same targets."""
        train, validation = self.running.train, self.running.validation
        row, taken = self._test_targets()
        positions = self._windows().eval_positions("test")[taken]
        unigram = NGram(1, self.vocabulary).fit(train)
        ngram = best_ngram(train, validation, self.vocabulary)
        found = []
        for name, model in (("unigram", unigram), (f"{ngram.order}-gram, interpolated", ngram)):
            nats = model.nats(self.running.test, positions)
            answers = Answers(nats, nats > 0, nats, row)
            score, _ = self.score([answers], seed)
            found.append(
                Baseline(name=name, score=score, note="counted on the whole training part")
            )
        return tuple(found)

    def _test_targets(self) -> tuple[np.ndarray, np.ndarray]:
        """Window of each test target that is scored, and its place among all targets."""
        batches = list(self._windows().evaluation("test"))
        counts = [int((batch.targets >= 0).sum()) for batch in batches]
        starts = np.cumsum([0, *counts])
        rows, taken, seen = [], [], 0
        for index in _spread(len(batches), TEXT_WINDOWS["test"]):
            scored = (batches[index].targets >= 0).nonzero()[:, 0].numpy()
            rows.append(scored + seen)
            taken.append(np.arange(starts[index], starts[index] + counts[index]))
            seen += len(batches[index].lengths)
        return np.concatenate(rows), np.concatenate(taken)


@dataclass(frozen=True)
class Thinned:
    """A source that trains on everything and evaluates on some batches, spread evenly.

    most: part -> rows; parts not named are evaluated whole.
    """

    training: Source
    full: Source
    most: dict[str, int]

    def batch(self, step: int) -> Batch:
        """The training batch of this step."""
        return self.training.batch(step)

    def evaluation(self, part: str) -> Iterator[Batch]:
        """Some of the part's batches, the same ones every time."""
        if part not in self.most:
            yield from self.full.evaluation(part)
            return
        batches = list(self.full.evaluation(part))
        for index in _spread(len(batches), self.most[part]):
            yield batches[index]


def _spread(num_batches: int, most_rows: int) -> np.ndarray:
    """Indices of at most `most_rows` rows' worth of batches, evenly spread."""
    count = min(num_batches, max(1, most_rows // EVALUATION_ROWS))
    return np.unique(np.linspace(0, num_batches - 1, count).round().astype(int))


@dataclass(frozen=True)
class LabelProblem:
    """Classification of labelled texts."""

    labelled: Labelled

    causal = False

    @property
    def data(self) -> Data:
        """What was read."""
        return self.labelled.data

    @property
    def vocabulary(self) -> int:
        """Token ids."""
        return self.labelled.tokeniser.vocabulary

    @property
    def outputs(self) -> int:
        """Labels."""
        return len(self.labelled.label_names)

    @property
    def length(self) -> int:
        """Tokens a text, at most."""
        return self.labelled.length

    @property
    def pass_tokens(self) -> int | None:
        """Tokens of the training rows, as cut."""
        return sum(len(row) for row in self.labelled.train.ids)

    def source(self, seed: int, rows: int) -> Source:
        """Length-bucketed batches; selection on some of the validation rows."""
        training = LabelSource(self.labelled, rows=rows, seed=seed)
        full = LabelSource(self.labelled, rows=EVALUATION_ROWS, seed=seed)
        return Thinned(training, full, LABEL_ROWS)

    def score(self, answers: Sequence[Answers], seed: int) -> tuple[Score, tuple[float, ...]]:
        """Accuracy on the test part."""
        return _accuracy([a.correct for a in answers], seed)

    def probe(self, count: int, seed: int) -> Probe:
        """Test texts, drawn without replacement; the longest ones are not preferred."""
        ids = [row for row in self.labelled.test.ids if len(row) > 0]
        rng = Seeds(seed).numpy("probe rows")
        chosen = [ids[i] for i in rng.permutation(len(ids))[:count]]
        lengths = torch.tensor([len(row) for row in chosen])
        tokens = torch.zeros(len(chosen), int(lengths.max()), dtype=torch.long)
        for i, row in enumerate(chosen):
            tokens[i, : len(row)] = torch.from_numpy(row.astype(np.int64))
        return Probe(tokens, lengths)

    def baselines(self, seed: int) -> tuple[Baseline, ...]:
        """The most frequent label, and TF-IDF with logistic regression."""
        train, test = self.labelled.train, self.labelled.test
        guesses = {
            "majority": majority(train.labels, test.labels),
            "TF-IDF + logistic regression": tfidf(train.texts, train.labels, test.texts),
        }
        found = []
        for name, guess in guesses.items():
            score, _ = _accuracy([guess.labels == test.labels], seed)
            found.append(Baseline(name=name, score=score, note=guess.note))
        return tuple(found)


def _accuracy(correct: Sequence[np.ndarray], seed: int) -> tuple[Score, tuple[float, ...]]:
    score = accuracy_score(np.stack(correct), seed)
    return score, tuple(float(c.mean()) for c in correct)
