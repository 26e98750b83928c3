"""`howfar predict`: any file in, answers in the order of the texts out."""

import csv
import io
import json
import os
import subprocess
import sys

import pytest
from tests.bundle.making import bundle
from tests.cli.conftest import reviews, write_csv

from howfar.bundle.save import save


@pytest.fixture(autouse=True)
def registered():
    """The command, also where the group does not list it."""
    from howfar.cli import cli
    from howfar.cli.predict import predict_command

    if "predict" not in cli.commands:
        cli.add_command(predict_command)


@pytest.fixture
def model(tmp_path):
    save(bundle(scale=30.0), tmp_path / "model")
    return tmp_path / "model"


def cells(path):
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")))


def test_a_table_without_labels(howfar, model, tmp_path):
    write_csv(
        tmp_path / "in.csv", [("the film was good", "1"), ("boring", "2")], names=("text", "id")
    )
    ended = howfar("predict", "model", "in.csv", "--out", "out.csv")
    assert (ended.code, ended.out) == (0, "2 answers: out.csv\n")
    found = cells(tmp_path / "out.csv")
    expected = bundle(scale=30.0).predictions(["the film was good", "boring"])
    assert [row["prediction"] for row in found] == [one.label for one in expected]
    assert [row["line"] for row in found] == ["2", "3"]
    assert float(found[0]["probability"]) == max(expected[0].probabilities.values())
    assert list(found[0]) == ["line", "prediction", "probability", "tokens", "cut", "empty"]


def test_probabilities_and_columns_of_the_input(howfar, model, tmp_path):
    write_csv(tmp_path / "in.csv", [("the film", "=1+1", "x")], names=("text", "prediction", "id"))
    ended = howfar(
        *("predict", "model", "in.csv", "--out", "o.csv", "--probabilities", "--keep-columns")
    )
    assert ended.code == 0
    row = cells(tmp_path / "o.csv")[0]
    assert (row["text"], row["prediction"], row["id"]) == ("the film", "'=1+1", "x")
    assert row["howfar.prediction"] in ("bad", "good", "fine")
    assert sum(float(row[f"p({name})"]) for name in ("bad", "good", "fine")) == pytest.approx(1)
    howfar("predict", "model", "in.csv", "--out", "raw.csv", "--keep-columns", "--csv-raw")
    assert cells(tmp_path / "raw.csv")[0]["prediction"] == "=1+1"
    howfar("predict", "model", "in.csv", "--out", "o.jsonl", "--keep-columns", "--probabilities")
    row = json.loads((tmp_path / "o.jsonl").read_text("utf-8"))
    assert row["prediction"] == "=1+1"
    assert set(row["probabilities"]) == {"bad", "good", "fine"}


def test_quotation_marks_are_text_where_asked(howfar, model, tmp_path):
    (tmp_path / "in.tsv").write_text('text\tid\n"the" film\t1\n"good\t2\n')
    ended = howfar("predict", "model", "in.tsv", "--quote", "none", "--json")
    assert ended.code == 0, ended.err
    assert [row["line"] for row in ended.document["predictions"]] == [2, 3]


def test_a_text_file_is_one_text_a_line(howfar, model, tmp_path):
    (tmp_path / "in.txt").write_bytes("the film\r\n\r\ngood \u2028 town\n".encode())
    ended = howfar("predict", "model", "in.txt", "--json")
    assert ended.code == 0
    found = ended.document["predictions"]
    assert [row["line"] for row in found] == [1, 2, 3]
    assert [row["empty"] for row in found] == [False, True, False]
    assert any("W-EMPTY: 1 of 3" in line for line in ended.document["notes"])


def test_a_folder_of_texts(howfar, model, tmp_path):
    (tmp_path / "texts").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "texts" / name).write_text("the film\nwas good")
    ended = howfar("predict", "model", "texts", "--json")
    assert ended.code == 0
    assert len(ended.document["predictions"]) == 2


def test_on_the_screen(howfar, model, tmp_path):
    (tmp_path / "in.txt").write_text("the film \x1b[31mwas good\n" + "long " * 50 + "\n")
    ended = howfar("predict", "model", "in.txt")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert lines[0].split() == ["line", "prediction", "probability", "text"]
    assert len(lines) == 3
    assert "\x1b" not in ended.out
    assert lines[2].endswith("...")
    assert "W-TRUNC: 1 of 2 texts (50.0%) longer than 8 tokens; longest 50; tail lost" in ended.err


def test_standard_input(model, tmp_path):
    code = (
        "from howfar.cli import cli, main\nfrom howfar.cli.predict import predict_command\n"
        "cli.add_command(predict_command)\n"
        "main(['predict', 'model', '-', '--json'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input='{"text": "a film"}\n{"text": "good"}\n',
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["predictions"]) == 2


@pytest.mark.parametrize("aim", ["multilabel", "tagging", "regression", "seq2seq"])
def test_other_aims(aim, howfar, tmp_path):
    save(bundle(aim, scale=30.0), tmp_path / "model")
    (tmp_path / "in.txt").write_text("the film was good\nboring\n")
    assert howfar("predict", "model", "in.txt").code == 0
    more = ["--probabilities"] if aim == "multilabel" else []
    ended = howfar("predict", "model", "in.txt", "--json", *more)
    kind = {"multilabel": list, "tagging": list, "regression": float, "seq2seq": str}[aim]
    assert all(isinstance(row["prediction"], kind) for row in ended.document["predictions"])
    assert howfar("predict", "model", "in.txt", "--out", "o.csv").code == 0
    assert len(cells(tmp_path / "o.csv")) == 2


def test_tokens_in_lists(howfar, tmp_path):
    save(bundle("tagging"), tmp_path / "model")
    (tmp_path / "in.jsonl").write_text('{"id": 1, "tokens": ["the", "film", "was"]}\n')
    ended = howfar("predict", "model", "in.jsonl", "--json")
    assert len(ended.document["predictions"][0]["prediction"]) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("predict", "modle", "in.csv"), 2, "E-NO-BUNDLE.*Did you mean 'model'"),
        (("predict", "model", "nothing.csv"), 2, "E-NO-FILE"),
        (("predict", "model", "in.csv", "--out", "x.parquet"), 2, "E-OPTION.*csv"),
        (("predict", "model", "in.csv", "--out", "in.csv"), 2, "E-OPTION.*read"),
        (("predict", "model", "in.csv", "--out", "model.csv/"), 2, "E-OPTION"),
        (("predict", "model", "in.csv", "--batch-tokens", "0"), 2, "E-OPTION"),
        (("predict", "model", "in.csv", "--device", "abacus"), 2, "E-DEVICE"),
        (("predict", "model", "in.csv", "--text", "txet"), 3, "E-COLUMN.*Did you mean 'text'"),
        (("predict", "model", "two.csv"), 3, "E-COLUMN.*--text"),
        (("predict", "model", "empty.txt"), 3, "E-EMPTY"),
        (("predict", "model", "in.txt", "--text", "text"), 2, "E-OPTION.*--text has no effect"),
        (("predict", "model", "in.txt", "--quote", "none"), 2, "E-OPTION.*--quote has no effect"),
        (("predict", "model", "quotes.tsv"), 3, "E-QUOTE.*--quote none"),
        (("predict", "model", "quotes.tsv", "--quote", "'"), 2, "E-OPTION"),
        (("predict", "model", "nul.jsonl"), 3, "E-NUL"),
        (("predict", "lm", "in.csv"), 2, "E-AIM.*generate"),
        (("predict", "in.csv", "in.csv"), 2, "E-NO-BUNDLE.*a file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments, code, said, howfar, model, tmp_path):
    write_csv(tmp_path / "in.csv", [("the film", "x")])
    write_csv(tmp_path / "two.csv", [("the film", "x", "y")], names=("one", "two", "three"))
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "in.txt").write_text("the film\n")
    (tmp_path / "quotes.tsv").write_text('text\tid\n"the" film\t1\n')
    (tmp_path / "nul.jsonl").write_text('{"text": "a\\u0000b"}\n')
    (tmp_path / "model.csv").mkdir()
    save(bundle("lm"), tmp_path / "lm")
    ended = howfar(*arguments)
    assert ended.code == code
    assert "Traceback" not in ended.err
    last = ended.err.strip().splitlines()[-1]
    assert last.startswith("howfar: error[")
    import re

    assert re.search(said, last)


def test_a_damaged_model_ends_with_5(howfar, model, tmp_path):
    write_csv(tmp_path / "in.csv", reviews(4))
    data = bytearray((model / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (model / "weights.safetensors").write_bytes(data)
    ended = howfar("predict", "model", "in.csv", "--out", "o.csv")
    assert ended.code == 5
    assert "E-DAMAGED" in ended.err
    assert not (tmp_path / "o.csv").exists()


def test_the_order_is_that_of_the_texts(howfar, model, tmp_path):
    rows = reviews(60)
    write_csv(tmp_path / "in.csv", rows)
    ended = howfar("predict", "model", "in.csv", "--batch-tokens", "64", "--json")
    expected = [bundle(scale=30.0).predictions([text])[0] for text, _ in rows]
    found = ended.document["predictions"]
    assert [row["prediction"] for row in found] == [one.label for one in expected]
    for row, one in zip(found, expected, strict=True):
        assert row["probability"] == pytest.approx(max(one.probabilities.values()), abs=1e-5)


def test_tags_of_a_file_are_not_read(howfar, tmp_path):
    made = bundle("tagging", scale=30.0)
    save(made, tmp_path / "tagger")
    (tmp_path / "in.conll").write_text("the good\nfilm bad\n\nwas good\ngood bad\n")
    ended = howfar("predict", "tagger", "in.conll", "--json")
    want = made.predict(["the film", "was good"])
    assert [row["prediction"] for row in ended.document["predictions"]] == want
    assert [row["line"] for row in ended.document["predictions"]] == [1, 4]
