"""Long texts are validated and scored on their beginning, and the record says so."""

import pytest

from howfar.bundle.evaluate import evaluate
from howfar.bundle.recipe import Recipe
from howfar.bundle.training import Glimpse, source_of, train
from howfar.data.corpus import CorpusOptions, load_corpus
from howfar.train import Budget

RECIPE = Recipe(family="elman", width=8, embedding=8, budget=Budget(3, "steps"), rows=2)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("the cat sat on the mat.\n" * 400)
    return load_corpus(path, "lm", CorpusOptions(length=16))


def test_a_glimpse_is_the_beginning(corpus):
    source = source_of(corpus, RECIPE)
    whole = list(source.evaluation("validation"))
    most = sum(batch.num_tokens for batch in whole[:3])
    seen = list(Glimpse(source, most).evaluation("validation"))
    assert len(whole) > 3
    assert [b.tokens.tolist() for b in seen] == [b.tokens.tolist() for b in whole[:3]]
    assert list(Glimpse(source, 10**9).evaluation("validation"))[-1].num_tokens
    assert Glimpse(source, 1).batch(5).tokens.equal(source.batch(5).tokens)


def test_what_was_not_read_is_said(corpus):
    bundle = train(corpus, RECIPE).bundle
    whole = evaluate(bundle, corpus)
    part = evaluate(bundle, corpus, most_tokens=100)
    assert part.targets < whole.targets
    assert "the rest of the part was not read" in part.notes[-1]
    assert not any("not read" in note for note in whole.notes)
