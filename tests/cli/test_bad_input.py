"""Whatever is wrong is said in one line, with the right exit code, before anything is trained."""

import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cli.conftest import QUICK, reviews

import howfar as package

ROWS = "text,label\n" + "".join(f'"{text}",{label}\n' for text, label in reviews(40))


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def check(ended, status, code, *parts):
    """One line on stderr, no traceback, nothing on stdout."""
    assert ended.code == status, ended.err
    assert ended.err.count("\n") == 1, ended.err
    assert ended.err.startswith(f"howfar: error[{code}]: ")
    assert "Traceback" not in ended.err
    assert ended.out == ""
    assert ended.err.isprintable() or ended.err.rstrip("\n").isprintable()
    for part in parts:
        assert part in ended.err


# name of the file, its bytes, exit code, code, what the message must say
CONTENT = {
    "empty": ("a.csv", b"", 3, "E-EMPTY", ["a.csv"]),
    "header only": ("a.csv", b"text,label\n", 3, "E-EMPTY", ["a.csv", "no rows"]),
    "white space": ("a.csv", b"  \n\n \t\n", 3, "E-EMPTY", ["a.csv"]),
    "one class": ("a.csv", b"text,label\n" + b"good film,x\n" * 30, 3, "E-ONE-CLASS", ["'x'"]),
    "label once": ("a.csv", ROWS.encode() + b"odd one,rare\n", 3, "E-TOO-FEW", ["'rare'"]),
    "ragged": ("a.csv", ROWS.encode() + b"a,b,c\n", 3, "E-RAGGED", ["a.csv:42", "3 cells"]),
    "open quote": (
        *("a.csv", ROWS.encode() + b'"never closed,x\nmore,y\n', 3, "E-QUOTE"),
        ["a.csv:42", "never closed"],
    ),
    "not UTF-8": (
        *("a.csv", ROWS.encode() + b"caf\xe9,x\n", 3, "E-ENCODING"),
        ["a.csv:42", f"byte {len(ROWS.encode()) + 3:,}", "--encoding"],
    ),
    "UTF-16": ("a.csv", ROWS.encode("utf-16"), 3, "E-ENCODING", ["--encoding utf-16"]),
    "NUL": ("a.csv", ROWS.encode() + b"a\0b,x\n", 3, "E-NUL", ["a.csv:42"]),
    "empty text": ("a.csv", ROWS.encode() + b",x\n", 3, "E-EMPTY-TEXT", ["--empty drop"]),
    "no label": ("a.csv", ROWS.encode() + b"some,\n", 3, "E-LABEL", ["a.csv:42", "'label'"]),
    "semicolons": ("a.csv", ROWS.replace(",", ";").encode(), 3, "E-DELIM", ["--sep ';'"]),
    "two names alike": ("a.csv", b"text,Text\na,b\n", 3, "E-DUP-COLUMN", ["columns 1 and 2"]),
    "no header": ("a.csv", ROWS.partition("\n")[2].encode(), 3, "E-COLUMN", ["--no-header"]),
    "a text that is one row": ("a.txt", b"short", 3, "E-TOO-SHORT", []),
    "empty text file": ("a.txt", b"", 3, "E-EMPTY", []),
    "ending": ("a.xlsx", b"x", 3, "E-FORMAT", [".csv"]),
    "no ending": ("table", ROWS.encode(), 3, "E-FORMAT", ["no ending"]),
    "not gzip": ("a.csv.gz", b"text,label\n", 3, "E-ARCHIVE", []),
    "gzip bomb": ("a.csv.gz", gzip.compress(bytes(50_000_000)), 3, "E-", []),
    "JSON": ("a.jsonl", b'{"text": "x", "label": 1\n', 3, "E-JSON", ["a.jsonl:1"]),
    "JSON depth": ("a.jsonl", b"[" * 100_000 + b"\n", 3, "E-JSON", ["deep"]),
    "Parquet": ("a.parquet", b"PAR1 no", 3, "E-FORMAT", ["Parquet"]),
}


@pytest.mark.parametrize("case", CONTENT)
def test_content(howfar, tmp_path, case):
    name, data, status, code, parts = CONTENT[case]
    (tmp_path / name).write_bytes(data)
    before = files(tmp_path)
    started = time.process_time()
    ended = howfar("compare", name, *QUICK)
    assert time.process_time() - started < 10
    if code == "E-":
        code = ended.err.partition("[")[2].partition("]")[0]
    check(ended, status, code, *parts)
    assert files(tmp_path) == before


# the source, exit code, code, what the message must say
SOURCES = {
    "missing": ("nothing.csv", 2, "E-NO-FILE", ["nothing.csv"]),
    "near a file": ("reviws.csv", 2, "E-NO-FILE", ["Did you mean 'reviews.csv'?"]),
    "near a task": ("recal", 2, "E-NO-FILE", ["Did you mean 'recall'?"]),
    "near a set": ("movie_review", 2, "E-NO-FILE", ["Did you mean 'movie_reviews'?"]),
    "folder": (".", 2, "E-NO-FILE", ["folder"]),
    "nothing": ("", 2, "E-NO-FILE", ["No file is named"]),
    "device": ("/dev/zero", 2, "E-NO-FILE", ["not a regular file"]),
    "below a file": ("reviews.csv/x.csv", 2, "E-NO-FILE", []),
    "NUL in the name": ("a\0b.csv", 2, "E-NO-FILE", ["\\x00"]),
    "long name": ("a" * 300 + ".csv", 2, "E-NO-FILE", ["too long"]),
    "https": ("https://example.org/a.csv", 2, "E-REMOTE", ["https://example.org/a.csv"]),
    "s3": ("s3://bucket/a.csv", 2, "E-REMOTE", ["s3://bucket/a.csv"]),
    "file URL": ("file:///a.csv", 2, "E-REMOTE", []),
    "share": ("\\\\host\\share\\a.csv", 2, "E-REMOTE", []),
    "escapes": ("a\x1b[31m\u202eb\n.csv", 2, "E-NO-FILE", ["\\x1b[31m\\u202e"]),
    "markup": ("[bold]<b>.csv", 2, "E-NO-FILE", ["[bold]<b>.csv"]),
}


@pytest.mark.parametrize("case", SOURCES)
def test_source(howfar, table, tmp_path, case):
    source, status, code, parts = SOURCES[case]
    before = files(tmp_path)
    check(howfar("compare", source, *QUICK), status, code, *parts)
    assert files(tmp_path) == before


DIGITS = "9" * 5000
OPTIONS = {
    "no seeds": ["--seeds", "0"],
    "many seeds": ["--seeds", "101"],
    "half a seed": ["--seeds", "1.5"],
    "underscore": ["--seeds", "1_0"],
    "full-width digits": ["--seeds", "\uff12"],
    "5,000 digits": ["--seeds", DIGITS],
    "negative seed": ["--seed", "-1"],
    "huge seed": ["--seed", str(2**70)],
    "negative budget": ["--budget", "-5"],
    "no budget": ["--budget", "0 tokens"],
    "empty budget": ["--budget", ""],
    "unit of budget": ["--budget", "5 parsecs"],
    "endless budget": ["--budget", DIGITS],
    "NaN rate": ["--rates", "nan"],
    "infinite rate": ["--rates", "inf"],
    "overflowing rate": ["--rates", "1e400"],
    "zero rate": ["--rates", "0"],
    "rate twice": ["--rates", "1e-3,0.001"],
    "no rate": ["--rates", ""],
    "not a rate": ["--rates", "1e-3,x"],
    "few parameters": ["--parameters", "10"],
    "many parameters": ["--parameters", "1000000000000"],
    "embedding": ["--embedding", "0"],
    "length 1": ["--length", "1"],
    "length -3": ["--length", "-3"],
    "huge length": ["--length", "99999999"],
    "cost length 0": ["--cost-lengths", "0"],
    "cost length twice": ["--cost-lengths", "8,8"],
    "cost length real": ["--cost-lengths", "8.5"],
    "dropout": ["--dropout", "1.5"],
    "dropout NaN": ["--dropout", "nan"],
    "batch 0": ["--batch", "0"],
    "one sequence": ["--sequences", "1"],
    "threads": ["--threads", "0"],
    "workers": ["--workers", "0"],
    "no families": ["--families", ","],
    "tokens": ["--tokens", "wrod"],
    "keep": ["--keep", "middle"],
    "separator": ["--sep", ";;"],
    "encoding": ["--encoding", "klingon"],
    "encoding that is none": ["--encoding", "base64"],
    "no value": ["--seeds"],
    "two sources": ["other.csv"],
    "no folder": ["--out", ""],
}


@pytest.mark.parametrize("case", OPTIONS)
def test_option(howfar, table, tmp_path, case):
    before = files(tmp_path)
    ended = howfar("compare", table.name, *QUICK, *OPTIONS[case])
    check(ended, 2, "E-OPTION")
    assert len(ended.err) < 400
    assert files(tmp_path) == before


NAMES = {
    "family": (["--families", "gru,lsmt"], "E-MODEL", "Did you mean 'lstm'?"),
    "tokens": (["--tokens", "wrod"], "E-OPTION", "Did you mean 'word'?"),
    "option": (["--famlies", "gru"], "E-OPTION", "'--families'"),
    "device": (["--device", "tpu"], "E-DEVICE", "--device cpu"),
    "device without numbers": (["--device", "meta"], "E-DEVICE", "--device cpu"),
    "device number": (["--device", "cpu:7:x"], "E-DEVICE", "--device cpu"),
}


@pytest.mark.parametrize("case", NAMES)
def test_name(howfar, table, tmp_path, case):
    options, code, part = NAMES[case]
    before = files(tmp_path)
    check(howfar("compare", table.name, *QUICK, *options), 2, code, part)
    assert files(tmp_path) == before


def test_unknown_command(howfar):
    check(howfar("compar", "x.csv"), 2, "E-COMMAND", "Did you mean 'compare'?", "demo")
    check(howfar("compare"), 2, "E-OPTION", "Missing argument")
    check(howfar("\x1b[31mx"), 2, "E-COMMAND", "\\x1b")


def test_unknown_column(howfar, table):
    ended = howfar("compare", table.name, *QUICK, "--text", "tetx")
    check(ended, 3, "E-COLUMN", "Did you mean 'text'?", "'text', 'label'")
    ended = howfar("compare", table.name, *QUICK, "--text", "text", "--label", "text")
    check(ended, 3, "E-COLUMN", "same column")


@pytest.mark.parametrize("flag", [["--text", "x"], ["--no-header"], ["--rare", "drop"]])
@pytest.mark.parametrize("source", ["recall", "tinyshakespeare", "long.txt"])
def test_an_option_without_effect_is_refused(howfar, tmp_path, source, flag):
    (tmp_path / "long.txt").write_text("a b c d e f\n" * 500)
    check(howfar("compare", source, *QUICK, *flag), 2, "E-OPTION", f"{flag[0]} has no effect")


def test_tokens_of_a_task_are_refused(howfar):
    check(howfar("compare", "recall", *QUICK, "--tokens", "char"), 2, "E-OPTION", "--tokens")


@pytest.mark.parametrize("out", ["reviews.csv", "reviews.csv/below"])
def test_a_report_that_cannot_be_written_is_said_first(howfar, table, tmp_path, out):
    before = files(tmp_path)
    check(howfar("compare", table.name, *QUICK, "--out", out), 4, "E-PERMISSION", out)
    check(howfar("demo", "--out", out), 4, "E-PERMISSION", out)
    assert files(tmp_path) == before


def test_proving_that_a_folder_can_be_written_leaves_nothing(tmp_path, monkeypatch):
    from howfar.cli.show import prepare

    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    assert prepare("new/deep/er") == Path("new/deep/er")
    assert prepare("there/below") == Path("there/below")
    assert files(tmp_path) == ["there"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(howfar, table, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o555)
    check(howfar("compare", table.name, *QUICK, "--out", "closed"), 4, "E-PERMISSION")


def test_what_cannot_be_built_leaves_no_folder(howfar, table, tmp_path, monkeypatch):
    import howfar.study.plan as plan

    def refuse(*given, **named):
        raise package.HowfarError("E-WIDTH", "No width fits.")

    monkeypatch.setattr(plan, "fit_width", refuse)
    before = files(tmp_path)
    check(howfar("compare", table.name, *QUICK), 1, "E-WIDTH")
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["compare", "nothing.csv", "--json"], 2, "E-NO-FILE"),
        (["compare", "reviews.csv", "--json", "--seeds", "0"], 2, "E-OPTION"),
        (["compare", "reviews.csv", "--json", "--text", "tetx"], 3, "E-COLUMN"),
        (["compar", "--json"], 2, "E-COMMAND"),
    ],
)
def test_json_errors(howfar, table, arguments, code, error):
    ended = howfar(*arguments)
    assert ended.code == code
    assert ended.document["error"]["code"] == error
    assert set(ended.document["error"]) == {"code", "message", "hint"}
    assert ended.document["error"]["message"] in ended.err


def test_a_byte_order_mark_is_accepted(howfar, tmp_path):
    (tmp_path / "bom.csv").write_bytes(b"\xef\xbb\xbf" + ROWS.encode())
    ended = howfar("compare", "bom.csv", *QUICK, "--budget", "1 steps", "--text", "text")
    assert ended.code == 0, ended.err


def test_an_unforeseen_error_is_one_line_too(howfar, table, monkeypatch):
    def stumble(*given, **named):
        raise KeyError("x\ny")

    monkeypatch.setattr("howfar.study.sources.open_problem", stumble)
    ended = howfar("compare", table.name, *QUICK)
    check(ended, 1, "E-BUG", "KeyError", "--debug")
    assert "Traceback" in howfar("compare", table.name, *QUICK, "--debug").err


def test_memory_and_disk(howfar, table, monkeypatch):
    def fill(*given, **named):
        raise OSError(28, "No space left on device", "x/report.html")

    monkeypatch.setattr("howfar.study.sources.open_problem", fill)
    check(howfar("compare", table.name, *QUICK), 4, "E-IO", "No space left", "report.html")

    def swell(*given, **named):
        raise MemoryError

    monkeypatch.setattr("howfar.study.sources.open_problem", swell)
    check(howfar("compare", table.name, *QUICK), 4, "E-MEMORY", "--batch")


def command(*arguments, **named):
    """The installed command in a process of its own."""
    tool = Path(sys.executable).with_name("howfar")
    start = [str(tool)] if tool.exists() else [sys.executable, "-m", "howfar"]
    return subprocess.run(
        [*start, *map(str, arguments)], capture_output=True, timeout=60, check=False, **named
    )


def test_a_line_of_100_mb_costs_little(tmp_path):
    (tmp_path / "line.csv").write_bytes(b"text,label\n" + b"a" * 100_000_000)
    # A process inherits the peak of the one it was started from: a small one stands in between.
    between = (
        "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode;"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss); sys.exit(code)"
    )
    asked = [sys.executable, "-c", between, sys.executable, "-m", "howfar", "compare", "line.csv"]
    ended = subprocess.run(asked, cwd=tmp_path, capture_output=True, timeout=120, check=False)
    # Its own seconds: the machine may be busy with other tests.
    seconds, kibibytes = map(float, ended.stdout.split())
    assert seconds < 10
    assert kibibytes <= 1_000_000
    assert ended.returncode == 3
    assert ended.stderr.startswith(b"howfar: error[E-LINE]: ")
    assert ended.stderr.count(b"\n") == 1
    assert files(tmp_path) == ["line.csv"]


def test_real_processes(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"")
    for arguments, code in ((["a.csv"], 3), (["b.csv"], 2)):
        ended = command("compare", *arguments, "--json", cwd=tmp_path)
        assert ended.returncode == code
        assert ended.stderr.startswith(b"howfar: error[E-")
        assert ended.stderr.count(b"\n") == 1
        assert set(json.loads(ended.stdout)) == {"error"}
    assert files(tmp_path) == ["a.csv"]


def test_a_file_name_of_no_encoding(tmp_path):
    ended = command("compare", b"caf\xe9.csv".decode("utf-8", "surrogateescape"), cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"howfar: error[E-NO-FILE]: ")


def test_python_refuses_unknown_and_wrong_settings(table):
    torch = pytest.importorskip("torch")
    tokens = torch.zeros(4, 8, dtype=torch.long)

    def answer(tokens):
        return tokens.float()

    cases = [
        (lambda: package.compare(table, bugdet="x"), "bugdet.*Did you mean 'budget'|bugdet"),
        (lambda: package.compare(table, families="gru,lsmt"), "lstm"),
        (lambda: package.compare(table, seeds="2"), "seeds"),
        (lambda: package.compare(table, seeds=1.5), "seeds"),
        (lambda: package.compare(table, rates=(1e-3, 1e-3)), "rates"),
        (lambda: package.compare(table, rates=1e-3), "type"),
        (lambda: package.compare(table, rates=(float("nan"),)), "rates"),
        (lambda: package.compare(table, dropout="x"), "type"),
        (lambda: package.compare(table, length=1), "length"),
        (lambda: package.compare("https://example.org/a.csv"), "address"),
        (lambda: package.reach(answer, tokens, esp=1), "Did you mean 'eps'"),
        (lambda: package.interaction(answer, tokens, lag=1), "Did you mean 'lags'"),
        (lambda: package.build("gruu", vocabulary=4, outputs=4), "gru"),
    ]
    for call, says in cases:
        with pytest.raises(package.HowfarError, match=says) as caught:
            call()
        assert caught.value.code.startswith("E-")
        assert caught.value.exit_code == 2
