"""Baselines beside a trained model, worked out by hand."""

import math

import numpy as np
import pytest

from howfar.data.examples import Corpus, Examples
from howfar.data.ragged import Ragged
from howfar.data.tokenise import train_tokeniser
from howfar.record.comparison import Data
from howfar.study.beside import beside
from howfar.study.ngram import KneserNey


def corpus(aim, parts, **more):
    given = {"vocabulary": 6, "length": 8, "data": Data(kind=aim, name="made", unit="character")}
    tokeniser = train_tokeniser("char", ["abcd"])
    train, validation, test = parts
    return Corpus(
        aim=aim,
        train=train,
        validation=validation,
        test=test,
        tokeniser=tokeniser,
        **(given | more),
    )


def rows(*ids, tags=None):
    return Examples(ids=Ragged.of(ids), targets=None if tags is None else Ragged.of(tags))


def test_each_token_has_its_commonest_tag():
    train = rows([2, 3, 2], [2, 4], tags=[[0, 1, 0], [1, 0]])
    # token 2: tag 0 twice, 1 once; token 3: 1; token 4: 0; unknown 5: 0, the commonest of all
    test = rows([2, 3, 5], [2], tags=[[0, 0, 0], [1]])
    (found,) = beside(corpus("tagging", (train, train, test), names=("A", "B")), 0)
    assert found.score.value == 0.5


def test_random_text_costs_the_logarithm_of_its_alphabet():
    ids = np.random.default_rng(0).integers(2, 6, 30_000)
    parts = [rows(ids[a:b]) for a, b in ((0, 24_000), (24_000, 27_000), (27_000, 30_000))]
    (found,) = beside(corpus("lm", parts), 0)
    assert found.score.name == "bits per character"
    assert found.score.value == pytest.approx(2.0, abs=0.01)
    assert found.name == "1-grams"


def test_a_text_that_repeats_costs_nothing():
    ids = np.tile([2, 3, 4, 5], 2_000)
    parts = [rows(ids), rows(ids[:400]), rows(ids[:400])]
    (found,) = beside(corpus("lm", parts), 0)
    assert found.score.value < 0.05


def test_ngrams_score_the_targets_of_the_models():
    # Ends (5) stand between documents of the letters 2 and 3; all but the first token are scored.
    draws = np.random.default_rng(0)
    documents = [np.full(1 + i % 3, 2 + i % 2) for i in draws.integers(6, size=400)]
    train, validation, test = (rows(*documents[a : a + 100]) for a in (0, 100, 200))
    (found,) = beside(corpus("lm", (train, validation, test), end=5), 0)
    joined = [[i for ids in part.ids for i in (*ids.tolist(), 5)] for part in (train, test)]
    model = KneserNey(8, 6).fit(joined[0])
    order = int(found.name.split("-")[0])
    nats = model.nats_by_order(joined[1])[order - 1][1:]
    characters = sum(i != 5 for i in joined[1][1:])
    assert found.score.value == pytest.approx(nats.sum() / math.log(2) / characters, rel=1e-12)
    assert len(nats) == characters + 100


def test_a_single_token_has_no_next_one():
    part = rows([2, 3, 4, 5] * 10)
    assert beside(corpus("lm", (part, part, rows([2]))), 0) == ()


def test_words_tell_classes():
    texts = ["good film", "bad film"] * 10
    ids = [np.asarray([2, 3])] * 20
    targets = np.asarray([1, 0] * 10)
    part = Examples(ids=Ragged.of(ids), targets=targets, texts=texts)
    (found,) = beside(corpus("classification", (part, part, part), names=("n", "p")), 0)
    assert found.score.value == 1.0


def test_nothing_is_said_without_test_rows():
    part = rows([2, 3, 4, 5] * 10)
    assert beside(corpus("lm", (part, part, rows())), 0) == ()
    assert beside(corpus("masked", (part, part, part)), 0) == ()
