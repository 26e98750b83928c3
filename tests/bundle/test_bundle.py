"""The methods of a bundle are the functions of its room."""

import numpy as np
import pytest
from tests.bundle.making import TEXTS, bundle

from howfar.bundle.bundle import Bundle
from howfar.bundle.inputs import read_inputs
from howfar.bundle.predict import predict, probabilities
from howfar.core.errors import DataError, UsageError


def test_predictions():
    made = bundle(scale=30.0)
    assert made.predictions(TEXTS) == predict(made, TEXTS)
    assert made.predict(TEXTS) == [one.label for one in predict(made, TEXTS)]
    assert np.array_equal(made.probabilities(TEXTS), probabilities(made, TEXTS))
    assert np.array_equal(
        made.probabilities(TEXTS, batch_tokens=4), probabilities(made, TEXTS, batch_tokens=4)
    )
    assert made.parameters == sum(p.numel() for p in made.model.parameters())


def test_save_and_from_pretrained(tmp_path):
    bundle().save(tmp_path / "m")
    bundle().save(tmp_path / "m", replace=True)
    assert Bundle.from_pretrained(tmp_path / "m").settings == bundle().settings


def test_generate_goes_on():
    assert isinstance(bundle("lm").generate("the film", max_tokens=3).text, str)
    with pytest.raises(UsageError):
        bundle().generate("the film")


def test_evaluate(tmp_path):
    made = bundle(scale=30.0)
    right = made.predict(TEXTS)
    assert made.evaluate(TEXTS, right).score("accuracy").value == 1.0
    (tmp_path / "x.csv").write_text(
        "text,label\n" + "".join(f"{t},{r}\n" for t, r in zip(TEXTS, right, strict=True))
    )
    assert made.evaluate(tmp_path / "x.csv").score("accuracy").value == 1.0


def test_inputs_of_a_table(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"id": 1, "review": "a"}\n{"id": 2, "review": null}\n{"id": 3, "review": 5}\n')
    found = read_inputs(path)
    assert found.texts == ("a", "", "5")
    assert found.lines == (1, 2, 3)
    assert list(found.columns) == ["id", "review"]
    assert list(map(str, found.columns["id"])) == ["1", "2", "3"]
    assert found.notes == ("The text column 'review' was guessed.",)
    assert read_inputs(path, text="id").texts == ("1", "2", "3")
    assert read_inputs(path, "seq2seq").texts == ("a", "", "5")
    with pytest.raises(DataError, match="reviw"):
        read_inputs(path, text="reviw")


def test_inputs_of_a_text(tmp_path):
    path = tmp_path / "x.txt"
    for text, lines in (("a\nb", ("a", "b")), ("a\n\nb\n", ("a", "", "b")), ("a\n\n", ("a", ""))):
        path.write_text(text)
        assert read_inputs(path).texts == lines
        assert read_inputs(path).lines == tuple(range(1, len(lines) + 1))


def test_rows_that_cannot_be_read_are_left_out_when_asked(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a", "n": 1}\n{"text": {"x": 1}, "n": 2}\n{"text": "c", "n": 3}\n')
    with pytest.raises(DataError):
        read_inputs(path)
    found = read_inputs(path, bad_rows="skip")
    assert found.texts == ("a", "c")
    assert list(map(str, found.columns["n"])) == ["1", "3"]
    assert found.lines == (1, 3)


CONLL = "-DOCSTART- O\n\nthe O\nfilm B\n\n\nwas X\n\n"


def test_lines_of_token_and_tag_are_sentences_to_tagging(tmp_path):
    for name in ("a.conll", "a.txt"):
        path = tmp_path / name
        path.write_text(CONLL)
        found = read_inputs(path, "tagging", tags=("B", "O"))
        assert found.texts == ("the film", "was")
        assert found.lines == (3, 7)
        assert any("2 sentences were read" in note for note in found.notes)
        assert found.columns == {"tokens": ("the film", "was")}
    path.write_text("the film was good\nO\n\nsome O\n")
    assert len(read_inputs(path, "tagging", tags=("B", "O")).texts) == 4
    path.write_text(CONLL)
    assert len(read_inputs(path, "classification", tags=("B", "O")).texts) == 8


def test_tokens_without_tags_are_sentences_by_the_name_of_the_file(tmp_path):
    path = tmp_path / "a.CONLL"
    path.write_text("the\nfilm\n\nwas\n")
    assert read_inputs(path, "tagging").texts == ("the film", "was")
    path.write_text("-DOCSTART- O\n")
    with pytest.raises(DataError) as caught:
        read_inputs(path, "tagging")
    assert caught.value.code == "E-EMPTY"
