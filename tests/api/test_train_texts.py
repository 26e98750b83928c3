"""Texts and labels in memory become a bundle; what cannot be learned from is one line."""

import numpy as np
import pytest
import torch
from tests.cli.conftest import reviews

from howfar.bundle.from_texts import train_texts
from howfar.core.errors import DataError, UsageError

TEXTS, LABELS = (list(column) for column in zip(*reviews(60), strict=True))
QUICK = {"family": "textcnn", "budget": "4 steps", "width": 8, "embedding": 8, "rows": 8}


def weights(**given):
    model = train_texts(TEXTS, LABELS, **(QUICK | given)).model
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_all_rows_but_a_tenth_are_trained_on():
    bundle = train_texts(TEXTS, LABELS, **QUICK)
    data = bundle.training.data
    assert (data.train, data.validation, data.test) == (54, 6, 0)
    assert bundle.settings.names == ("negative", "positive")
    found = bundle.probabilities(TEXTS)
    assert found.shape == (60, 2)
    assert np.asarray(found).sum(axis=1) == pytest.approx(1)


def test_it_learns():
    bundle = train_texts(
        TEXTS, LABELS, **QUICK | {"budget": "200 steps", "width": 32, "learning_rate": 1e-2}
    )
    found = np.asarray(bundle.probabilities(TEXTS)).argmax(axis=1)
    right = [
        bundle.settings.names[code] == label for code, label in zip(found, LABELS, strict=True)
    ]
    assert sum(right) >= 54


def test_a_seed_decides_everything():
    torch.rand(3)
    assert torch.equal(weights(seed=4), weights(seed=4))
    assert not torch.equal(weights(seed=4), weights(seed=5))


def test_settings_reach_where_they_belong():
    bundle = train_texts(
        *(TEXTS, LABELS),
        **QUICK | {"family": "gru"},
        depth=2,
        bidirectional=True,
        slots=2,
        keep="end",
        max_vocabulary=12,
    )
    assert bundle.settings.depth == 2
    assert dict(bundle.settings.extras) == {"bidirectional": True}
    assert bundle.settings.keep == "end"
    assert bundle.tokeniser.vocabulary <= 12
    assert bundle.training.settings["slots"] == 2


def test_empty_texts_are_kept():
    bundle = train_texts([*TEXTS, "", " "], [*LABELS, *LABELS[:2]], **QUICK)
    data = bundle.training.data
    assert data.train + data.validation == 62


BAD = {
    "one class": (TEXTS, ["a"] * 60, {}, DataError, "E-ONE-CLASS"),
    "one text a class": (TEXTS[:2], LABELS[:2], {}, DataError, "E-TOO-FEW"),
    "no texts": ([], [], {}, DataError, "E-EMPTY"),
    "a label a text": (TEXTS, [f"l{i}" for i in range(60)], {}, DataError, "E-LABEL-CARD"),
    "family": (TEXTS, LABELS, {"family": "grru"}, UsageError, "E-MODEL"),
    "setting": (TEXTS, LABELS, {"foo": 1}, UsageError, "E-SETTING"),
    "keyword of build": (TEXTS, LABELS, {"outputs": 3}, UsageError, "E-OPTION"),
    "budget": (TEXTS, LABELS, {"budget": "long"}, UsageError, "E-OPTION"),
    "tokens": (TEXTS, LABELS, {"tokens": "wrod"}, UsageError, "E-OPTION"),
    "length": (TEXTS, LABELS, {"length": 0}, UsageError, "E-OPTION"),
    "dropout": (TEXTS, LABELS, {"dropout": 3}, UsageError, "E-OPTION"),
    "rate": (TEXTS, LABELS, {"learning_rate": float("nan")}, UsageError, "E-OPTION"),
    "rows": (TEXTS, LABELS, {"rows": 0}, UsageError, "E-OPTION"),
    "threads": (TEXTS, LABELS, {"threads": 0}, UsageError, "E-OPTION"),
    "packing": (TEXTS, LABELS, {"family": "gru", "pack": True}, UsageError, "E-PACK"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_trained_is_one_line(case):
    texts, labels, given, kind, code = BAD[case]
    with pytest.raises(kind) as caught:
        train_texts(texts, labels, **QUICK | given)
    assert caught.value.code == code
    assert str(caught.value).isprintable()


def test_a_loss_that_is_not_finite_is_said(monkeypatch):
    from howfar.train import loop

    monkeypatch.setattr(loop.Objective, "loss", lambda *given: given[1].sum() * float("nan"))
    with pytest.raises(DataError, match="loss nan") as caught:
        train_texts(TEXTS, LABELS, **QUICK)
    assert caught.value.code == "E-DIVERGED"
