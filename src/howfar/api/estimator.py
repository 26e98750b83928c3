"""A text classifier with the manners of scikit-learn, so that its tools take it as one of theirs.

Idea     `fit` trains a bundle on texts and labels, `predict` asks it; nothing is decided before
Pickle   a fitted estimator keeps its model as the bytes of a bundle's files: no object of torch is
         in the pickle
Source   https://scikit-learn.org/stable/developers/develop.html
"""

import io
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from howfar.bundle.bundle import Bundle
from howfar.bundle.load import from_files
from howfar.bundle.save import files_of
from howfar.core.errors import DataError, UsageError, shown

_MOST_SEEDS = 2**31 - 1
OWN: dict[str, str] = {  # what `fit` says itself -> the parameter that says it
    **{name: name for name in ("family", "budget", "tokens", "length", "learning_rate")},
    **{name: name for name in ("parameters", "dropout", "threads", "random_state", "settings")},
    **dict.fromkeys(("texts", "labels", "options", "extras"), ""),
    "seed": "random_state",
}


class TextClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    """Learns the class of texts with one family of models.

    Args:
        family: a name from `howfar.families()`.
        budget: how long to train, such as "1M tokens" or "60 s"; None: as it suits the data.
        tokens: "byte", "char", "word", "bpe" or "unigram"; None: as it suits the texts.
        length: most tokens of a text that are read; None: as it suits the texts.
        learning_rate: at its peak; None: as it suits the family.
        parameters: wanted in the model without embedding and head; None: as it suits the family.
        dropout: share dropped in training; None: as usual.
        threads: of torch; None: as they are.
        random_state: a seed, a numpy RandomState, or None, which draws from numpy's global state.
        settings: further options of training, and settings of the family.

    Attributes:
        classes_: the labels, sorted; of the type that `fit` was given.
        bundle_: the trained `howfar` bundle: `bundle_.save(folder)` keeps it.
    """

    def __init__(  # noqa: PLR0913 - each is a parameter that a grid may search
        self,
        family: str = "gru",
        *,
        budget: str | None = None,
        tokens: str | None = None,
        length: int | None = None,
        learning_rate: float | None = None,
        parameters: int | None = None,
        dropout: float | None = None,
        threads: int | None = None,
        random_state: Any = None,  # noqa: ANN401 - as scikit-learn takes it
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.family = family
        self.budget = budget
        self.tokens = tokens
        self.length = length
        self.learning_rate = learning_rate
        self.parameters = parameters
        self.dropout = dropout
        self.threads = threads
        self.random_state = random_state
        self.settings = settings

    def fit(self, X: Any, y: Any) -> "TextClassifier":  # noqa: ANN401 - any sequences
        """Train on texts X and their labels y, from the start.

        Raises:
            UsageError, DataError: both are ValueErrors; for what cannot be learned from.
        """
        texts = _texts(X)
        if y is None:
            raise UsageError(
                "E-LABEL", "TextClassifier needs y: a label for each text.", "fit(X, y)"
            )
        labels = _labels(y)
        check_consistent_length(texts, labels)
        check_classification_targets(labels)
        classes, codes = np.unique(labels, return_inverse=True)
        if not texts:
            raise DataError("E-EMPTY", "There are no texts to learn from.", "at least two classes")
        names = _names(classes)
        seed = self.random_state
        if not isinstance(seed, (int, np.integer)):
            seed = check_random_state(seed).randint(_MOST_SEEDS)
        bundle: Bundle = import_module("howfar.bundle.from_texts").train_texts(
            texts,
            [names[code] for code in codes],
            family=self.family,
            budget=self.budget,
            tokens=self.tokens,
            length=self.length,
            seed=int(seed),
            learning_rate=self.learning_rate,
            parameters=self.parameters,
            dropout=self.dropout,
            threads=self.threads,
            **_further(self.settings),
        )
        self.classes_ = classes
        self.bundle_ = bundle
        return self

    def predict(self, X: Any) -> npt.NDArray[Any]:  # noqa: ANN401
        """(texts,) the most likely label of each."""
        chances = self.predict_proba(X)
        labels: npt.NDArray[Any] = self.classes_[chances.argmax(axis=1)]
        return labels

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:  # noqa: ANN401
        """(texts, classes) probability of each label, in the order of `classes_`."""
        check_is_fitted(self)
        found = self.bundle_.probabilities(_texts(X))
        place = {name: i for i, name in enumerate(self.bundle_.settings.names)}
        chances = np.zeros((len(found), len(self.classes_)))
        for column, name in enumerate(_names(self.classes_)):
            if name in place:
                chances[:, column] = found[:, place[name]]
        return chances

    def predict_log_proba(self, X: Any) -> npt.NDArray[np.float64]:  # noqa: ANN401
        """(texts, classes) natural logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):
            logs: npt.NDArray[np.float64] = np.log(self.predict_proba(X))
        return logs

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "bundle_")

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401 - a class of scikit-learn's
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.non_deterministic = self.random_state is None
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        if "bundle_" in state:
            state["bundle_"] = _bytes(state["bundle_"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        kept = state.get("bundle_")
        if isinstance(kept, dict):
            state = state | {"bundle_": from_files(dict(kept), Path("pickle"))}
        super().__setstate__(state)


def _further(settings: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever was given
    """Settings that no parameter of the classifier has a name of its own for.

    Raises:
        UsageError: E-OPTION for one that has, or what is no mapping.
    """
    if settings is None:
        return {}
    if not isinstance(settings, Mapping):
        message = f"settings is a {type(settings).__name__}, and no mapping of names to values."
        raise UsageError("E-OPTION", message, 'settings={"depth": 2}')
    for name in settings:
        if not isinstance(name, str):
            message = f"settings has the key {shown(name)}, which is no name."
            raise UsageError("E-OPTION", message, 'settings={"depth": 2}')
        if name in OWN:
            own = OWN[name]
            why = f"is the parameter {own} of TextClassifier" if own else "is no setting"
            message = f"settings names {shown(name)}, which {why}."
            hint = f"TextClassifier({own}=...)" if own else "leave it out"
            raise UsageError("E-OPTION", message, hint)
    return dict(settings)


def _texts(given: Any) -> list[str]:  # noqa: ANN401
    """A list of texts.

    Raises:
        UsageError: E-SHAPE for one text, or a table. DataError: E-TEXT for what is no text.
    """
    if isinstance(given, (str, bytes)) or getattr(given, "ndim", 1) != 1:
        message = "X must be a sequence of texts, neither a single text nor a table."
        raise UsageError("E-SHAPE", message, "a list of str, or one column")
    try:
        texts = list(given)
    except TypeError as error:
        message = f"X is a {type(given).__name__}, and no sequence of texts."
        raise UsageError("E-SHAPE", message, "a list of str") from error
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            message = f"X[{place}] is {shown(text, 40)}, a {type(text).__name__} and no text."
            raise DataError("E-TEXT", message, "str(...), or leave the row out")
    return [str(text) for text in texts]


def _names(classes: npt.NDArray[Any]) -> list[str]:
    """Each label as a name that training keeps as it is; numbered where two look alike or none."""
    names = [_storable(str(label)).strip() for label in classes]
    if len(set(names)) == len(names) and all(names):
        return names
    return [f"{place}: {name}".strip() for place, name in enumerate(names)]


def _storable(name: str) -> str:
    """Escaped where it holds NUL or half of a surrogate pair, which no data file may."""
    if "\0" in name or any("\ud800" <= character <= "\udfff" for character in name):
        return name.encode("unicode_escape").decode()
    return name


def _labels(given: Any) -> npt.NDArray[Any]:  # noqa: ANN401
    """(texts,) labels as given; numpy's own texts would lose NULs at their end."""
    exact = np.asarray(given, dtype=object)
    texts = all(isinstance(label, str) for label in exact.flat)
    if texts and any(label.endswith("\0") for label in exact.flat):
        return column_or_1d(exact, warn=True)  # type: ignore[no-any-return]
    return column_or_1d(np.asarray(given), warn=True)  # type: ignore[no-any-return]


def _bytes(bundle: Bundle) -> dict[str, bytes]:
    """Every file of a bundle."""
    found = {}
    for name, content in files_of(bundle).items():
        if isinstance(content, bytes):
            found[name] = content
        else:
            file = io.BytesIO()
            content(file)
            found[name] = file.getvalue()
    return found
