"""Simple predictors that stand beside every score of labelled texts: commonest label, TF-IDF.

Idea     a sequence model that does not beat these has not used what it was given
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from howfar.core.errors import DataError

Labels = Sequence[int] | Sequence[str] | NDArray[Any]

MAX_FEATURES = 300_000  # the commonest; more cost memory and change little
MAX_WEIGHTS = 5_000_000  # features times labels; the solver keeps about 25 copies
ITERATIONS = 200
# Scripts written without spaces: Thai, Lao, Tibetan, Myanmar, Khmer, kana, Han.
UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\U00020000-\U0003ffff]"
)


@dataclass(frozen=True, slots=True)
class Guess:
    """One label a test item, and what the reader should know about how they were found."""

    labels: NDArray[Any]
    note: str | None = None


def majority(train_labels: Labels, test_labels: Labels) -> Guess:
    """The commonest training label for every test item; of equals, the first in sorted order.

    Raises:
        DataError: E-EMPTY, without training labels.
    """
    if len(train_labels) == 0:
        raise DataError("E-EMPTY", "There are no training labels.")
    label_C, count_C = np.unique(np.asarray(train_labels), return_counts=True)
    return Guess(np.repeat(label_C[count_C.argmax()], len(test_labels)))


def tfidf(train_texts: Sequence[str], train_labels: Labels, test_texts: Sequence[str]) -> Guess:
    """TF-IDF of words and word pairs with logistic regression; the same input, the same answer.

    Texts in a script without spaces are cut into characters and character pairs instead. Where
    nothing can be learned (one label, no word), the commonest label is returned with a note.

    Raises:
        DataError: E-EMPTY, without training texts.
    """
    # Half of the start-up time, and texts and tasks do not need it.
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    fallback = majority(train_labels, test_texts).labels
    num_labels = len(np.unique(np.asarray(train_labels)))
    if num_labels < 2:
        return Guess(fallback, "One label only: the commonest label instead of TF-IDF.")
    unspaced = _is_unspaced(train_texts)
    vectors = TfidfVectorizer(
        analyzer="char" if unspaced else "word",
        token_pattern=r"(?u)\b\w+\b",
        ngram_range=(1, 2),
        sublinear_tf=True,
        max_features=max(1, min(MAX_FEATURES, MAX_WEIGHTS // num_labels)),
        dtype=np.float64,
    )
    try:
        with warnings.catch_warnings():
            # With `analyzer="char"` the pattern is not used, which is what is meant.
            warnings.simplefilter("ignore", UserWarning)
            x_NF = vectors.fit_transform(train_texts)
    except ValueError:  # the vocabulary is empty
        return Guess(fallback, "No word in the training texts: the commonest label instead.")
    model = LogisticRegression(C=10.0, max_iter=ITERATIONS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(x_NF, np.asarray(train_labels))
    notes = ["Characters and character pairs: words are not separated."] if unspaced else []
    if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
        notes.append(f"Stopped after {ITERATIONS} iterations.")
    if len(test_texts) == 0:
        return Guess(fallback, " ".join(notes) or None)
    labels: NDArray[Any] = model.predict(vectors.transform(test_texts))
    return Guess(labels, " ".join(notes) or None)


def _is_unspaced(texts: Sequence[str]) -> bool:
    """Whether more than half of the letters of the first texts stand in an unspaced script."""
    sample = " ".join(texts[:2000])
    letters = sum(character.isalpha() for character in sample)
    return 2 * len(UNSPACED.findall(sample)) > letters
