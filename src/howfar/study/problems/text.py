"""A running text as a problem: the next token at every position, in bits a token."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from howfar.core.protocols import Source
from howfar.data.batch import TextSource
from howfar.data.running import Running
from howfar.measure.demand.ngram import NGram, best_ngram
from howfar.record.comparison import Baseline, Data, Score
from howfar.study.problems.base import EVALUATION_ROWS, Probe, Thinned, spread
from howfar.study.score import bits_score
from howfar.train import Answers

TEXT_WINDOWS = {"validation": 128, "test": 512}  # at most; spread evenly over the part


@dataclass(frozen=True)
class TextProblem:
    """Language modelling: the next token at every position of a running text."""

    running: Running

    causal = True

    @property
    def data(self) -> Data:
        """What was read."""
        return self.running.data

    channels = 0
    last = False

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
        for index in spread(len(batches), TEXT_WINDOWS["test"]):
            scored = (batches[index].targets >= 0).nonzero()[:, 0].numpy()
            rows.append(scored + seen)
            taken.append(np.arange(starts[index], starts[index] + counts[index]))
            seen += len(batches[index].lengths)
        return np.concatenate(rows), np.concatenate(taken)
