"""Predictors that read, but know nothing of order or distance, beside a trained model.

Idea     words and word pairs for classes, each token's commonest tag for tags, n-grams for text
N-grams  count and score what the models do: the documents with an end after each, every token but
         the first; bits per character are all bits by the characters, without the ends
"""

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from howfar.core.batch import IGNORED
from howfar.data.batches.stream import Stream
from howfar.data.examples import Corpus
from howfar.data.ragged import Ragged
from howfar.record.comparison import Baseline, Score
from howfar.study.baselines import tfidf
from howfar.study.ngram import bits
from howfar.study.score import accuracy_score

MOST_TEXT = 5_000_000  # tokens that n-grams are counted on


def beside(corpus: Corpus, seed: int) -> tuple[Baseline, ...]:
    """Baselines of a corpus's test part; none where there is no test row, or none is known."""
    found = BASELINES.get(corpus.aim)
    return found(corpus, seed) if found is not None and len(corpus.test) else ()


def _classes(corpus: Corpus, seed: int) -> tuple[Baseline, ...]:
    train, test = corpus.train, corpus.test
    if train.texts is None or test.texts is None:
        return ()
    truth = np.asarray(test.targets)
    guess = tfidf(train.texts, np.asarray(train.targets), test.texts)
    score = accuracy_score((guess.labels == truth)[None], seed)
    return (Baseline(name="TF-IDF + logistic regression", score=score, note=guess.note),)


def _tags(corpus: Corpus, seed: int) -> tuple[Baseline, ...]:
    """Each token's commonest tag in training; for unknown tokens the commonest of all."""
    train, test = corpus.train, corpus.test
    assert isinstance(train.targets, Ragged)
    assert isinstance(test.targets, Ragged)
    by_token: dict[int, Counter[int]] = {}
    of_all: Counter[int] = Counter()
    for tokens, tags in zip(train.ids, train.targets, strict=True):
        for token, tag in zip(tokens.tolist(), tags.tolist(), strict=True):
            by_token.setdefault(token, Counter())[tag] += 1
            of_all[tag] += 1
    usual = of_all.most_common(1)[0][0]
    found = {token: counts.most_common(1)[0][0] for token, counts in by_token.items()}
    right = [
        found.get(token, usual) == tag
        for tokens, tags in zip(test.ids, test.targets, strict=True)
        for token, tag in zip(tokens.tolist(), tags.tolist(), strict=True)
        if tag not in (-1, IGNORED)
    ]
    if not right:
        return ()
    score = accuracy_score(np.asarray(right)[None], seed)
    return (Baseline(name="each token's commonest tag", score=score),)


def _text(corpus: Corpus, seed: int) -> tuple[Baseline, ...]:
    """N-grams of the order that suits the validation text; not of a text that is kept on disk."""
    parts = [corpus.part(name).ids for name in ("train", "validation", "test")]
    if not all(isinstance(part.flat, np.ndarray) and part.num_tokens for part in parts):
        return ()
    if sum(part.num_tokens for part in parts) > MOST_TEXT:
        return ()
    train, validation, test = (_stream(part, corpus.end) for part in parts)
    by_character = corpus.tokeniser.kind == "char"
    unit = "character" if by_character else "token"
    scored = test[1:]
    over = int((scored != corpus.end).sum()) if by_character else len(scored)
    if not over:
        return ()
    found = bits(train, validation, test, corpus.vocabulary)
    value = float(found.nats[1:].sum()) / over / math.log(2)
    score = Score(name=f"bits per {unit}", value=value, better="lower")
    note = f"modified Kneser-Ney, interpolated; order {found.order} was chosen on validation"
    return (Baseline(name=f"{found.order}-grams", score=score, note=note),)


def _stream(documents: Ragged, end: int | None) -> npt.NDArray[np.int64]:
    stream = Stream(documents, end)
    whole = np.asarray([0]), np.asarray([len(stream)])
    return stream.take(*whole)


BASELINES: dict[str, Callable[[Corpus, int], tuple[Baseline, ...]]] = {
    "classification": _classes,
    "lm": _text,
    "tagging": _tags,
}
