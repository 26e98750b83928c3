"""Summed surprise of texts: by hand, in any company, and as the evaluation has it."""

import numpy as np
import pytest
import torch

import howfar
from howfar.bundle.surprise import surprise
from howfar.core.errors import UsageError


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A character model of running text, and one of documents, which begin with `end`."""
    folder = tmp_path_factory.mktemp("surprise")
    (folder / "text.txt").write_text("the cat sat on the mat\n" * 200)
    rows = "\n".join(["text", *(f"cat {n % 7} sat" for n in range(60))])
    (folder / "rows.csv").write_text(rows + "\n")
    sizes = {"family": "gru", "width": 8, "embedding": 4, "budget": "2000 tokens"}
    running = howfar.train(folder / "text.txt", folder / "a", aim="lm", **sizes)
    documents = howfar.train(
        folder / "rows.csv", folder / "b", aim="lm", reading={"text": "text"}, **sizes
    )
    return running.bundle, documents.bundle


@pytest.mark.parametrize("which", [0, 1])
def test_it_is_the_sum_of_what_the_model_says(models, which):
    bundle = models[which]
    text = "cat 3 sat" if which else "the cat"
    ids = bundle.tokeniser.encode([text])[0].tolist()
    before = bundle.settings.end
    if before is None:
        before = int(bundle.tokeniser.encode(["\n"])[0][0])
    want, read = 0.0, [before]
    for token in ids:
        with torch.no_grad():
            logits = bundle.model(torch.tensor([read]))[0, -1].double()
        want -= float(logits.log_softmax(-1)[token])
        read.append(token)
    company = surprise(bundle, ["cat", text, "", "sat on the mat, the cat, and all the rest"])
    assert company[1] == pytest.approx(want, rel=1e-5)
    assert company[2] == 0.0
    assert surprise(bundle, [text])[0] == pytest.approx(want, rel=1e-5)


def test_no_texts(models):
    assert surprise(models[0], []).shape == (0,)
    assert np.array_equal(surprise(models[0], ["", ""]), [0.0, 0.0])


def test_a_model_of_another_aim(models, tmp_path):
    (tmp_path / "t.csv").write_text(
        "text,label\n" + "".join(f"good {n},a\nbad {n},b\n" for n in range(40))
    )
    sizes = {"family": "textcnn", "width": 8, "embedding": 4, "budget": "2000 tokens"}
    bundle = howfar.train(tmp_path / "t.csv", tmp_path / "m", **sizes).bundle
    with pytest.raises(UsageError, match="classification"):
        surprise(bundle, ["good"])
