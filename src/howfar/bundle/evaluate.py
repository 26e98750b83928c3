"""How right a model is on a part of a corpus, or on a file of texts with what is true of them.

Idea     the batches of `howfar.data.sources`, in eval mode, one tally an aim, one record
Baseline what can be said without reading: the commonest class or tag, each label as in most rows,
         the mean number. They are those of the training rows where these are known
"""

import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from howfar.bundle import metrics
from howfar.bundle.bundle import Bundle
from howfar.bundle.examples import Asked, corpus_of
from howfar.bundle.prompt import device_of
from howfar.bundle.tallies import (
    ClassTally,
    LabelTally,
    NumberTally,
    Result,
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
    said = (f"{unread:,} rows have no known token.",) if unread else ()
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
        baselines=_baselines(bundle, corpus, examples, result),
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
    bundle: Bundle, corpus: Corpus, examples: Examples, result: Result
) -> tuple[Baseline, ...]:
    """What can be said without reading."""
    train = corpus.train
    known = train is not examples  # a file stands in for its own training part
    if corpus.aim in ("classification", "tagging"):
        return _commonest(bundle, train if known else None, examples)
    if corpus.aim not in ("multilabel", "regression"):
        return ()
    where = "training rows" if known else "these rows"
    truth, seen = np.asarray(examples.targets), np.asarray(train.targets)
    if corpus.aim == "multilabel":
        usual = seen.mean(0) > 0.5
        share = float((truth == usual).all(1).mean())
        score = scored("subset accuracy", share, metrics.wilson(share, len(truth)))
        return (Baseline(name="majority", score=score[0], note=f"each label as in most {where}"),)
    # Standardised by training: its mean is 0.
    middle = 0.0 if corpus.scale is not None else float(seen.mean())
    deviation = 1.0 if corpus.scale is None else corpus.scale[1]
    score = ratio_score("MSE", ((truth - middle) * deviation) ** 2.0, better="lower")
    return (Baseline(name="mean", score=score[0], note="the mean of the training rows"),)


def _commonest(bundle: Bundle, train: Examples | None, examples: Examples) -> tuple[Baseline, ...]:
    names = bundle.settings.names
    truth, lengths = _classes(examples)
    counts = None if train is None else np.bincount(_classes(train)[0], minlength=len(names))
    said = "training"
    if counts is None and bundle.training is not None and bundle.training.data.labels:
        counts = np.asarray([bundle.training.data.labels.get(name, 0) for name in names])
    if counts is None or not counts.sum():
        counts, said = np.bincount(truth, minlength=len(names)), "these rows"
    usual = int(counts.argmax())
    right = truth == usual
    share = float(right.mean())
    if lengths is None:
        score = scored("accuracy", share, metrics.wilson(share, len(truth)))
    else:
        score = scored("token accuracy", share)
    note = f"always {names[usual]!r}, the commonest of {said}"
    return (Baseline(name="majority", score=score[0], note=note),)


def _classes(examples: Examples) -> tuple[np.ndarray, np.ndarray | None]:
    """All classes in one row, and the lengths of rows where each has several."""
    if isinstance(examples.targets, Ragged):
        ragged = examples.targets
        first, last = int(ragged.offsets[0]), int(ragged.offsets[-1])
        return np.asarray(ragged.flat[first:last], dtype=np.int64), ragged.lengths
    return np.asarray(examples.targets, dtype=np.int64), None
