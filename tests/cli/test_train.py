"""`howfar train`: any form of data and every aim give a model that the other commands open."""

import json
import os
import random
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.cli.conftest import BAD, GOOD, reviews, write_csv

from howfar.models import MODELS
from howfar.train import loop

SMALL = (
    *("--budget", "4 steps", "--width", "8", "--embedding", "8", "--batch", "8"),
    *("--evaluations", "2", "--threads", "1", "--no-baselines"),
)
BUNDLE = {"MANIFEST.json", "README.md", "config.json", "tokenizer.json", "training.json"}
BUNDLE |= {"weights.safetensors", "learning.svg"}
ROWS = reviews()
PROSE = "\n".join(text for text, _ in ROWS) * 3


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def several():
    rng = random.Random(1)
    return [(text, "|".join(sorted(rng.sample("abc", rng.randint(0, 3))))) for text, _ in ROWS]


def tags(text):
    return ["B" if word in GOOD + BAD else "O" for word in text.split()]


def as_csv(path, rows):
    return write_csv(path, [(text, str(answer)) for text, answer in rows])


def as_folders(path, rows):
    for i, (text, label) in enumerate(rows):
        (path / label).mkdir(parents=True, exist_ok=True)
        (path / label / f"{i}.txt").write_text(text)


def as_documents(path, rows):
    path.mkdir()
    for i, (text, _) in enumerate(rows):
        (path / f"{i}.txt").write_text(text)


def as_parquet(path, rows):
    texts, labels = zip(*rows, strict=True)
    pq.write_table(pa.table({"text": texts, "label": labels}), path)


def as_lines(path, rows):
    path.write_text(lines({"text": text, "label": label} for text, label in rows))


FORMS = {
    "r.csv": (as_csv, "classification"),
    "r.jsonl": (as_lines, "classification"),
    "r.parquet": (as_parquet, "classification"),
    "classes": (as_folders, "classification"),
    "documents": (as_documents, "lm"),
    "r.txt": (lambda path, rows: path.write_text(PROSE), "lm"),
}
AIMS = {
    "classification": lambda: ROWS,
    "multilabel": several,
    "tagging": lambda: [(text, " ".join(tags(text))) for text, _ in ROWS],
    "regression": lambda: [(text, len(text) / 7) for text, _ in ROWS],
    "seq2seq": lambda: [(text, " ".join(reversed(text.split()))) for text, _ in ROWS],
    "lm": lambda: ROWS,
    "masked": lambda: ROWS,
}


def files(folder):
    return {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_data_becomes_a_model(howfar, tmp_path, name):
    write, aim = FORMS[name]
    write(tmp_path / name, ROWS)
    ended = howfar("train", name, "--out", "model", *SMALL, "--json")
    assert ended.code == 0, ended.err
    assert (ended.document["status"], ended.document["aim"]) == ("done", aim)
    assert ended.document["steps"] == 4
    assert ended.document["baselines"] == []
    assert files("model") == BUNDLE
    assert "Traceback" not in ended.err
    assert howfar("evaluate", "model", name).code == 0


@pytest.mark.parametrize("aim", AIMS)
def test_every_aim_gives_a_model_that_answers(howfar, tmp_path, aim):
    as_csv(tmp_path / "r.csv", AIMS[aim]())
    ended = howfar("train", "r.csv", "--out", "model", "--aim", aim, *SMALL)
    assert ended.code == 0, ended.err
    assert "model: model" in ended.out
    assert howfar("evaluate", "model", "r.csv").code == 0
    asked = howfar("predict", "model", "r.csv", "--out", "answers.csv")
    assert asked.code == (2 if aim in ("lm", "masked") else 0), asked.err
    if asked.code == 0:
        assert len((tmp_path / "answers.csv").read_text().splitlines()) >= len(ROWS)
    written = howfar("generate", "model", "--prompt", "the film", "--max-tokens", "3")
    assert written.code == (0 if aim in ("lm", "seq2seq") else 2), written.err


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("aim", ["classification", "lm"])
def test_every_family(howfar, tmp_path, family, aim):
    as_csv(tmp_path / "r.csv", ROWS)
    ended = howfar(
        *("train", "r.csv", "--out", "model", "--aim", aim, "--family", family, *SMALL),
        *("--budget", "2 steps", "--batch", "4", "--length", "24", "--json"),
    )
    assert ended.code == 0, ended.err
    assert ended.document["family"] == family


CHOICES = {
    "width 1": ["--width", "1", "--embedding", "1"],
    "one step": ["--budget", "1 step"],
    "one token": ["--budget", "1 token"],
    "a hundredth of an epoch": ["--budget", "0.01 epochs"],
    "a moment": ["--budget", "0.001 seconds"],
    "batch larger than the data": ["--batch", "4096"],
    "batches of one token": ["--batch-tokens", "1"],
    "a huge rate": ["--rate", "10", "--budget", "20 steps"],
    "packed": ["--pack", "--family", "transformer"],
    "next token first": ["--pretrain", "next"],
    "denoising first": ["--pretrain", "denoise", "--family", "textcnn"],
    "balanced": ["--balanced"],
    "two slots": ["--slots", "2"],
    "bfloat16": ["--precision", "bfloat16"],
    "recompute": ["--recompute", "--family", "transformer"],
    "so many parameters": ["--parameters", "5000"],
    "kernels": ["--family", "textcnn", "--set", "kernels=2,3"],
    "a checkpoint a step": ["--checkpoint-every", "1"],
    "patience": ["--patience", "1", "--evaluations", "10000"],
    "one word": ["--length", "1"],
    "three words known": ["--max-vocabulary", "3"],
    "bytes": ["--tokens", "byte"],
    "the end": ["--keep", "end", "--length", "5"],
}


@pytest.mark.parametrize("case", CHOICES)
def test_odd_choices_train(howfar, table, case):
    ended = howfar("train", table.name, "--out", "model", *beside(CHOICES[case]))
    assert ended.code == 0, ended.err
    assert files("model") == BUNDLE


def beside(options):
    """The small run with these; what would say the same as one of them is left out."""
    small = dict(zip(SMALL[:-1:2], SMALL[1:-1:2], strict=True))
    for given, other in (("--batch-tokens", "--batch"), ("--parameters", "--width")):
        if given in options:
            del small[other]
    return [*(word for pair in small.items() for word in pair), SMALL[-1], *options]


def test_baselines_stand_beside_it(howfar, table):
    ended = howfar("train", table.name, "--out", "model", *SMALL[:-1])
    assert "beside it, TF-IDF" in ended.out
    assert "majority" in ended.out


def test_chinese_is_read_by_character(howfar, tmp_path):
    rng = random.Random(1)
    texts = ["".join(rng.choices("我们住在酒店里房间很", k=12)) + "坏好"[i % 2] for i in range(40)]
    as_csv(tmp_path / "z.csv", [(text, i % 2) for i, text in enumerate(texts)])
    ended = howfar("train", "z.csv", "--out", "model", *SMALL, "--json")
    assert ended.document["data"]["unit"] == "character"


def test_standard_input(tmp_path, table):
    with table.open("rb") as rows:
        command = [sys.executable, "-m", "howfar", "train", "-", "--out", "model", *SMALL]
        ended = subprocess.run(command, cwd=tmp_path, stdin=rows, capture_output=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert files(tmp_path / "model") == BUNDLE


# signals


@contextmanager
def heard(number, at, times=1):
    """Within: this process gets a signal before its step `at`."""
    count, real = iter(range(10**6)), loop.reached

    def reached(name):
        real(name)
        if name == "step" and next(count) == at:
            for _ in range(times):
                os.kill(os.getpid(), number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "reached", reached)
        yield


def weights(folder="model"):
    return Path(folder, "weights.safetensors").read_bytes()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("more", [(), ("--pretrain", "denoise")])
def test_a_signal_ends_a_run_that_resumes_to_the_same_bits(howfar, table, number, code, more):
    line = ("train", table.name, *SMALL, *more)
    assert howfar(*line, "--out", "whole").code == 0
    steps = 8 if more else 4
    before = signal.getsignal(number)
    for at in range(1, steps):
        with heard(number, 1):
            ended = howfar(*line, "--out", "model", *(("--resume",) if at > 1 else ()))
        if ended.code == 0:
            break
        assert ended.code == code, ended.err
        assert "--resume goes on" in ended.out
        assert "Traceback" not in ended.err
        assert signal.getsignal(number) == before
    assert howfar(*line, "--out", "model", "--resume").code == 0
    assert weights() == weights("whole")
    assert files("model") == BUNDLE


def test_the_second_ctrl_c_acts_at_once(howfar, table):
    line = ("train", table.name, "--out", "model", *SMALL, "--checkpoint-every", "1")
    with heard(signal.SIGINT, 2, times=2):
        ended = howfar(*line)
    assert ended.code == 130
    assert ended.err.splitlines()[-1].startswith("howfar: error[E-STOPPED]")
    assert howfar(*line, "--resume").code == 0
    assert howfar(*line[:3], "whole", *line[4:]).code == 0
    assert weights() == weights("whole")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_data_is_read_leaves_nothing(howfar, table, monkeypatch, number, code):
    def read(*given, **named):
        os.kill(os.getpid(), number)
        raise AssertionError

    monkeypatch.setattr("howfar.api.training.open_corpus", read)
    ended = howfar("train", table.name, "--out", "model", *SMALL)
    assert ended.code == code
    assert not Path("model").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="process groups of POSIX")
def test_ctrl_c_to_the_group_ends_it_soon(tmp_path, table):
    command = [sys.executable, "-m", "howfar", "train", table.name, "--out", "model", *SMALL]
    errors = tmp_path / "errors.txt"
    with errors.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--budget", "1 minutes", "--evaluations", "500"],
            cwd=tmp_path,
            stderr=stream,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        known = psutil.Process(process.pid)
        while "training" not in errors.read_text():
            assert process.poll() is None, errors.read_text()
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=10)
    assert process.returncode == 130
    assert out.startswith(b"stopped at step")
    assert "Traceback" not in errors.read_text()
    assert not known.is_running()


# resuming, and what stands in --out


@pytest.fixture
def stopped(howfar, table):
    """The line of a run that was stopped after two steps."""
    line = ("train", table.name, "--out", "model", *SMALL)
    with heard(signal.SIGINT, 1):
        assert howfar(*line).code == 130
    return line


OTHERS = {
    "width": (["--width", "9"], "model.width is '8' there, '9' here"),
    "budget": (["--budget", "5 steps"], "options.budget.amount"),
    "seed": (["--seed", "1"], "options.seed"),
    "batch": (["--batch", "4"], "batches"),
    "rate": (["--rate", "0.5"], "options.learning_rate"),
    "rows to choose on": (["--validation", "reviews.csv"], "rows is"),
    "balanced": (["--balanced"], "options.weights"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_run_is_not_resumed(howfar, stopped, case):
    options, part = OTHERS[case]
    before = files("model")
    ended = howfar(*stopped, "--resume", *options)
    assert ended.code == 5
    assert "error[E-OTHER-RUN]" in ended.err
    assert part in ended.err
    assert files("model") == before


def test_changed_data_is_not_resumed(howfar, stopped, table):
    write_csv(table, reviews(seed=2))
    ended = howfar(*stopped, "--resume")
    assert (ended.code, "E-OTHER-RUN" in ended.err, "data is" in ended.err) == (5, True, True)


def test_other_threads_need_a_word(howfar, stopped, monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 7)
    ended = howfar(*stopped, "--resume")
    assert ended.code == 5
    assert "error[E-INEXACT]" in ended.err
    assert "--allow-inexact" in ended.err
    ended = howfar(*stopped, "--resume", "--allow-inexact", "--json")
    assert ended.code == 0, ended.err
    assert ended.document["inexact"]


def test_a_run_is_not_begun_anew_by_accident(howfar, stopped):
    before = files("model")
    ended = howfar(*stopped)
    assert (ended.code, "error[E-EXISTS]" in ended.err, "--resume" in ended.err) == (5, True, True)
    assert files("model") == before


def test_a_finished_model_is_kept(howfar, table):
    line = ("train", table.name, "--out", "model", *SMALL)
    assert howfar(*line).code == 0
    first = weights()
    ended = howfar(*line, "--seed", "1")
    assert (ended.code, "--overwrite" in ended.err) == (5, True)
    ended = howfar(*line, "--resume")
    assert (ended.code, ended.out) == (0, "The model in model is done.\n")
    ended = howfar(*line, "--resume", "--json")
    assert ended.document["status"] == "done"
    assert weights() == first
    assert howfar(*line, "--seed", "1", "--overwrite").code == 0
    assert weights() != first


def test_an_overwriting_run_that_stops_leaves_the_old_model(howfar, table):
    line = ("train", table.name, "--out", "model", *SMALL)
    assert howfar(*line).code == 0
    first = weights()
    with heard(signal.SIGINT, 1):
        assert howfar(*line, "--seed", "1", "--overwrite").code == 130
    assert weights() == first
    assert howfar("predict", "model", table.name).code == 0
    assert howfar(*line, "--seed", "1", "--overwrite").code == 5
    assert howfar(*line, "--seed", "1", "--overwrite", "--resume").code == 0
    assert howfar(*line[:3], "whole", *line[4:], "--seed", "1").code == 0
    assert weights() == weights("whole")
    assert files("model") == BUNDLE


@pytest.mark.parametrize("name", ["notes.txt", ".notes"])
@pytest.mark.parametrize("flag", [(), ("--overwrite",), ("--resume",)])
def test_other_files_are_left_alone(howfar, table, name, flag):
    Path("model").mkdir()
    Path("model", name).write_text("mine")
    ended = howfar("train", table.name, "--out", "model", *SMALL, *flag)
    assert (ended.code, "error[E-EXISTS]" in ended.err, name in ended.err) == (2, True, True)
    assert files("model") == {name}


def test_other_files_beside_a_model_are_seen_before_training(howfar, table):
    line = ("train", table.name, "--out", "model", *SMALL)
    assert howfar(*line).code == 0
    Path("model", "notes.txt").write_text("mine")
    ended = howfar(*line, "--overwrite")
    assert (ended.code, "training" in ended.err) == (2, False)
    assert files("model") == BUNDLE | {"notes.txt"}


def test_an_empty_folder_of_a_run_that_never_kept_anything(howfar, table):
    Path("model", "checkpoints").mkdir(parents=True)
    assert howfar("train", table.name, "--out", "model", *SMALL).code == 0
    assert files("model") == BUNDLE


# what the machine lacks


def test_a_model_too_large_for_memory_is_said_first(howfar, table):
    ended = howfar("train", table.name, "--out", "model", *SMALL, "--width", "65536")
    assert (ended.code, "error[E-MEMORY]" in ended.err, "GiB" in ended.err) == (4, True, True)
    assert not Path("model").exists()


def test_memory_that_runs_out_in_a_step(howfar, table, monkeypatch):
    def swell(*given):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(loop.Objective, "loss", swell)
    ended = howfar("train", table.name, "--out", "model", *SMALL)
    assert (ended.code, "error[E-MEMORY]" in ended.err, "--batch" in ended.err) == (4, True, True)


@pytest.mark.parametrize("after", range(0, 30, 4))
def test_a_full_disk_says_what_was_needed_and_the_run_goes_on(howfar, table, after):
    line = ("train", table.name, *SMALL, "--checkpoint-every", "1")
    assert howfar(*line, "--out", "whole").code == 0
    count, real = iter(range(10**6)), os.fsync

    def full(descriptor):
        if next(count) >= after:
            raise OSError(28, "No space left on device")
        real(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", full)
        ended = howfar(*line, "--out", "model")
    assert ended.code == 4, ended.err
    assert "error[E-DISK]" in ended.err
    assert "needed" in ended.err
    assert "free" in ended.err
    assert "model" in ended.err
    assert howfar(*line, "--out", "model", "--resume").code == 0
    assert weights() == weights("whole")
    assert files("model") == BUNDLE


def test_a_disk_too_small_is_seen_before_training(howfar, table, monkeypatch):
    monkeypatch.setattr("howfar.core.disk.free_bytes", lambda path: 1000)
    ended = howfar("train", table.name, "--out", "model", *SMALL)
    assert (ended.code, "error[E-DISK]" in ended.err) == (4, True)
    assert "free 1,000 bytes" in ended.err
    assert "training" not in ended.err.replace("--", "")
    assert files("model") == set()


def test_a_loss_that_is_not_finite_is_a_failed_run(howfar, table, monkeypatch):
    monkeypatch.setattr(loop.Objective, "loss", lambda *given: given[1].sum() * float("nan"))
    ended = howfar("train", table.name, "--out", "model", *SMALL)
    assert ended.code == 1
    assert ended.out.startswith("failed: loss nan at step 0")
    assert "MANIFEST.json" not in files("model")


@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0"}], ids=["utf-8", "C"])
def test_paths_of_any_bytes(tmp_path, locale):
    """A process of its own: how bytes of a path become text is settled when Python starts."""
    if sys.platform == "darwin":
        return  # its file systems hold UTF-8 alone
    table = os.fsencode(tmp_path) + b"/\xc3\xa9\xff.csv"
    out = os.fsencode(tmp_path) + b"/m\xc3\xa9\xff"
    with open(table, "w", encoding="utf-8") as file:  # noqa: PTH123 - a path of bytes
        file.write("text,label\n")
        file.writelines(
            f"the film number {i} was {'good' if i % 2 else 'bad'},{i % 2}\n" for i in range(60)
        )
    howfar = [sys.executable, "-m", "howfar"]
    quick = ["--budget", "2 steps", "--width", "8", "--embedding", "8", "--family", "textcnn"]
    env = os.environ | {"PYTHONCOERCECLOCALE": "0"} | locale
    for line in (["train", table, "--out", out, *quick, "--no-baselines"], ["predict", out, table]):
        done = subprocess.run([*howfar, *line], env=env, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    with open(out + b"/training.json", encoding="utf-8") as file:  # noqa: PTH123
        record = json.load(file)
    assert record["data"]["name"].endswith(r"\udcff")
    assert r"\udcff.csv" in record["command"]
