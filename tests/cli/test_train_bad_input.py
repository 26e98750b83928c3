"""The bad-input matrix as `howfar train` meets it: one line, the right code, no folder left."""

import gzip
import io
import json
import os
import pickle
import random
import time
import zipfile
from pathlib import Path

import pytest
from tests.cli.conftest import reviews, write_csv

SMALL = (
    *("--budget", "2 steps", "--width", "8", "--embedding", "8", "--batch", "8"),
    *("--evaluations", "1", "--threads", "1", "--no-baselines"),
)
ROWS = reviews(40)
TABLE = "text,label\n" + "".join(f'"{text}",{label}\n' for text, label in ROWS)
GOOD = TABLE.encode()
PROSE = "\n".join(text for text, _ in ROWS) * 3


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def check(ended, status, code, *parts):
    """The last line on stderr is the error, no traceback, nothing on stdout."""
    last = ended.err.splitlines()[-1]
    assert ended.code == status, ended.err
    assert last.startswith(f"howfar: error[{code}]: "), ended.err
    assert ended.err.count("howfar: ") == 1
    assert "tokens/s" not in ended.err  # nothing was trained
    assert "Traceback" not in ended.err
    assert ended.out == ""
    assert ended.err.replace("\n", "").isprintable()
    for part in parts:
        assert part in last


def with_answers(answers):
    rows = zip((text for text, _ in ROWS), answers, strict=True)
    return ("text,label\n" + "".join(f"{text},{answer}\n" for text, answer in rows)).encode()


class Evil:
    def __reduce__(self):
        return os.mkdir, ("canary",)


def zipped():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("../../a.csv", GOOD)
    return out.getvalue()


def unlike(count):
    """Rows whose texts all differ."""
    return [f"{text} {i}" for i, (text, _) in enumerate(reviews(count))]


MANY = unlike(3000)
LIST = b'{"text": "a b", "label": ["x"]}\n'

# name of the file, its bytes, options, exit code, code, what the message must say
CONTENT = {
    "empty": ("a.csv", b"", [], 3, "E-EMPTY", ["a.csv"]),
    "header only": ("a.csv", b"text,label\n", [], 3, "E-EMPTY", ["no rows"]),
    "white space": ("a.csv", b"  \n\n \t\n", [], 3, "E-EMPTY", ["a.csv"]),
    "empty text": ("a.txt", b"", [], 3, "E-EMPTY", ["a.txt"]),
    "one row": ("a.csv", b"text,label\na,b\n", [], 3, "E-TOO-FEW", ["cannot be split"]),
    "two rows": ("a.csv", b"text,label\na b,x\nc d,y\n", [], 3, "E-TOO-FEW", ["it needs 3"]),
    "one row of pairs": (
        *("a.csv", b"source,target\na,b\n", ["--aim", "seq2seq"], 3, "E-TOO-FEW"),
        [],
    ),
    "one class": ("a.csv", with_answers(["x"] * 40), [], 3, "E-ONE-CLASS", ["'x'"]),
    "one number": (
        *("a.csv", with_answers([5] * 40), ["--aim", "regression"], 3, "E-CONSTANT"),
        ["5"],
    ),
    "one text": ("a.csv", b"text,label\n" + b"same,x\nsame,y\n" * 9, [], 3, "E-TOO-FEW", []),
    "no header": ("a.csv", GOOD.partition(b"\n")[2], [], 3, "E-COLUMN", ["not like a header"]),
    "one name twice": ("a.csv", b"text,Text\na,b\n", [], 3, "E-DUP-COLUMN", ["columns 1 and 2"]),
    "no name": ("a.csv", b"text,,label\na,b,c\n", [], 3, "E-DUP-COLUMN", []),
    "semicolons": ("a.csv", GOOD.replace(b",", b";"), [], 3, "E-DELIM", ["--sep ';'"]),
    "wrong separator": ("a.csv", GOOD, ["--sep", ";"], 3, "E-DELIM", ["--sep ','"]),
    "ragged": ("a.csv", GOOD + b"a,b,c\n", [], 3, "E-RAGGED", ["a.csv:42", "3 cells"]),
    "UTF-16": ("a.csv", TABLE.encode("utf-16"), [], 3, "E-ENCODING", ["--encoding utf-16"]),
    "Latin-1": ("a.csv", GOOD + b"caf\xe9,x\n", [], 3, "E-ENCODING", ["a.csv:42", "--encoding"]),
    "not the encoding named": ("a.csv", GOOD, ["--encoding", "utf-16"], 3, "E-ENCODING", []),
    "GBK": ("a.txt", "我们住在".encode("gbk"), [], 3, "E-ENCODING", ["byte 0"]),
    "NUL": ("a.csv", GOOD + b"a\0b,x\n", [], 3, "E-NUL", ["a.csv:42"]),
    "open quote": ("a.csv", GOOD + b'"never,x\nmore,y\n', [], 3, "E-QUOTE", ["a.csv:42"]),
    "long cell": ("a.csv", GOOD, ["--max-field", "20"], 3, "E-FIELD", ["a.csv:2"]),
    "empty cell": ("a.csv", GOOD + b",x\n", [], 3, "E-EMPTY-TEXT", ["--empty drop"]),
    "texts cut": (
        *("a.csv", GOOD, ["--length", "5", "--strict"], 3, "E-TRUNC"),
        ["40 of 40", "--length 21"],
    ),
    "no label": ("a.csv", GOOD + b"some,\n", [], 3, "E-LABEL", ["a.csv:42", "'label'"]),
    "null label": ("a.jsonl", b'{"text": "a", "label": null}\n', [], 3, "E-LABEL", ["a.jsonl:1"]),
    "NaN": (
        *("a.csv", with_answers(["nan", *range(39)]), ["--aim", "regression"], 3, "E-LABEL"),
        ["a.csv:2", "'nan'"],
    ),
    "a word for a number": ("a.csv", GOOD, ["--aim", "regression"], 3, "E-LABEL", ["a.csv:2"]),
    "huge numbers": (
        "a.csv",
        with_answers([(-1) ** i * 1e308 for i in range(40)]),
        *(["--aim", "regression"], 3, "E-LABEL", ["too large"]),
    ),
    "tags": ("a.csv", GOOD, ["--aim", "tagging"], 3, "E-TAGS", ["a.csv:2", "1 tags"]),
    "rare label": ("a.csv", GOOD + b"odd one,rare\n", [], 3, "E-TOO-FEW", ["'rare'", "--rare"]),
    "a label a row": (
        "a.csv",
        with_answers(range(40)),
        [],
        3,
        "E-LABEL-CARD",
        ["--aim regression"],
    ),
    "1,001 classes": (
        "a.csv",
        ("text,label\n" + "".join(f"{t},l{i % 1001}\n" for i, t in enumerate(MANY))).encode(),
        *([], 3, "E-LABEL-CARD", ["1,001"]),
    ),
    "lone surrogate": (
        *("a.jsonl", b'{"text": "\\ud800", "label": "x"}\n', [], 3, "E-ENCODING"),
        ["a.jsonl:1"],
    ),
    "times": ("a.csv", GOOD, ["--time", "text"], 3, "E-TIME", ["a.csv:2"]),
    "two groups": ("a.csv", GOOD, ["--group", "label"], 3, "E-TOO-FEW", ["2 groups"]),
    "group column": ("a.csv", GOOD, ["--group", "x"], 3, "E-COLUMN", ["--group", "'label'"]),
    "text column": ("a.csv", GOOD, ["--text", "tetx"], 3, "E-COLUMN", ["mean 'text'"]),
    "label column": ("a.csv", GOOD, ["--label", "x"], 3, "E-COLUMN", ["'text', 'label'"]),
    "same column": ("a.csv", GOOD, ["--text", "text", "--label", "text"], 3, "E-COLUMN", []),
    "labels of a text": (
        *("a.txt", PROSE.encode(), ["--aim", "classification"], 3, "E-FORMAT"),
        ["running text"],
    ),
    "short text": ("a.txt", b"short", [], 3, "E-TOO-SHORT", []),
    "long windows": (
        *("a.txt", PROSE.encode(), ["--length", "9999"], 3, "E-TOO-SHORT"),
        ["--length"],
    ),
    "ending": ("a.xlsx", b"x", [], 3, "E-FORMAT", [".csv"]),
    "not gzip": ("a.csv.gz", GOOD, [], 3, "E-ARCHIVE", []),
    "gzip bomb": ("a.csv.gz", gzip.compress(b"a" * 30_000_000), [], 3, "E-ARCHIVE", ["times"]),
    "zip": ("a.csv", zipped(), [], 3, "E-FORMAT", ["zip"]),
    "pickle": ("a.csv", pickle.dumps(Evil()), [], 3, "E-FORMAT", ["pickle"]),
    "pickle by its name": ("a.pkl", pickle.dumps(Evil()), [], 3, "E-FORMAT", ["pickle"]),
    "JSON": ("a.jsonl", b'{"text": "x", "label": 1\n', [], 3, "E-JSON", ["a.jsonl:1"]),
    "JSON depth": ("a.jsonl", b"[" * 100_000 + b"\n", [], 3, "E-JSON", ["deep"]),
    "Parquet": ("a.parquet", b"PAR1 no", [], 3, "E-FORMAT", ["Parquet"]),
    "lists for classes": ("a.jsonl", LIST * 20, ["--aim", "classification"], 3, "E-", []),
}


@pytest.mark.parametrize("case", CONTENT)
def test_content(howfar, tmp_path, case):
    name, data, options, status, code, parts = CONTENT[case]
    (tmp_path / name).write_bytes(data)
    before = files(tmp_path)
    started = time.process_time()
    ended = howfar("train", name, "--out", "model", *SMALL, *options)
    assert time.process_time() - started < 10
    if code == "E-":
        code = ended.err.rpartition("error[")[2].partition("]")[0]
    check(ended, status, code, *parts)
    assert files(tmp_path) == before


# what is accepted, and what is said of it
ACCEPTED = {
    "byte order mark": (b"\xef\xbb\xbf" + GOOD, [], []),
    "CRLF": (GOOD.replace(b"\n", b"\r\n"), [], []),
    "CR": (GOOD.replace(b"\n", b"\r"), [], []),
    "UTF-16 by name": (TABLE.encode("utf-16"), ["--encoding", "utf-16"], []),
    "bytes replaced": (GOOD + b"caf\xe9 one,positive\n", ["--encoding-errors", "replace"], []),
    "breaks that are none": (GOOD + "a\u2028b\x0bc\x85d,positive\n".encode(), [], []),
    "quotes": (GOOD + b'"a ""b""\nc, d",positive\n', [], []),
    "ragged, skipped": (GOOD + b"a,b,c\n", ["--bad-rows", "skip"], ["1"]),
    "empty, dropped": (GOOD + b",positive\n", ["--empty", "drop"], ["1 dropped"]),
    "empty, kept": (GOOD + b",positive\n" * 5, ["--empty", "keep"], []),
    "rare, dropped": (GOOD + b"odd,rare\n", ["--rare", "drop"], ["1 dropped"]),
    "one token": (b"text,label\n" + b"".join(b"w%d,%d\n" % (i, i % 2) for i in range(20)), [], []),
    "texts cut": (GOOD, ["--length", "5"], ["W-TRUNC"]),
    "labels nearly alike": (with_answers(["Yes", "yes", "no", "no"] * 10), [], ["'Yes'", "'yes'"]),
    "labels with spaces": (with_answers([" a", "b "] * 20), [], ["W-LABEL-STRIP"]),
    "words for nothing": (with_answers(["NA", "null"] * 20), [], []),
    "lopsided": (with_answers(["a"] * 37 + ["b"] * 3), [], []),
    "train in test": (GOOD, ["--test", "a.csv"], ["W-LEAK"]),
    "markup": (with_answers(["<script>alert(1)</script>", "{{7*7}}"] * 20), [], []),
    "escapes": (with_answers(["\x1b[31mred", "\u202eback"] * 20), [], []),
    "joined emoji": (with_answers(["\U0001f468\u200d\U0001f469", "e\u0301"] * 20), [], []),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_is_accepted(howfar, tmp_path, case):
    data, options, parts = ACCEPTED[case]
    (tmp_path / "a.csv").write_bytes(data)
    ended = howfar("train", "a.csv", "--out", "model", *SMALL, *options)
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    for part in parts:
        assert part in ended.err
    assert (ended.out + ended.err).replace("\n", "").isprintable()
    assert howfar("predict", "model", "a.csv").code in (0, 3)


# the source, exit code, code, what the message must say
SOURCES = {
    "missing": ("nothing.csv", 2, "E-NO-FILE", ["nothing.csv"]),
    "near a file": ("reviws.csv", 2, "E-NO-FILE", ["Did you mean 'reviews.csv'?"]),
    "nothing": ("", 2, "E-NO-FILE", ["No file is named"]),
    "empty folder": ("hollow", 3, "E-EMPTY", ["hollow"]),
    "device": ("/dev/zero", 2, "E-NO-FILE", ["not a regular file"]),
    "pipe": ("pipe.csv", 2, "E-NO-FILE", ["not a regular file"]),
    "link in a circle": ("circle.csv", 2, "E-NO-FILE", []),
    "below a file": ("reviews.csv/x.csv", 2, "E-NO-FILE", []),
    "NUL in the name": ("a\0b.csv", 2, "E-NO-FILE", ["\\x00"]),
    "long name": ("a" * 300 + ".csv", 2, "E-NO-FILE", ["too long"]),
    "https": ("https://example.org/a.csv", 2, "E-REMOTE", ["https://example.org/a.csv"]),
    "s3": ("s3://bucket/a.csv", 2, "E-REMOTE", []),
    "file URL": ("file:///a.csv", 2, "E-REMOTE", []),
    "share": ("\\\\host\\share\\a.csv", 2, "E-REMOTE", []),
    "escapes": ("a\x1b[31m\u202eb\n.csv", 2, "E-NO-FILE", ["\\x1b[31m\\u202e"]),
}


@pytest.mark.parametrize("case", SOURCES)
def test_source(howfar, table, tmp_path, case):
    (tmp_path / "hollow").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "circle.csv").symlink_to("circle.csv")
    source, status, code, parts = SOURCES[case]
    before = files(tmp_path)
    check(howfar("train", source, "--out", "model", *SMALL), status, code, *parts)
    assert files(tmp_path) == before


@pytest.mark.parametrize("option", ["--test", "--validation"])
def test_files_beside_the_data(howfar, table, tmp_path, option):
    line = ("train", table.name, "--out", "model", *SMALL)
    check(howfar(*line, option, "nothing.csv"), 2, "E-NO-FILE", "nothing.csv")
    write_csv(tmp_path / "other.csv", [("a film", "unseen")] * 3)
    check(howfar(*line, option, "other.csv"), 3, "E-UNSEEN-LABEL", "other.csv:2", "'unseen'")
    write_csv(tmp_path / "names.csv", reviews(9), names=("a", "b"))
    check(howfar(*line, option, "names.csv"), 3, "E-COLUMN", "names.csv")
    assert not (tmp_path / "model").exists()


OUTS = {
    "nothing": ("", 2, "E-OPTION"),
    "NUL": ("a\0b", 2, "E-NO-FILE"),
    "long": ("x" * 300, 2, "E-NO-FILE"),
    "a file": ("reviews.csv", 2, "E-NO-FILE"),
    "below a file": ("reviews.csv/below", 2, "E-NO-FILE"),
    "link in a circle": ("circle", 2, "E-NO-FILE"),
    "here": (".", 2, "E-EXISTS"),
    "above": ("..", 2, "E-EXISTS"),
    "no room for names": ("/proc/model", 4, "E-WRITE"),
}


@pytest.mark.parametrize("case", OUTS)
def test_out(howfar, table, tmp_path, case):
    (tmp_path / "circle").symlink_to("circle")
    out, status, code = OUTS[case]
    before = files(tmp_path)
    check(howfar("train", table.name, "--out", out, *SMALL), status, code)
    assert files(tmp_path) == before


def test_a_folder_without_permission(howfar, table, tmp_path, monkeypatch):
    def refuse(path, *given):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("howfar.core.disk.os.mkdir", refuse)  # root may write anywhere
    before = files(tmp_path)
    ended = howfar("train", table.name, "--out", "closed/model", *SMALL)
    check(ended, 4, "E-PERMISSION", str(tmp_path / "closed"))
    assert files(tmp_path) == before


DIGITS = "9" * 5000
OPTIONS = {
    "budget": ["--budget", "x"],
    "no budget": ["--budget", "0 steps"],
    "negative budget": ["--budget", "-5 steps"],
    "endless budget": ["--budget", DIGITS],
    "power of ten": ["--budget", "1e30 tokens"],
    "NaN rate": ["--rate", "nan"],
    "infinite rate": ["--rate", "inf"],
    "overflowing rate": ["--rate", "1e400"],
    "zero rate": ["--rate", "0"],
    "full-width digits": ["--rate", "\uff12"],
    "seed": ["--seed", "-1"],
    "huge seed": ["--seed", str(2**70)],
    "threads": ["--threads", "0"],
    "batch": ["--batch", "0"],
    "underscore": ["--batch", "1_0"],
    "batch tokens": ["--batch-tokens", "0"],
    "width": ["--width", "0"],
    "depth": ["--depth", "0"],
    "too deep to be kept": ["--depth", "1024"],
    "embedding": ["--embedding", "65537"],
    "dropout": ["--dropout", "1.5"],
    "dropout NaN": ["--dropout", "nan"],
    "length": ["--length", "-3"],
    "length 0": ["--length", "0"],
    "vocabulary": ["--max-vocabulary", "2"],
    "vocabulary of bytes": ["--tokens", "bpe", "--max-vocabulary", "10"],
    "tokens": ["--tokens", "wrod"],
    "aim": ["--aim", "clasification"],
    "keep": ["--keep", "middle"],
    "schedule": ["--schedule", "cos"],
    "warm-up": ["--warmup", "1"],
    "clip": ["--clip", "0"],
    "smoothing": ["--smoothing", "1"],
    "evaluations": ["--evaluations", "0"],
    "patience": ["--patience", "0"],
    "slots": ["--slots", "0"],
    "precision": ["--precision", "float16"],
    "pretraining": ["--pretrain", "last"],
    "carried rows": ["--carry"],
    "separator": ["--sep", ";;"],
    "encoding": ["--encoding", "klingon"],
    "encoding that is none": ["--encoding", "base64"],
    "rejects": ["--bad-rows", "skip", "--rejects", "reviews.csv"],
    "no value": ["--rate"],
    "two sources": ["other.csv"],
    "no setting": ["--set", "kernels"],
    "width as a setting": ["--set", "width=4"],
    "depth as a setting": ["--set", "depth=2"],
    "causal": ["--set", "causal=true"],
    "generator": ["--set", "generator=1"],
    "kind of setting": ["--set", "bidirectional=7"],
    "kernel": ["--family", "textcnn", "--set", "kernels=0"],
    "balanced numbers": ["--aim", "lm", "--balanced"],
    "pretrained lm": ["--aim", "lm", "--pretrain", "next"],
}


@pytest.mark.parametrize("case", OPTIONS)
def test_option(howfar, table, tmp_path, case):
    before = files(tmp_path)
    ended = howfar("train", table.name, "--out", "model", *SMALL, *OPTIONS[case])
    check(ended, 2, "E-OPTION")
    assert len(ended.err.splitlines()[-1]) < 400
    assert files(tmp_path) == before


NAMES = {
    "family": (["--family", "lsmt"], "E-MODEL", "Did you mean 'lstm'?"),
    "family from nowhere": (["--family", "no.such:thing"], "E-MODEL", "no.such:thing"),
    "setting": (["--set", "foo=1"], "E-SETTING", "bidirectional"),
    "option": (["--famly", "gru"], "E-OPTION", "'--family'"),
    "device": (["--device", "tpu"], "E-DEVICE", "--device cpu"),
    "packing": (["--pack"], "E-PACK", "transformer"),
    "too few parameters": (["--parameters", "1"], "E-WIDTH", "25"),
}


@pytest.mark.parametrize("case", NAMES)
def test_name(howfar, table, tmp_path, case):
    options, code, part = NAMES[case]
    before = files(tmp_path)
    small = SMALL
    if "--parameters" in options:  # in place of --width
        at = SMALL.index("--width")
        small = (*SMALL[:at], *SMALL[at + 2 :])
    check(howfar("train", table.name, "--out", "model", *small, *options), 2, code, part)
    assert files(tmp_path) == before


def test_json_errors(howfar, table):
    for arguments, code in ((["nothing.csv"], "E-NO-FILE"), ([table.name, "--pack"], "E-PACK")):
        ended = howfar("train", *arguments, "--out", "model", *SMALL, "--json")
        assert set(ended.document["error"]) == {"code", "message", "hint"}
        assert ended.document["error"]["code"] == code


def test_no_folder_is_named(howfar, table):
    check(howfar("train", table.name), 2, "E-OPTION", "--out")
    check(howfar("train", "--out", "model"), 2, "E-OPTION", "DATA")


def test_random_bytes_never_train_into_a_traceback(howfar, tmp_path):
    rng = random.Random(7)
    for i in range(60):
        name = rng.choice(["a.csv", "a.tsv", "a.jsonl", "a.txt", "a.csv.gz"])
        data = rng.randbytes(rng.choice((0, 1, 7, 60, 800)))
        if i % 2:
            at = rng.randrange(len(GOOD))
            data = GOOD[:at] + data[:5] + GOOD[at:]
        (tmp_path / name).write_bytes(data)
        ended = howfar("train", name, "--out", f"model{i}", *SMALL)
        assert ended.code in (0, 2, 3), (i, ended.err)
        assert "Traceback" not in ended.err
        assert (ended.code == 0) == Path(f"model{i}").exists(), i


def test_random_arguments_end_in_a_known_code(howfar, table, tmp_path):
    rng = random.Random(11)
    words = ["--rate", "--pack", "--carry", "--aim", "lm", "--width", "-1", "nan", "", "x", "--set"]
    words += ["depth=1", "--resume", "--overwrite", "--balanced", "--tokens", "char", "--strict"]
    words += ["--length", "3", "--no-header", "--json", "--debug", "\x1b", "--slots", "2", "3"]
    for i in range(60):
        drawn = [word for word in rng.choices(words, k=rng.randint(1, 5)) if word != "--debug"]
        ended = howfar("train", table.name, *SMALL, "--out", f"model{i}", *drawn)
        assert ended.code in (0, 2, 3, 4, 5), (drawn, ended.err)
        assert "Traceback" not in ended.err
        if ended.code == 0 and "--json" in drawn:
            json.loads(ended.out)
        assert (ended.code == 0) == (tmp_path / f"model{i}").exists(), (drawn, ended.err)
