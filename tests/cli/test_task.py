"""`howfar task`: list, show, write, and what is refused."""

import json

import pytest

from howfar.tasks import TASKS, task


def test_list_names_every_task(howfar):
    ended = howfar("task", "list")
    assert ended.code == 0
    assert [line.split()[0] for line in ended.out.splitlines()] == list(TASKS)
    told = json.loads(howfar("task", "list", "--json").out)
    assert told["tasks"] == {name: kind.idea for name, kind in TASKS.items()}


def test_show_draws_items_and_the_ladder(howfar):
    ended = howfar("task", "show", "recall", "--set", "length=6", "--items", "1")
    made = task("recall", length=6)
    batch = made.batch([0], split="test")
    rows = [line.split() for line in ended.out.splitlines()[-3:]]
    assert rows[0] == ["input", *(made.symbols[token] for token in batch.tokens[0])]
    assert rows[1] == ["target", str(int(batch.targets[0, -1]))]
    assert rows[2] == ["distance", str(int(batch.distance[0, -1]))]
    assert "accuracy by chance 0.1250" in ended.out
    assert all(rung in ended.out for rung in made.shortcuts)


def test_show_as_a_document(howfar):
    told = json.loads(howfar("task", "show", "recall", "--json").out)
    assert told["chance"] == 1 / 8
    assert told["settings"] == {"length": 128, "seed": 0, "cues": 8, "noise": 24}
    assert set(told["shortcuts"]) == set(task("recall").shortcuts)


def test_write_gives_the_items_themselves(howfar, tmp_path):
    out = tmp_path / "items.jsonl"
    ended = howfar("task", "write", "recall", "--items", "300", "--first", "7", "--out", out)
    assert ended.code == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    batch = task("recall").batch(range(7, 307))
    assert [row["item"] for row in rows] == list(range(7, 307))
    assert [row["tokens"] for row in rows] == batch.tokens.tolist()
    assert [row["targets"][-1] for row in rows] == batch.targets[:, -1].tolist()
    assert all(set(row["targets"][:-1]) == {None} for row in rows)
    assert [row["distance"] for row in rows] == batch.distance.tolist()


def test_a_task_file_is_the_task(howfar, tmp_path):
    file = tmp_path / "own.toml"
    file.write_text('task = "recall"\nlength = 6\ncues = 3\n')
    told = json.loads(howfar("task", "show", file, "--json").out)
    assert told["settings"] == {"length": 6, "seed": 0, "cues": 3, "noise": 24}


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        ('task = "recall"\ncue = 3\n', 2, "no setting 'cue'. Did you mean 'cues'?"),
        ('task = "recal"\n', 2, "Did you mean 'recall'?"),
        ('task = "recall"\ncues = "3"\n', 2, "cues of recall cannot be '3'"),
        ('task = "recall"\ncues = true\n', 2, "cues of recall cannot be 'True'"),
        ('task = "recall"\ncues = 1\n', 2, "recall needs cues >= 2; got cues=1"),
        ("cues = 3\n", 3, "names no task"),
        ("task = \n", 3, "is no task file"),
    ],
)
def test_task_files_that_are_refused(howfar, tmp_path, content, code, said):
    file = tmp_path / "own.toml"
    file.write_text(content)
    ended = howfar("task", "show", file)
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "recal"], "Did you mean 'recall'?"),
        (["show", "recall", "--set", "lenght=3"], "Did you mean 'length'?"),
        (["show", "recall", "--set", "length"], "no NAME=VALUE"),
        (["show", "recall", "--set", "length=x"], "length='x' is no int"),
        (["show", "recall", "--set", "length=4", "--set", "length=5"], "said twice"),
        (["show", "recall", "--set", "length=1"], "recall needs length >= 2; got length=1"),
        (["show", "none.toml"], "no task file 'none.toml'"),
        (["write", "recall", "--out", "items.csv"], "no .jsonl file"),
        (["write", "recall", "--items", "0"], "--items"),
    ],
)
def test_refusals(howfar, words, said):
    ended = howfar("task", *words)
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_a_folder_that_cannot_be(howfar, tmp_path):
    (tmp_path / "file").write_text("")
    ended = howfar("task", "write", "recall", "--out", tmp_path / "file" / "items.jsonl")
    assert ended.code == 4
    assert "file" in ended.err
    assert len(ended.err.splitlines()) == 1


def test_settings_of_a_task_reach_the_comparison(howfar, tmp_path):
    words = [
        "--families",
        "gru",
        "--seeds",
        "1",
        "--rates",
        "1e-2",
        "--parameters",
        "2000",
        "--budget",
    ]
    more = ["50 steps", "--cost-lengths", "none", "--sequences", "16", "--workers", "1", "--json"]
    settings = ["--set", "length=8", "--set", "cues=3"]
    ended = howfar("compare", "recall", *settings, *words, *more, "--out", tmp_path / "report")
    assert ended.code == 0, ended.err
    record = json.loads(ended.out)
    assert record["data"]["length"] == 8
    assert record["baselines"][0]["score"]["value"] == pytest.approx(1 / 3)
    ended = howfar("compare", "movie_reviews", "--set", "cues=3", "--out", tmp_path / "other")
    assert (ended.code, "--set is of made tasks" in ended.err) == (2, True)


def test_pairs_are_scored_by_a_kept_model(howfar, tmp_path):
    (tmp_path / "text.txt").write_text("the cat sits . the cats sit . " * 300)
    pairs = [("the cat sits .", "the cat sit ."), ("the cats sit .", "the cats sits .")] * 3
    rows = [json.dumps({"sentence_good": a, "sentence_bad": b, "UID": "verb"}) for a, b in pairs]
    (tmp_path / "pairs.jsonl").write_text("\n".join(rows))
    words = ["--family", "gru", "--width", "16", "--embedding", "8", "--budget", "300k tokens"]
    more = ["--rate", "1e-2", "--length", "32"]
    assert howfar("train", "text.txt", *words, *more, "--out", "m").code == 0
    ended = howfar("task", "pairs", "pairs.jsonl", "m")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[0].startswith("1.000 [")
    assert "0.500  chance" in ended.out
    told = json.loads(howfar("task", "pairs", "pairs.jsonl", "m", "--most", "2", "--json").out)
    assert (told["overall"]["share"], told["overall"]["pairs"]) == (1.0, 2)
    assert howfar("task", "pairs", "text.txt", "m").code == 3
    assert howfar("task", "pairs", "none.jsonl", "m").code == 2
