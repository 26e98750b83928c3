"""`howfar compare` from end to end at tiny budgets: what is printed, written and returned."""

import gzip
import json
import subprocess
import sys
import textwrap

import pytest
import torch
from tests.cli.conftest import QUICK, reviews, write_csv
from torch import nn

import howfar as package
from howfar.record import codec
from howfar.record.comparison import Comparison
from howfar.report.save import read_records
from howfar.train import Trained

ROW = {"family", "kind", "status", "score", "reach", "parameters", "train_seconds", "tokens_seen"}
ROW |= {"learning_rate", "seeds", "cost", "state_bytes"}
LENGTH = ("--length", "16")


def without_nulls(value):
    """Absent, never null: but for a seed without a reach in a list that has one entry a seed."""
    if isinstance(value, dict):
        return all(without_nulls(item) for name, item in value.items() if name != "per_seed")
    if isinstance(value, list):
        return all(without_nulls(item) for item in value)
    return value is not None


def check_document(ended, folder, *, kind, reach, score):
    """The shape that scripts rely on; returns the document."""
    assert ended.code == 0, ended.err
    document = ended.document
    assert ended.out.count("\n") == 1
    assert document["schema"] == 1
    assert without_nulls(document)
    assert document["data"]["kind"] == kind
    assert {"rows", "dropped", "truncated_rows"} <= set(document["data"])
    assert [row["family"] for row in document["rows"]] == ["textcnn", "gru"]
    for row in document["rows"]:
        assert set(row) >= ROW
        assert row["status"] == "done"
        assert row["score"]["name"] == score
        assert row["score"]["low"] <= row["score"]["value"] <= row["score"]["high"]
        assert row["reach"]["kind"] == reach
        assert type(row["reach"]["censored"]) is bool
        assert ("card" in row["reach"]) == (reach == "swap")
        assert ("by_distance" in row) == (kind == "task")
        assert row["seeds"] == [0]
        assert row["learning_rate"] == 0.01
        assert row["tokens_seen"] > 0
        assert row["train_seconds"] > 0
        assert "cost_exponent" not in row
        if reach == "swap":
            assert {"structural", "useful"} - set(row["reach"]["card"]) <= {"useful"}
    assert {"name", "score"} <= set(document["baselines"][0])
    assert document["advice"]
    codec.from_data(Comparison, document)
    page = folder / document["report"]
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert {path.suffix for path in (page.parent / "figures").iterdir()} == {".svg", ".png"}
    [record] = read_records(page.parent / "records.json")
    assert record.rows == codec.from_data(Comparison, document).rows
    assert not list(folder.glob(".howfar*"))
    return document


def as_csv(path):
    return write_csv(path, reviews())


def as_tsv(path):
    return write_csv(path, reviews(), separator="\t")


def as_json_lines(path):
    lines = "".join(json.dumps({"text": t, "label": k}) + "\n" for t, k in reviews())
    path.write_bytes(gzip.compress(lines.encode()))


def as_parquet(path):
    pa = pytest.importorskip("pyarrow")
    texts, labels = zip(*reviews(), strict=True)
    pa.parquet.write_table(pa.table({"text": texts, "label": labels}), path)


TABLES = {"a.csv": as_csv, "a.tsv": as_tsv, "a.jsonl.gz": as_json_lines, "a.parquet": as_parquet}


def test_tables_of_every_format_give_the_same(howfar, tmp_path):
    import pyarrow.parquet  # noqa: F401 - its submodule is asked for by name above

    scores = []
    for name, write in TABLES.items():
        write(tmp_path / name)
        ended = howfar("compare", name, *QUICK, *LENGTH, "--json", "--out", f"{name}-report")
        found = check_document(
            ended, tmp_path, kind="labels", reach="interaction", score="accuracy"
        )
        assert found["data"]["rows"] == 80
        assert [b["name"] for b in found["baselines"]] == [
            "majority",
            "TF-IDF + logistic regression",
        ]
        scores.append([(row["score"], row["reach"]) for row in found["rows"]])
    assert scores.count(scores[0]) == len(TABLES)


@pytest.mark.parametrize("tokens", ["byte", "char", "word", "bpe"])
def test_text(howfar, tmp_path, tokens):
    lines = [f"{text} {label}\n" for text, label in reviews(400)]
    (tmp_path / "a.txt").write_text("".join(lines), encoding="utf-8")
    ended = howfar("compare", "a.txt", "--tokens", tokens, *QUICK, *LENGTH, "--json")
    unit = {"byte": "byte", "char": "character", "word": "word", "bpe": "piece"}[tokens]
    check_document(ended, tmp_path, kind="text", reach="swap", score=f"bits per {unit}")


def test_recall(howfar, tmp_path):
    arguments = ("compare", "recall", *QUICK, "--length", "16")
    found = check_document(
        howfar(*arguments, "--json"), tmp_path, kind="task", reach="swap", score="accuracy"
    )
    for row in found["rows"]:
        points = row["by_distance"]
        assert points[0]["distance"] == 1
        assert points[-1]["distance"] == 15
        assert all({"distance", "accuracy", "low", "high"} <= set(point) for point in points)
    said = howfar(*arguments)
    assert said.code == 0
    assert "fresh sequences to train" in said.out
    assert said.out.endswith("report: howfar-report/report.html\n")
    assert all(line == line.rstrip() for line in said.out.splitlines())


def test_cost(howfar):
    options = (*QUICK, "--families", "gru", "--budget", "1 steps", "--cost-lengths", "8,16,32")
    [row] = howfar("compare", "recall", *options, *LENGTH, "--json").document["rows"]
    assert [point["length"] for point in row["cost"]] == [8, 16, 32]
    for point in row["cost"]:
        assert point["forward_us_per_token"] > 0
        assert point["train_us_per_token"] > 0
        assert point["peak_bytes"] >= 0
    exponent = row["cost_exponent"]
    assert exponent["low"] <= exponent["value"] <= exponent["high"]


def outcome(document):
    """All that a seed decides."""
    return [
        (row["score"], row["reach"], row["learning_rate"], row["learning_rates"], row["learning"])
        for row in document["rows"]
    ]


def test_the_same_seed_gives_the_same_with_one_worker_and_two(howfar, table):
    options = (*QUICK, *LENGTH, "--rates", "1e-3,1e-2", "--seeds", "2", "--families", "gru")
    options = (*options, "--json", "--workers")
    first, again, two = (
        howfar("compare", table.name, *options, workers).document for workers in (1, 1, 2)
    )
    assert outcome(first) == outcome(again) == outcome(two)
    assert first["baselines"] == two["baselines"]
    other = howfar("compare", table.name, *options, 1, "--seed", "5").document
    assert outcome(other) != outcome(first)


def trouble(monkeypatch, family, seed, trouble):
    """Let the training of one family at one seed end in trouble."""
    from howfar.study import jobs

    honest = jobs.Run.fit

    def fit(self, design, rate, number, budget, progress):
        if (design.family, number) == (family, seed):
            return trouble()
        return honest(self, design, rate, number, budget, progress)

    monkeypatch.setattr(jobs.Run, "fit", fit)


def test_a_family_that_fails_leaves_the_others(howfar, table, monkeypatch):
    def overflow():
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: ...")

    trouble(monkeypatch, "gru", 0, overflow)
    ended = howfar("compare", table.name, *QUICK, *LENGTH, "--json")
    assert ended.code == 1
    by_name = {row["family"]: row for row in ended.document["rows"]}
    assert by_name["textcnn"]["status"] == "done"
    assert by_name["gru"]["status"] == "failed"
    assert "memory ran out" in by_name["gru"]["reason"]
    assert "score" not in by_name["gru"]
    said = howfar("compare", table.name, *QUICK, *LENGTH)
    assert said.code == 1
    assert "gru failed: seed 0: memory ran out" in said.out
    assert "Without a result: gru." in said.out
    assert "Traceback" not in said.err


def test_a_seed_that_diverges_is_said(howfar, table, monkeypatch):
    def diverge():
        return None, Trained(status="failed", reason="loss nan at step 3, learning rate 0.01")

    trouble(monkeypatch, "gru", 1, diverge)
    ended = howfar("compare", table.name, *QUICK, *LENGTH, "--seeds", "2")
    assert ended.code == 1
    assert "Warning: gru: seed 1: loss nan at step 3, learning rate 0.01" in ended.out
    assert "gru failed" not in ended.out


def test_python(tmp_path, table):
    heard = []
    done = package.compare(
        table,
        families=["gru"],
        budget="5 steps",
        rates=(1e-2,),
        seeds=1,
        parameters=2000,
        sequences=16,
        cost_lengths=(),
        length=16,
        listen=heard.append,
    )
    assert [row.family for row in done.rows] == ["gru"]
    assert done.advice
    assert done.baselines[0].name == "majority"
    assert {job for job, _, _ in heard} == {"baselines", "demand", "train/gru/0", "look/gru"}
    assert done.report(tmp_path / "out").is_file()


def test_reach_of_anything():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(16, (64, 12), generator=generator)
    value = torch.randn(16, generator=generator)

    def last_three(tokens):
        """The sum of the last three tokens' values; (B, 1)."""
        return value[tokens[:, -3:]].sum(1, keepdim=True)

    assert package.reach(last_three, tokens, eps=1e-6).value == 3

    class Own(nn.Module):
        def forward(self, tokens):
            return last_three(tokens)

    found = package.reach(Own(), tokens, eps=1e-6)
    assert found.value == 3
    assert found.structural >= 3

    whole = nn.Sequential(nn.Embedding(16, 4), nn.Flatten(), nn.Linear(48, 3))
    found = package.reach(whole, tokens, eps=1e-6)
    assert (found.value, found.censored, found.window) == (None, True, 11)


def run_script(script):
    return subprocess.run(
        [sys.executable, script.name],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=script.parent,
    )


def test_import_and_help_load_no_torch(tmp_path):
    script = tmp_path / "script.py"
    code = """
        import sys
        import howfar
        assert "torch" not in sys.modules
        from howfar.cli import main
        for arguments in (["--help"], [], ["compare", "--help"], ["demo", "--help"], ["--version"]):
            try:
                main(arguments)
            except SystemExit as ended:
                assert ended.code == 0, (arguments, ended.code)
        assert "torch" not in sys.modules
    """
    script.write_text(textwrap.dedent(code))
    ended = run_script(script)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""


def test_a_plain_script(tmp_path, table):
    script = tmp_path / "script.py"
    script.write_text(
        'import howfar\nfound = howfar.compare("reviews.csv", families="gru", budget="2 steps", '
        "rates=(1e-2,), seeds=1, parameters=2000, sequences=8, cost_lengths=(), length=8)\n"
        "print(found.rows[0].status)\n"
    )
    ended = run_script(script)
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr


def test_a_script_without_a_guard_is_told(tmp_path, table):
    script = tmp_path / "script.py"
    script.write_text(
        'import howfar\nhowfar.compare("recall", families="gru", budget="1 steps", workers=2)'
    )
    ended = run_script(script)
    assert ended.returncode == 1
    assert "A worker process ended before it began" in ended.stderr
    assert "if __name__ == '__main__':" in ended.stderr
