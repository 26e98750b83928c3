"""How right a model is on a part of a corpus, or on a file of texts with what is true of them.

Idea     the batches of `howfar.data.sources`, in eval mode, one tally an aim, one record
Baseline what can be said without reading: the commonest class or tag of the training rows, each
         label as in most of them, their mean number. A bundle's record keeps how often each class
         stood there; without it there is no such baseline, and a note says so
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from howfar.bundle import metrics
from howfar.bundle.bundle import Bundle
from howfar.bundle.counts import class_counts
from howfar.bundle.examples import Asked, corpus_of
from howfar.bundle.prompt import device_of
from howfar.bundle.tallies import (
    ClassTally,
    LabelTally,
    NumberTally,
    TagTally,
    Tally,
    ratio_score,
    scored,
)
from howfar.bundle.text_tallies import AnswerTally, TextTally
from howfar.core.errors import DataError, UsageError
from howfar.core.protocols import State
from howfar.data.examples import Corpus, Examples
from howfar.data.ragged import Ragged
from howfar.data.sources import CorpusSource, source_for
from howfar.record.comparison import Baseline, Score
from howfar.record.evaluation import Evaluation
from howfar.train.evaluate import asking
from howfar.train.objective import answers

Progress = Callable[[int, int], None]

TOKENS = 16_384  # padded tokens read at once
LOGITS = 1 << 25  # held at once, where every token has an answer
LANES = 8  # of carried state: each begins without any
BY_TOKEN = ("lm", "masked", "tagging", "seq2seq")


def evaluate(  # noqa: PLR0913 - by keyword only, but the first
    bundle: Bundle,
    corpus: Corpus,
    part: str = "test",
    *,
    progress: Progress | None = None,
    beams: int = 1,
    length_penalty: float = 1.0,
    most_tokens: int | None = None,
) -> Evaluation:
    """Score a model on a part of a corpus that was made as its own.

    Args:
        bundle: the model.
        corpus: with the ids and names that the model was trained with.
        part: "train", "validation" or "test".
        progress: called with rows done and all; windows, where text is cut into them.
        beams: of the answers of seq2seq; see `howfar.bundle.beam`.
        length_penalty: likewise.
        most_tokens: read no further once so many were read; the notes say so. None: read all.

    Raises:
        UsageError: E-AIM for a corpus of another aim, E-OPTION.
        DataError: E-EMPTY for a part without rows; E-TOO-SHORT for too little text.
    """
    began = time.perf_counter()
    settings = bundle.settings
    if corpus.aim != settings.aim:
        message = f"The data is made for {corpus.aim}, the model for {settings.aim}."
        raise UsageError("E-AIM", message, f"data for {settings.aim}")
    examples = corpus.part(part)
    if not len(examples):
        raise DataError("E-EMPTY", f"The {part} part has no rows to score.", "another part")
    source = _source(bundle, corpus)
    tally = _tally(bundle, beams, length_penalty)
    left = _ask(bundle, source, part, tally, progress, most_tokens or sys.maxsize)
    result = tally.result()
    unread = int((examples.ids.lengths == 0).sum())
    baselines, said = _baselines(bundle, corpus, examples)
    said = (f"{unread:,} rows have no known token.", *said) if unread else said
    if left:
        said = (*said, f"Scored on {result.targets:,} tokens; the rest of the part was not read.")
    return Evaluation(
        aim=settings.aim,
        family=settings.family,
        data=corpus.data.name,
        rows=len(examples),
        targets=result.targets,
        seconds=time.perf_counter() - began,
        scores=result.scores,
        baselines=baselines,
        classes=result.classes,
        names=settings.names,
        confusion=result.confusion,
        calibration=result.calibration,
        by_length=result.by_length,
        notes=(*result.notes, *said),
        sha256=corpus.data.sha256,
    )


def evaluate_asked(
    bundle: Bundle,
    asked: Asked,
    *,
    progress: Progress | None = None,
    beams: int = 1,
    length_penalty: float = 1.0,
) -> Evaluation:
    """Score a model on rows that were read with `howfar.bundle.examples`.

    Raises:
        UsageError, DataError: as `evaluate`.
    """
    corpus = corpus_of(bundle, asked)
    found = evaluate(bundle, corpus, progress=progress, beams=beams, length_penalty=length_penalty)
    right = found.score("accuracy")
    whole = found.rows + asked.left_out
    all_rows: tuple[Score, ...] = ()
    if asked.left_out and right is not None:
        share = right.value * found.rows / whole
        all_rows = scored("accuracy with unknown labels", share, metrics.wilson(share, whole))
    return replace(
        found,
        scores=(*found.scores, *all_rows),
        left_out=asked.left_out,
        notes=(*asked.notes, *found.notes),
    )


def _source(bundle: Bundle, corpus: Corpus) -> CorpusSource:
    if bundle.settings.carry and corpus.aim == "lm":
        return source_for(corpus, rows=LANES, seed=0, carry=True)
    most = TOKENS
    if corpus.aim in BY_TOKEN:
        most = max(1, min(TOKENS, LOGITS // bundle.settings.outputs))
    return source_for(corpus, tokens=most, seed=0)


def _tally(bundle: Bundle, beams: int, length_penalty: float) -> Tally:
    settings = bundle.settings
    if settings.aim == "classification":
        return ClassTally(settings.names)
    if settings.aim == "multilabel":
        return LabelTally(settings.names)
    if settings.aim == "regression":
        return NumberTally(settings.scale)
    if settings.aim == "tagging":
        return TagTally(settings.names)
    if settings.aim == "seq2seq":
        return AnswerTally(bundle, beams, length_penalty)
    return TextTally(bundle.tokeniser, settings.vocabulary, masked=settings.aim == "masked")


def _ask(
    bundle: Bundle,
    source: CorpusSource,
    part: str,
    tally: Tally,
    progress: Progress | None,
    most_tokens: int,
) -> bool:
    """One pass over a part; whether some of it was left."""
    device = device_of(bundle.model)
    rows, done, tokens = len(source.order(part)), 0, 0
    state: State | None = None
    with asking(bundle.model):
        for batch in source.evaluation(part):
            if tokens >= most_tokens:
                return True
            tokens += batch.num_tokens
            there = batch.to(device)
            held = state if there.goes_on else None
            carry = bundle.settings.carry and bundle.settings.aim == "lm"
            outputs, targets, state = answers(bundle.model, there, held, carry=carry)
            tally.add(outputs, targets, there)
            done += 0 if there.goes_on else len(batch.lengths)
            if progress is not None:
                progress(min(done, rows), rows)
    return False


def _baselines(
    bundle: Bundle, corpus: Corpus, examples: Examples
) -> tuple[tuple[Baseline, ...], tuple[str, ...]]:
    """What can be said without reading; or a note why that is not known."""
    if corpus.aim == "regression":
        return _mean(corpus, examples), ()
    if corpus.aim not in ("classification", "tagging", "multilabel"):
        return (), ()
    known = _trained_on(bundle, corpus)
    if known is None:
        said = "how often each class stood in training is not known"
        return (), (f"Without the majority as a baseline: {said}.",)
    counts = np.asarray([known.labels.get(name, 0) for name in bundle.settings.names])
    if corpus.aim == "multilabel":
        usual = counts > known.rows / 2
        share = float((np.asarray(examples.targets) == usual).all(1).mean())
        score = scored("subset accuracy", share, metrics.wilson(share, len(examples)))
        note = "each label as in most training rows"
        return (Baseline(name="majority", score=score[0], note=note),), ()
    commonest = int(counts.argmax())
    truth, lengths = _classes(examples)
    share = float((truth == commonest).mean())
    if lengths is None:
        score = scored("accuracy", share, metrics.wilson(share, len(truth)))
    else:
        score = scored("token accuracy", share)
    note = f"always {bundle.settings.names[commonest]!r}, the commonest of training"
    return (Baseline(name="majority", score=score[0], note=note),), ()


def _mean(corpus: Corpus, examples: Examples) -> tuple[Baseline, ...]:
    """The mean of training, which is 0 where numbers are standardised by it."""
    middle, deviation = 0.0, 1.0
    if corpus.scale is not None:
        deviation = corpus.scale[1]
    elif _own_training(corpus):
        middle = float(np.asarray(corpus.train.targets).mean())
    else:
        return ()
    error = (np.asarray(examples.targets) - middle) * deviation
    score = ratio_score("MSE", error**2.0, better="lower")
    return (Baseline(name="mean", score=score[0], note="the mean of the training rows"),)


@dataclass(frozen=True, slots=True)
class _Stood:
    """How often each class stood in training, and in how many rows."""

    labels: dict[str, int]
    rows: int


def _trained_on(bundle: Bundle, corpus: Corpus) -> _Stood | None:
    if _own_training(corpus):
        return _Stood(class_counts(corpus) or {}, len(corpus.train))
    record = bundle.training
    if record is None or record.labels is None:
        return None
    return _Stood(record.labels, record.data.train)


def _own_training(corpus: Corpus) -> bool:
    """Whether the corpus has training rows: a file stands in for all of its parts."""
    return corpus.train is not corpus.test


def _classes(examples: Examples) -> tuple[np.ndarray, np.ndarray | None]:
    """All classes in one row, and the lengths of rows where each has several."""
    if isinstance(examples.targets, Ragged):
        ragged = examples.targets
        first, last = int(ragged.offsets[0]), int(ragged.offsets[-1])
        return np.asarray(ragged.flat[first:last], dtype=np.int64), ragged.lengths
    return np.asarray(examples.targets, dtype=np.int64), None
