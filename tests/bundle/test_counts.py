"""How often each class stood in training, by hand."""

import numpy as np
import pytest
from tests.bundle.making import bundle

from howfar.bundle import counts as room
from howfar.bundle.counts import class_counts
from howfar.bundle.examples import asked_of, corpus_of
from howfar.data.examples import Examples

TEXTS = ["the film", "a story", "the town was good"]


def counted(aim, targets):
    made = bundle(aim)
    return class_counts(corpus_of(made, asked_of(made, TEXTS, targets)))


def test_rows_of_each_class():
    assert counted("classification", ["good", "bad", "good"]) == {"bad": 1, "good": 2, "fine": 0}


def test_rows_of_each_label():
    told = [("good", "bad"), (), ("good",)]
    assert counted("multilabel", told) == {"bad": 1, "good": 2, "fine": 0}


@pytest.mark.parametrize("stretch", [1, 3, 100])
def test_tokens_of_each_tag(monkeypatch, stretch):
    monkeypatch.setattr(room, "STRETCH", stretch)
    told = [("good", "bad"), ("fine", "fine"), ("bad",) * 4]
    assert counted("tagging", told) == {"bad": 5, "good": 1, "fine": 2}


def test_tags_of_a_part_that_is_cut_out_of_others():
    made = bundle("tagging")
    told = [("good", "bad"), ("fine", "fine"), ("bad",) * 4]
    corpus = corpus_of(made, asked_of(made, TEXTS, told))
    whole = corpus.train
    part = Examples(ids=whole.ids[1:2], targets=whole.targets[1:2])
    object.__setattr__(corpus, "train", part)
    assert class_counts(corpus) == {"bad": 0, "good": 0, "fine": 2}


def test_no_classes_no_counts():
    made = bundle("regression")
    assert class_counts(corpus_of(made, asked_of(made, TEXTS, [1.0, 2.0, 3.0]))) is None
    made = bundle("lm")
    assert class_counts(corpus_of(made, asked_of(made, TEXTS))) is None


def test_many_rows_lose_none():
    made = bundle("multilabel")
    corpus = corpus_of(made, asked_of(made, TEXTS, [(), (), ()]))
    table = np.ones((2**24 + 3, 1), dtype=np.float32)  # a sum in float32 would stop at 2**24
    object.__setattr__(corpus, "names", ("only",))
    object.__setattr__(corpus.train, "targets", table)
    assert class_counts(corpus) == {"only": 2**24 + 3}
