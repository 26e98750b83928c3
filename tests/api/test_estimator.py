"""TextClassifier keeps scikit-learn's manners; training itself is a small stand-in here."""

import copy
import io
import pickle
import pickletools
import sys
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tests.cli.conftest import reviews
from torch.nn import functional as F

from howfar.api.estimator import OWN, TextClassifier
from howfar.bundle.build import model_of
from howfar.bundle.bundle import Bundle
from howfar.bundle.predict import padded
from howfar.bundle.settings import Settings
from howfar.core.errors import DataError, UsageError
from howfar.data.tokenise import train_tokeniser

TEXTS, LABELS = (list(column) for column in zip(*reviews(60), strict=True))
asked = []


def train_texts(texts, labels, **options):
    """A handful of steps on everything at once."""
    asked.append((list(texts), list(labels), options))
    assert all(isinstance(label, str) for label in labels)
    tokeniser = train_tokeniser("word", texts, min_count=1)
    names = tuple(sorted(set(labels), reverse=True))  # not the order of classes_
    made = Settings(
        aim="classification",
        family="textcnn",
        tokens="word",
        vocabulary=tokeniser.vocabulary,
        outputs=len(names),
        length=options["length"] or 32,
        width=32,
        embedding=8,
        causal=False,
        pooled=True,
        extras={"kernels": (1,)},
        names=names,
    )
    model = model_of(made, torch.Generator().manual_seed(options["seed"]))
    tokens, lengths = padded(tokeniser.encode(texts))
    targets = torch.tensor([names.index(label) for label in labels])
    optimiser = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(25):
        optimiser.zero_grad()
        F.cross_entropy(model(tokens, lengths), targets).backward()
        optimiser.step()
    return Bundle(settings=made, model=model.eval(), tokeniser=tokeniser)


@pytest.fixture(autouse=True)
def training(monkeypatch):
    monkeypatch.setitem(
        sys.modules, "howfar.bundle.from_texts", SimpleNamespace(train_texts=train_texts)
    )
    asked.clear()


@pytest.fixture
def fitted():
    return TextClassifier(random_state=0).fit(TEXTS, LABELS)


def test_it_learns_and_answers_in_the_labels_it_was_given(fitted):
    assert isinstance(fitted, BaseEstimator)
    assert is_classifier(fitted)
    assert fitted.classes_.tolist() == ["negative", "positive"]
    assert fitted.score(TEXTS, LABELS) > 0.95
    chances = fitted.predict_proba(TEXTS)
    assert chances.shape == (60, 2)
    assert np.allclose(chances.sum(axis=1), 1)
    assert (fitted.classes_[chances.argmax(1)] == fitted.predict(TEXTS)).all()
    assert np.allclose(np.exp(fitted.predict_log_proba(TEXTS)), chances)


@pytest.mark.parametrize(
    "classes", [(0, 1), (7, -3), (True, False), ("b", "a"), (1.0, 2.0), (" x", "x "), ("", "y")]
)
def test_labels_of_any_type(classes):
    labels = [classes[label == "positive"] for label in LABELS]
    made = TextClassifier(random_state=0).fit(TEXTS, labels)
    assert made.classes_.tolist() == sorted(set(classes))
    assert made.predict(TEXTS).dtype == np.asarray(labels).dtype
    assert made.score(TEXTS, labels) > 0.95


def test_init_only_stores():
    given = {
        "family": "lstm",
        "budget": "1 s",
        "tokens": "char",
        "length": 3,
        "learning_rate": 0.1,
        "parameters": 5,
        "dropout": 0.2,
        "threads": 1,
        "random_state": 4,
        "settings": {"depth": 2},
    }
    made = TextClassifier(**given)
    assert made.get_params() == given
    assert vars(made) == given
    assert made.settings is given["settings"]
    copied = clone(made)
    assert copied is not made
    assert copied.get_params() == given
    assert made.set_params(length=9).length == 9
    with pytest.raises(ValueError, match="lenght"):
        made.set_params(lenght=9)
    assert "family='lstm'" in repr(made)
    assert TextClassifier("gru").family == "gru"


def test_what_is_asked_of_training():
    TextClassifier("textcnn", budget="2 s", length=9, settings={"depth": 3}, random_state=5).fit(
        TEXTS, LABELS
    )
    texts, labels, options = asked[0]
    assert (texts, labels) == (TEXTS, LABELS)
    assert options == {
        "family": "textcnn",
        "budget": "2 s",
        "tokens": None,
        "length": 9,
        "seed": 5,
        "learning_rate": None,
        "parameters": None,
        "dropout": None,
        "threads": None,
        "depth": 3,
    }


def test_random_state():
    def seed(state):
        TextClassifier(random_state=state).fit(TEXTS, LABELS)
        return asked[-1][2]["seed"]

    assert seed(3) == seed(np.int64(3)) == 3
    one = np.random.RandomState(1)
    assert seed(one) != seed(one)
    assert seed(np.random.RandomState(1)) == seed(np.random.RandomState(1))
    assert isinstance(seed(None), int)
    with pytest.raises(ValueError, match="seed"):
        seed("x")
    first, second = (TextClassifier(random_state=0).fit(TEXTS, LABELS) for _ in range(2))
    assert np.array_equal(first.predict_proba(TEXTS), second.predict_proba(TEXTS))


def test_fit_starts_afresh_and_leaves_its_parameters(fitted):
    before = fitted.predict_proba(TEXTS)
    fitted.fit(TEXTS, LABELS)
    assert np.array_equal(before, fitted.predict_proba(TEXTS))
    assert fitted.get_params() == TextClassifier(random_state=0).get_params()
    assert fitted.fit(TEXTS, LABELS) is fitted


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series, lambda x: np.array(x, object)])
def test_sequences_of_any_kind(kind):
    made = TextClassifier(random_state=0).fit(kind(TEXTS), kind(LABELS))
    assert made.predict(kind(TEXTS[:5])).shape == (5,)
    assert made.predict(kind(TEXTS[:1])).shape == (1,)


def test_not_fitted_yet():
    for method in ("predict", "predict_proba"):
        with pytest.raises(NotFittedError):
            getattr(TextClassifier(), method)(TEXTS)


@pytest.mark.parametrize(
    ("texts", "labels", "what"),
    [
        ("one text", ["a"], "single text"),
        (np.array([["a", "b"]]), ["a"], "table"),
        (pd.DataFrame({"text": TEXTS}), LABELS, "table"),
        (3, ["a"], "no sequence"),
        (["a", 3], ["x", "y"], r"X\[1\]"),
        (["a", None], ["x", "y"], r"X\[1\]"),
        (["a", b"b"], ["x", "y"], "bytes"),
        (["a", "b"], ["x"], "inconsistent"),
        (["a", "b"], None, "needs y"),
        (["a", "b"], [0.5, 1.25], "continuous"),
        ([], [], "no texts"),
        (["a", "b"], [[1, 0], [0, 1]], "shape"),
    ],
)
def test_what_cannot_be_learned_from_is_a_value_error(texts, labels, what):
    with pytest.raises(ValueError, match=what):
        TextClassifier().fit(texts, labels)
    assert not asked


def test_errors_are_howfars_too():
    with pytest.raises(UsageError):
        TextClassifier().fit("text", ["a"])
    with pytest.raises(DataError):
        TextClassifier().fit([1], ["a"])


def test_cross_validation_grid_and_pipeline():
    made = TextClassifier(random_state=0)
    assert cross_val_score(made, TEXTS, LABELS, cv=3).mean() > 0.7
    assert cross_val_score(made, TEXTS, LABELS, cv=2, scoring="roc_auc").mean() > 0.7
    assert cross_val_predict(made, TEXTS, LABELS, cv=2).shape == (60,)
    grid = GridSearchCV(made, {"length": [1, 24]}, cv=2, error_score="raise").fit(TEXTS, LABELS)
    assert grid.best_params_["length"] in (1, 24)
    assert grid.predict(TEXTS[:2]).shape == (2,)
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    line = make_pipeline(lower, made).fit([text.upper() for text in TEXTS], LABELS)
    assert line.score(TEXTS, LABELS) > 0.95
    assert line.get_params()["textclassifier__family"] == "gru"


def test_a_fitted_estimator_is_pickled_without_objects_of_torch(fitted, tmp_path):
    data = pickle.dumps(fitted)
    named = {str(arg) for op, arg, _ in pickletools.genops(data) if isinstance(arg, str)}
    assert not any(name.split(".")[0] in ("torch", "tokenizers") for name in named)
    for loaded in (pickle.loads(data), copy.deepcopy(fitted)):  # noqa: S301 - its own
        assert np.array_equal(loaded.predict_proba(TEXTS), fitted.predict_proba(TEXTS))
        assert loaded.classes_.tolist() == fitted.classes_.tolist()
        assert pickle.dumps(loaded) == data
    joblib.dump(fitted, tmp_path / "x.joblib")
    assert joblib.load(tmp_path / "x.joblib").score(TEXTS, LABELS) > 0.95
    assert fitted.score(TEXTS, LABELS) > 0.95  # pickling leaves it whole
    unfitted = pickle.loads(pickle.dumps(TextClassifier("lstm")))  # noqa: S301
    assert unfitted.family == "lstm"
    assert io.BytesIO(data).read(1) == b"\x80"


@pytest.mark.parametrize(
    ("given", "part"),
    [
        *(
            ({name: 1}, rf"'{name}', which is the parameter {name}")
            for name in ("length", "family")
        ),
        *(({name: 1}, rf"'{name}', which is the par") for name in ("budget", "tokens", "dropout")),
        *(({name: 1}, rf"'{name}', which is the par") for name in ("parameters", "threads")),
        *(({name: 1}, rf"'{name}', which is the par") for name in ("learning_rate", "settings")),
        ({"seed": 1}, "'seed', which is the parameter random_state"),
        *(({name: {}}, rf"'{name}', which is no") for name in ("texts", "labels", "options")),
        ({"extras": {}}, "'extras', which is no setting"),
        ({3: 1}, "the key '3'"),
        ("depth=2", "settings is a str"),
    ],
)
def test_settings_say_nothing_twice(given, part):
    with pytest.raises(ValueError, match=part) as caught:
        TextClassifier(settings=given, length=8).fit(TEXTS, LABELS)
    assert isinstance(caught.value, UsageError)
    assert caught.value.code == "E-OPTION"


def test_the_names_that_settings_may_not_have_are_all_the_parameters():
    assert set(TextClassifier().get_params()) <= set(OWN)


def test_tags(fitted):
    tags = fitted.__sklearn_tags__()
    assert tags.estimator_type == "classifier"
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array
    assert not tags.non_deterministic


def test_the_bundle_can_be_kept(fitted, tmp_path):
    from howfar.api.bundles import load

    fitted.bundle_.save(tmp_path / "m")
    assert load(tmp_path / "m").predict(TEXTS) == fitted.predict(TEXTS).tolist()
