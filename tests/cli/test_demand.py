"""`howfar demand`: how far the data reaches, from a shell."""

import json
import random

import pytest
from tests.cli.conftest import reviews, write_csv


def chain(count, seed=0):
    """Letters of which each is likely the next in the alphabet: one token tells nearly all."""
    rng = random.Random(seed)
    letters, at = [], 0
    for _ in range(count):
        at = (at + 1) % 8 if rng.random() < 0.9 else rng.randrange(8)
        letters.append("abcdefgh"[at])
    return "".join(letters)


def test_a_text(howfar, tmp_path):
    (tmp_path / "text.txt").write_text(chain(250_000))
    ended = howfar("demand", "text.txt", "--out", "found")
    assert ended.code == 0, ended.err
    assert "counting and copying" in ended.out
    assert "mutual information" in ended.out
    names = {path.name for path in (tmp_path / "found").iterdir()}
    assert {"demand.json", "mutual-information.svg", "counting-and-copying.png"} <= names
    kept = json.loads((tmp_path / "found" / "demand.json").read_text())
    needs = {need["name"]: need for need in kept["needs"]}
    assert needs["counting and copying"]["value"] == 1
    assert 8 <= needs["mutual information"]["value"] <= 64


def test_labelled_rows_are_not_cut(howfar, tmp_path):
    rows = [(f"{text} " + "and so on " * 40 + ("yes" if label == "pos" else "no"), label)
            for text, label in reviews(120)]  # fmt: skip
    write_csv(tmp_path / "rows.csv", rows)
    ended = howfar("demand", "rows.csv", "--json")
    assert ended.code == 0, ended.err
    needs = {need["name"]: need for need in ended.document["needs"]}
    assert set(needs) == {"mutual information", "TF-IDF, last tokens", "TF-IDF, first tokens"}
    assert needs["TF-IDF, last tokens"]["curve"]["x"][-1] > 120
    assert ended.document["data"]["truncated_rows"] == 0
    assert ended.document["data"]["length"] == needs["TF-IDF, last tokens"]["curve"]["x"][-1]


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (("recall",), 2, "made task"),
        (("missing.txt",), 2, "E-NO-FILE"),
        (("tinyshakespeare", "--tokens", "letters"), 2, "E-OPTION"),
    ],
)
def test_what_cannot_be_asked(howfar, tmp_path, arguments, code, part):
    ended = howfar("demand", *arguments)
    assert ended.code == code
    assert part in ended.err
    assert ended.err.count("error[") == 1
    assert not list(tmp_path.iterdir())
