"""Messages that name the way on, and options that are never ignored in silence."""

import json

import pytest
from rich.cells import cell_len
from tests.bundle.making import bundle
from tests.cli.conftest import reviews, write_csv

from howfar.bundle.load import load
from howfar.bundle.save import save

SMALL = (
    *("--budget", "4 steps", "--width", "8", "--embedding", "8", "--batch", "8"),
    *("--evaluations", "2", "--threads", "1", "--no-baselines"),
)


@pytest.fixture
def done(howfar, table):
    line = ("train", table.name, "--out", "model", *SMALL)
    assert howfar(*line).code == 0
    return line


def test_the_same_line_on_a_finished_model_is_done(howfar, done):
    ended = howfar(*done, "--resume")
    assert (ended.code, ended.out) == (0, "The model in model is done.\n")
    assert howfar(*done, "--resume", "--checkpoint-every", "3").code == 0


OTHERS = {
    "width": (["--width", "9"], "model.width is '8' there, '9' here"),
    "family": (["--family", "lstm"], "model.family"),
    "budget": (["--budget", "5 steps"], "options.budget"),
    "batch": (["--batch", "4"], "options.rows"),
    "pack": (["--pack", "--family", "transformer"], "options.pack"),
    "split": (["--validation", "reviews.csv"], "labels"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_finished_model_of_other_settings_is_not_done(howfar, done, case):
    options, part = OTHERS[case]
    ended = howfar(*done, "--resume", *options)
    assert (ended.code, ended.out) == (5, "")
    assert "error[E-OTHER-RUN]" in ended.err
    assert part in ended.err


def test_a_finished_model_of_other_data_is_not_done(howfar, done, table):
    write_csv(table, reviews(seed=2))
    ended = howfar(*done, "--resume")
    assert (ended.code, "E-OTHER-RUN" in ended.err, "data is" in ended.err) == (5, True, True)
    ended = howfar("train", "nope.csv", *done[2:], "--resume")
    assert (ended.code, "E-NO-FILE" in ended.err) == (2, True)


def test_a_number_a_row_names_regression(howfar, tmp_path):
    rows = [(text, str(i / 7)) for i, (text, _) in enumerate(reviews())]
    write_csv(tmp_path / "r.csv", rows)
    ended = howfar("train", "r.csv", "--out", "m", *SMALL)
    assert (ended.code, "--aim regression" in ended.err) == (3, True)


@pytest.mark.parametrize("command", [("predict", "m", "x.txt"), ("generate", "m", "--prompt", "a")])
def test_what_a_masked_model_is_for(howfar, tmp_path, command):
    save(bundle("masked"), tmp_path / "m")
    (tmp_path / "x.txt").write_text("the film\n")
    ended = howfar(*command)
    assert ended.code == 2
    for word in ("evaluated", "exported", "--pretrain"):
        assert word in ended.err


@pytest.mark.parametrize(("amount", "said"), [("5", True), ("5 tokens", False), ("4 steps", False)])
def test_a_bare_number_below_a_step_is_told(howfar, table, amount, said):
    ended = howfar("train", table.name, "--out", "m", *SMALL, "--budget", amount)
    assert ended.code == 0
    assert ("W-BUDGET" in ended.err) is said
    assert ('"5 epochs"' in ended.err) is said


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "m", "reviews.csv"),
        ("evaluate", "m", "reviews.csv"),
        ("generate", "m", "--prompt", "a"),
        ("export", "m", "--out", "m.pt2"),
    ],
)
def test_a_run_that_is_not_finished(howfar, tmp_path, table, command):
    (tmp_path / "m" / "checkpoints" / "ckpt-000000001").mkdir(parents=True)
    ended = howfar(*command)
    assert (ended.code, "not finished" in ended.err, "--resume" in ended.err) == (5, True, True)


@pytest.mark.parametrize("content", [b"text,label\na film,good\n", b"hi", b"\x00" * 64])
def test_no_parquet(howfar, tmp_path, content):
    (tmp_path / "x.parquet").write_bytes(content)
    ended = howfar("data", "x.parquet")
    assert (ended.code, "not a Parquet file" in ended.err) == (3, True)


@pytest.mark.parametrize("name", ["", " "])
def test_a_model_without_a_name(howfar, tmp_path, table, name):
    (tmp_path / "w.pt").write_bytes(b"PK\x03\x04")
    ended = howfar("predict", name, table.name)
    assert (ended.code, "E-NO-FILE" in ended.err) == (2, True)


def test_columns_of_training_are_remembered(howfar, tmp_path):
    rows = [("b" * 5, text, label) for text, label in reviews()]
    write_csv(tmp_path / "r.csv", rows, names=("id", "words", "verdict"))
    line = ("train", "r.csv", "--text", "words", "--label", "verdict", "--out", "m", *SMALL)
    assert howfar(*line).code == 0
    assert load(tmp_path / "m").settings.columns == ("words", "verdict")
    ended = howfar("predict", "m", "r.csv", "--json")
    assert ended.code == 0, ended.err
    assert "words" in ended.err
    named = howfar("predict", "m", "r.csv", "--json", "--text", "words")
    assert named.document["predictions"] == ended.document["predictions"]
    other = howfar("predict", "m", "r.csv", "--json", "--text", "id")
    assert other.document["predictions"] != ended.document["predictions"]
    ended = howfar("evaluate", "m", "r.csv", "--json")
    assert ended.code == 0, ended.err
    assert ended.document["rows"] == len(rows)
    write_csv(tmp_path / "other.csv", rows, names=("id", "text", "label"))
    assert howfar("predict", "m", "other.csv").code == 0
    assert howfar("evaluate", "m", "other.csv").code == 0


IGNORED = {
    "chances on the screen": ["--probabilities"],
    "columns on the screen": ["--keep-columns"],
}


@pytest.mark.parametrize("case", IGNORED)
def test_options_of_files_on_the_screen(howfar, tmp_path, table, case):
    save(bundle(scale=30.0), tmp_path / "m")
    ended = howfar("predict", "m", table.name, *IGNORED[case])
    assert (ended.code, "E-OPTION" in ended.err, "--out" in ended.err) == (2, True, True)


@pytest.mark.parametrize("aim", ["tagging", "regression", "seq2seq"])
def test_no_chances_of_such_a_model(howfar, tmp_path, table, aim):
    save(bundle(aim), tmp_path / "m")
    ended = howfar("predict", "m", table.name, "--probabilities", "--out", "o.csv")
    assert (ended.code, "--probabilities has no effect" in ended.err) == (2, True)


BESIDE = {
    "width": (["--width", "8", "--parameters", "5000"], "--width"),
    "batch": (["--batch", "8", "--batch-tokens", "100"], "--batch-tokens"),
    "processes": (["--parallel", "fsdp"], "torchrun"),
    "a family": (["--family", "grü"], "E-MODEL"),
    "a setting": (["--set", "nothing=1"], "E-SETTING"),
}


@pytest.mark.parametrize("case", BESIDE)
def test_refused_before_data_is_read(howfar, case):
    options, part = BESIDE[case]
    ended = howfar("train", "nowhere.csv", "--out", "m", *options)
    assert (ended.code, part in ended.err) == (2, True), ended.err


@pytest.mark.parametrize("aim", ["regression", "multilabel"])
def test_smoothing_needs_one_right_class(howfar, tmp_path, aim):
    rows = [(text, str(i / 7)) for i, (text, _) in enumerate(reviews())]
    write_csv(tmp_path / "r.csv", rows if aim == "regression" else reviews())
    line = ("train", "r.csv", "--aim", aim, "--out", "m", *SMALL, "--smoothing", "0.1")
    ended = howfar(*line)
    assert (ended.code, "--smoothing" in ended.err) == (2, True), ended.err


def test_long_cells_can_be_asked_about(howfar, tmp_path):
    save(bundle(scale=30.0), tmp_path / "m")
    (tmp_path / "x.jsonl").write_text(json.dumps({"text": "film " * 250_000}) + "\n")
    ended = howfar("predict", "m", "x.jsonl")
    assert (ended.code, "E-FIELD" in ended.err) == (3, True)
    assert howfar("predict", "m", "x.jsonl", "--max-field", "2000000").code == 0


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("aim", ["classification", "multilabel", "regression"])
def test_nothing_is_wider_than_the_terminal(howfar, tmp_path, monkeypatch, width, aim):
    monkeypatch.setenv("COLUMNS", str(width))
    long = {"classification": None, "multilabel": "good|bad", "regression": "0.25"}[aim]
    rows = [(f"{text} was a 电影 of people", long or "good") for text, _ in reviews()]
    rows[1:3] = [(text, "fine" if long is None else answer) for text, answer in rows[1:3]]
    write_csv(tmp_path / "r.csv", rows)
    save(bundle(aim, scale=30.0), tmp_path / "m")
    for command in (("data", "r.csv"), ("predict", "m", "r.csv"), ("evaluate", "m", "r.csv")):
        ended = howfar(*command)
        assert ended.code == 0, ended.err
        assert max(map(cell_len, ended.out.splitlines())) <= width, ended.out
