"""`howfar evaluate`: scores of a file, as text, as JSON and in a folder."""

import json

import pytest
from tests.bundle.making import bundle
from tests.cli.conftest import write_csv

from howfar.bundle.evaluate import evaluate_asked
from howfar.bundle.examples import asked_of
from howfar.bundle.save import save
from howfar.cli.evaluate import lines
from howfar.record.evaluation import ClassScore, Evaluation

ROWS = [("the film was good", "good"), ("a boring story", "bad"), ("the town", "fine")] * 4


@pytest.fixture(autouse=True)
def registered():
    """The command, also where the group does not list it."""
    from howfar.cli import cli
    from howfar.cli.evaluate import evaluate_command

    if "evaluate" not in cli.commands:
        cli.add_command(evaluate_command)


@pytest.fixture
def model(tmp_path):
    made = bundle(scale=30.0)
    save(made, tmp_path / "model")
    return made


def test_scores_on_the_screen(howfar, model, tmp_path):
    write_csv(tmp_path / "held.csv", ROWS)
    ended = howfar("evaluate", "model", "held.csv")
    assert ended.code == 0
    found = evaluate_asked(model, asked_of(model, *zip(*ROWS, strict=True)))
    assert ended.out.startswith("gru (classification) on 12 rows of held\n")
    accuracy = found.score("accuracy")
    assert f"  accuracy            {accuracy.value:.4f}  [" in ended.out
    for word in ("majority: accuracy", "macro F1", "ECE", "calibration", "confusion", "by tokens"):
        assert word in ended.out
    for name in ("bad", "good", "fine"):
        assert f"\n  {name}" in ended.out
    assert "column 'text' was guessed" in ended.err


def test_json_and_folder(howfar, model, tmp_path):
    write_csv(tmp_path / "held.csv", ROWS, names=("words", "truth"))
    named = ("--text", "words", "--label", "truth")
    ended = howfar("evaluate", "model", "held.csv", *named, "--json", "--out", "report")
    told = ended.document
    assert told["rows"] == 12
    assert [score["name"] for score in told["scores"]][:2] == ["accuracy", "macro F1"]
    kept = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    assert kept["scores"] == told["scores"]
    assert kept["confusion"] == told["confusion"]
    assert told["out"] == "report/evaluation.json"


def test_unknown_labels(howfar, model, tmp_path):
    write_csv(tmp_path / "held.csv", [*ROWS, ("the film", "awful")])
    ended = howfar("evaluate", "model", "held.csv")
    assert (ended.code, ended.out) == (3, "")
    assert "error[E-UNSEEN-LABEL]" in ended.err
    assert "held.csv" in ended.err
    ended = howfar("evaluate", "model", "held.csv", "--unseen", "ignore")
    assert ended.code == 0
    assert "left out: 1 rows" in ended.out
    assert "accuracy with unknown labels" in ended.out


def test_one_class_only(howfar, model, tmp_path):
    write_csv(tmp_path / "held.csv", [(f"the film {i}", "good") for i in range(5)])
    ended = howfar("evaluate", "model", "held.csv", "--json")
    assert [score["name"] for score in ended.document["scores"]] == ["accuracy"]
    assert "W-ONE-CLASS" in ended.err
    assert "nan" not in ended.out.lower()


@pytest.mark.parametrize(
    ("content", "code", "name"),
    [
        ("", 3, "E-EMPTY"),
        ("text,label\n", 3, "E-EMPTY"),
        ("a,b,c\n1,2,3\n", 3, "E-COLUMN"),
        ("text,label\nthe film,\n", 3, "E-LABEL"),
        ("text,label\n,good\n", 3, "E-EMPTY-TEXT"),
    ],
)
def test_bad_files(howfar, model, tmp_path, content, code, name):
    (tmp_path / "held.csv").write_text(content)
    ended = howfar("evaluate", "model", "held.csv")
    assert ended.code == code
    assert f"error[{name}]" in ended.err
    assert "Traceback" not in ended.err


def test_a_text_for_a_language_model(howfar, tmp_path):
    save(bundle("lm", tokens="char", scale=5.0), tmp_path / "model")
    (tmp_path / "held.txt").write_text("the film was good and fine" * 5)
    ended = howfar("evaluate", "model", "held.txt")
    assert ended.code == 0
    assert ended.out.splitlines()[2].startswith("  bits per character")
    for name in ("bits per byte", "bits per token", "nats per token", "perplexity"):
        assert name in ended.out
    assert howfar("evaluate", "model", "nowhere.txt").code == 2


def test_many_classes_show_the_worst():
    classes = tuple(ClassScore(name=f"c{i}", rows=1, f1=i / 100) for i in range(30))
    found = Evaluation(
        aim="classification", family="gru", data="d", rows=30, targets=30, seconds=0.0, scores=(),
        classes=classes, confusion=((0,) * 30,) * 30, names=tuple(c.name for c in classes),
    )  # fmt: skip
    told = "\n".join(lines(found))
    assert "the 20 classes with the least F1, of 30" in told
    assert "c19" in told
    assert "c20" not in told
    assert "confusion" not in told


def test_names_of_classes_cannot_draw_on_the_screen():
    found = Evaluation(
        aim="classification", family="gru", data="d\x1b[2J", rows=2, targets=2, seconds=0.0,
        scores=(), classes=(ClassScore(name="a\x1b[31m", rows=1), ClassScore(name="你好", rows=1)),
        confusion=((1, 0), (0, 1)), names=("a\x1b[31m", "你好"),
    )  # fmt: skip
    assert "\x1b" not in "\n".join(lines(found))
