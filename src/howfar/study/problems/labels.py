"""Labelled rows as a problem: one class a text, in accuracy on the test rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from howfar.core.protocols import Source
from howfar.core.seeds import Seeds
from howfar.data.batch import LabelSource
from howfar.data.labelled import Labelled
from howfar.record.comparison import Baseline, Data, Score
from howfar.study.baselines import majority, tfidf
from howfar.study.problems.base import EVALUATION_ROWS, Probe, Thinned, accuracy
from howfar.train import Answers

LABEL_ROWS = {"validation": 400}  # at most, for choosing rates and weights; the test part is whole


@dataclass(frozen=True)
class LabelProblem:
    """Classification of labelled texts."""

    labelled: Labelled

    causal = False

    @property
    def data(self) -> Data:
        """What was read."""
        return self.labelled.data

    channels = 0
    last = False

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
        return accuracy([a.correct for a in answers], seed)

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
            score, _ = accuracy([guess.labels == test.labels], seed)
            found.append(Baseline(name=name, score=score, note=guess.note))
        return tuple(found)
