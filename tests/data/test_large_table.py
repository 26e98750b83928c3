"""A table in a file gives what one in memory gives, aim by aim, and holds little of it."""

import errno
import gzip
import json
import os
import random
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from howfar.api.training import train
from howfar.core.disk import saying
from howfar.core.errors import DataError, EnvironmentFault
from howfar.data import large_table, ragged, spool
from howfar.data.aims import encoding, opening, tokens
from howfar.data.anything import open_rows
from howfar.data.corpus import CorpusOptions, load_corpus
from howfar.data.large_table import is_large_table, open_large_table
from howfar.data.mapped import MappedIds
from howfar.data.ragged import Ragged
from howfar.data.read import checked_options
from howfar.data.spool import Spool, Stored, some

PARTS = ("train", "validation", "test")
WORDS = [
    "good",
    "bad",
    "Film",
    "d\u00e9j\u00e0",
    "\u4e2d\u6587",
    "x-ray",
    "1.5",
    "\U0001f600",
    "plot",
]


@pytest.fixture
def tiny(monkeypatch):
    """Every table is large, and every border is met."""
    monkeypatch.setattr(large_table, "LARGE", 1)
    monkeypatch.setattr(spool, "_WRITTEN", 64)
    monkeypatch.setattr(spool, "_READ", 100)
    monkeypatch.setattr(spool, "_AT_ONCE", 7)
    monkeypatch.setattr(encoding, "_LETTERS", 40)
    monkeypatch.setattr(encoding, "_IDS", 30)
    monkeypatch.setattr(ragged, "_READ", 11)


def rows(count=120, seed=0):
    draws = random.Random(seed)
    found = []
    for i in range(count):
        said = draws.choices(WORDS, k=draws.randint(1, 12))
        text = " ".join(said) if i % 9 else "the same text"
        tags = ["N" if word[0].isupper() else "O" for word in text.split()]
        found.append(
            {
                "text": text,
                "label": draws.choice(["pos", "neg", " pos"]),
                "several": draws.choice(["a|b", "b", "", "c|a"]),
                "number": draws.choice(["1", "-0.0", "2.5"]),
                "tags": " ".join(tags),
                "target": " ".join(reversed(said)) + " " * (i % 2),
                "who": f"w{draws.randint(0, 20)}",
                "when": f"2024-01-{draws.randint(1, 28):02}",
            }
        )
    return found


def write(path, table, names=None):
    names = names or list(table[0])
    end = "".join(path.suffixes)
    if end in (".jsonl", ".jsonl.gz"):
        data = "".join(json.dumps(row) + "\n" for row in table).encode()
        path.write_bytes(gzip.compress(data) if end.endswith(".gz") else data)
    elif end in (".csv", ".tsv"):
        mark = "," if end == ".csv" else "\t"
        lines = [mark.join(names), *(mark.join(row[name] for name in names) for row in table)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    else:
        columns = pa.table({name: [row[name] for row in table] for name in names})
        if end == ".parquet":
            pyarrow.parquet.write_table(columns, path)
        else:
            pyarrow.feather.write_feather(columns, path, compression="uncompressed")
    return path


def same(path, folder, aim, **options):
    """The corpus of a table in a file, which is that of the table in memory."""
    whole = load_corpus(path, aim, CorpusOptions(**options))
    large = load_corpus(path, aim, CorpusOptions(**options, folder=folder))
    assert isinstance(large.train.ids.flat, MappedIds)
    for name in PARTS:
        mine, theirs = large.part(name), whole.part(name)
        assert mine.ids == theirs.ids
        if isinstance(theirs.targets, Ragged):
            assert mine.targets == theirs.targets
        elif theirs.targets is None:
            assert mine.targets is None
        else:
            assert mine.targets.dtype == theirs.targets.dtype
            assert mine.targets.tobytes() == theirs.targets.tobytes()
        assert mine.texts is None
    assert large.tokeniser.to_json() == whole.tokeniser.to_json()
    if whole.target_tokeniser is not None:
        assert large.target_tokeniser.to_json() == whole.target_tokeniser.to_json()
    said = tuple(note for note in large.data.notes if "TF-IDF" not in note)
    assert replace(large.data, notes=said) == whole.data
    parts = dict.fromkeys((*PARTS, "tokeniser", "target_tokeniser", "data"))
    assert replace(large, **parts).__repr__() == replace(whole, **parts).__repr__()
    assert list(folder.iterdir()) == []
    return large


AIMS = {
    "classification": {"label": "label"},
    "multilabel": {"label": "several"},
    "regression": {"label": "number"},
    "tagging": {"label": "tags"},
    "seq2seq": {"label": "target"},
    "lm": {"length": 4},
    "masked": {"length": 4},
}


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("aim", "end"),
    [
        *((aim, ".jsonl") for aim in AIMS),
        ("classification", ".csv"),
        ("multilabel", ".jsonl.gz"),
        ("tagging", ".parquet"),
        ("regression", ".arrow"),
        ("lm", ".tsv"),
    ],
)
def test_every_aim_and_format(tmp_path, aim, end):
    path = write(tmp_path / f"table{end}", rows())
    same(path, tmp_path / "tokens", aim, text="text", **AIMS[aim])


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("tokens", ["byte", "char", "word", "bpe", "unigram"])
@pytest.mark.parametrize("keep", ["start", "end"])
def test_every_kind_of_tokens(tmp_path, tokens, keep):
    path = write(tmp_path / "table.csv", rows())
    options = {"text": "text", "tokens": tokens, "max_vocabulary": 300}
    same(path, tmp_path / "a", "classification", label="label", length=5, keep=keep, **options)
    same(path, tmp_path / "b", "lm", length=4, **options)
    same(path, tmp_path / "c", "seq2seq", label="target", length=5, keep=keep, **options)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("aim", AIMS)
@pytest.mark.parametrize(
    "how", [{"group": "who"}, {"time": "when"}, {"seed": 7, "test_share": 0.2}]
)
def test_every_split(tmp_path, aim, how):
    path = write(tmp_path / "table.jsonl", rows())
    same(path, tmp_path / "tokens", aim, text="text", unseen="ignore", **AIMS[aim], **how)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("aim", AIMS)
def test_files_beside_it(tmp_path, aim):
    path = write(tmp_path / "table.jsonl", rows())
    held = {
        "test": str(write(tmp_path / "test.csv", rows(40, seed=1))),
        "validation": str(write(tmp_path / "validation.jsonl", rows(30, seed=2))),
    }
    for dedup in (False, True):
        options = {"text": "text", "unseen": "ignore", "dedup": dedup, **AIMS[aim], **held}
        corpus = same(path, tmp_path / "tokens", aim, **options)
        assert any("W-LEAK" in note and "letter by letter" in note for note in corpus.data.notes)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("aim", AIMS)
def test_bad_rows_are_left_out_alike(tmp_path, aim):
    table = rows()
    table[3]["text"] = None
    table[5] |= {"text": "half \ud800", "label": ["no", "text"]}
    table[7] = {"text": 4, "label": True, "several": ["a", 1], "number": 3, "tags": "N"}
    table[9] |= {"label": None, "several": {"a": [1]}, "number": "many", "tags": "N N", "when": "?"}
    table[11] |= {"target": None, "number": float("nan"), "tags": None, "who": " "}
    table[30]["new"] = "a column that comes late"
    path = write(tmp_path / "table.jsonl", table)
    with path.open("a") as file:
        file.write("[1]\n{broken\n")
    for how in ({}, {"time": "when"}, {"group": "who"}):
        options = {"text": "text", "bad_rows": "skip", "rare": "drop", **AIMS[aim], **how}
        corpus = same(path, tmp_path / "tokens", aim, unseen="ignore", **options)
        assert corpus.data.dropped > 2
    options |= {"empty": "keep"}
    listings = []
    for folder in (None, tmp_path / "tokens"):
        listing = tmp_path / "rejects.jsonl"
        options |= {"rejects": str(listing), "unseen": "ignore", "folder": folder}
        load_corpus(path, aim, CorpusOptions(**options))
        listings.append(listing.read_bytes())
    assert listings[0] == listings[1] != b""


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,label\na,b\nc\n"),
        ("a.csv", "text,label\n"),
        ("a.csv", 'text,label\n"a,b\n'),
        ("a.csv", "text,text\na,b\n"),
        ("a.csv", "text,label\na,b\nc,\n"),
        ("a.csv", "text,label\n ,b\nc,d\n"),
        ("a.csv", "text,label\na,b\nc,b\n"),
        ("a.csv", "first,second\na,b\nc,d\n"),
        ("a.jsonl", '{"text": "a", "label": "b"}\n{"text": "a"\n'),
        ("a.jsonl", '{"text": "a", "label": "b"}\n{"text": ["a"], "label": "b"}\n'),
        ("a.jsonl", '{"text": "a", "label": "b", "Text": "c"}\n'),
        ("a.jsonl", json.dumps({f"k{i}": "a" for i in range(1001)}) + "\n"),
        ("a.parquet", "PAR1 is no table"),
    ],
)
def test_faults_are_said_alike(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    said = []
    for folder in (None, tmp_path / "tokens"):
        with pytest.raises(DataError) as caught:
            load_corpus(path, "classification", CorpusOptions(folder=folder))
        said.append((caught.value.code, caught.value.message, caught.value.hint))
    assert said[0] == said[1]


@pytest.mark.usefixtures("tiny")
def test_columns_are_guessed_alike(tmp_path):
    table = [{"one": row["text"] + " and more words", "two": row["label"]} for row in rows()]
    same(write(tmp_path / "a.csv", table), tmp_path / "tokens", None)
    path = write(tmp_path / "b.csv", [{"one": row["text"]} for row in rows()])
    same(path, tmp_path / "tokens", None, length=4)


@pytest.mark.usefixtures("tiny")
def test_one_or_two_documents_are_cut_in_order(tmp_path):
    table = [{"text": " ".join(WORDS * 40)}, {"text": " ".join(WORDS[::-1] * 50)}]
    for count in (1, 2):
        path = write(tmp_path / "a.jsonl", table[:count])
        whole = load_corpus(path, "lm", CorpusOptions(length=8))
        large = load_corpus(path, "lm", CorpusOptions(length=8, folder=tmp_path / "tokens"))
        assert large.data == whole.data
        assert all(large.part(name).ids == whole.part(name).ids for name in PARTS)


@pytest.mark.usefixtures("tiny")
def test_rows_in_a_file_are_those_in_memory(tmp_path):
    table = rows(50)
    table[8] = {"text": None, "label": True, "several": [1, None, "a"], "number": {"a": 1}}
    table[30]["new"] = "a column that comes late"
    path = write(tmp_path / "a.jsonl", table)
    options = checked_options(
        encoding=None,
        separator=None,
        no_header=False,
        max_field=1000,
        encoding_errors="strict",
        bad_rows="error",
    )
    large, whole = open_large_table(path, options, folder=tmp_path / "tokens"), open_rows(path)
    assert (large.names, large.notes, large.kind) == (whole.names, whole.notes, whole.kind)
    assert (large.path, large.sha256, len(large)) == (whole.path, whole.sha256, len(whole))
    assert list(large.lines) == list(whole.lines)
    for i in range(len(whole.names)):
        assert list(large.column(i)) == list(whole.column(i))
        assert large.column(i)[8] == whole.column(i)[8]
        assert list(large.column(i)[3:9]) == list(whole.column(i)[3:9])


def test_a_spool_gives_back_what_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "_WRITTEN", 50)
    monkeypatch.setattr(spool, "_READ", 30)
    monkeypatch.setattr(spool, "_AT_ONCE", 4)
    cells = [
        "",
        "a\ud800b",
        "\0",
        None,
        True,
        2**70,
        -0.0,
        b"\xff",
        [1, [b"a"]],
        {"k": None},
        "x" * 99,
    ]
    kept = Spool(tmp_path)
    assert list(Stored(kept, np.arange(0), lambda row: row)) == []
    for i, cell in enumerate(cells):
        kept.append([cell, i])
    column = Stored(kept, np.arange(len(cells)), lambda row: row[0])
    assert list(map(repr, column)) == list(map(repr, cells))
    order = [10, 0, 0, 9, 3, 4, 5, 1, 2]
    assert list(map(repr, column.take(order))) == [repr(cells[i]) for i in order]
    assert some(column, order)[2] == cells[0]
    assert list(column.take(order)[1:3]) == [cells[0]] * 2
    assert column.size > column.take([1]).size > 0
    with pytest.raises(IndexError):
        column[len(cells)]
    kept.append(["later", 11])
    assert list(Stored(kept, np.asarray([11]), lambda row: row[0])) == ["later"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("tiny")
def test_words_are_learned_from_rows_spread_evenly(tmp_path, monkeypatch):
    table = [{"text": f"word{i // 10} word{i // 10} {i}", "label": "ab"[i % 2]} for i in range(400)]
    path = write(tmp_path / "a.jsonl", table)
    monkeypatch.setattr(tokens, "SAMPLE", 4000)
    corpus = load_corpus(
        path, "classification", CorpusOptions(folder=tmp_path / "t", tokens="word")
    )
    said = [note for note in corpus.data.notes if "spread evenly" in note]
    (count,) = re.fullmatch(
        r"The words were learned from (\d+) of the 320 rows to train on, spread evenly over them.",
        *said,
    ).groups()
    assert 60 < int(count) < 200
    known = {corpus.tokeniser.token(i) for i in range(2, corpus.vocabulary)}
    assert 30 < len({word for word in known if word.startswith("word")}) <= 40
    assert load_corpus(path, "lm", CorpusOptions(folder=tmp_path / "t", length=4)).data.notes == (
        "The text column 'text' was guessed.",
    )


def test_several_labels_of_one_text_cannot_be_split(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"text": "a", "label": label} for label in ("b", "c|b")])
    with pytest.raises(DataError, match="2 rows have too few different texts") as caught:
        load_corpus(path, "multilabel", CorpusOptions())
    assert caught.value.code == "E-TOO-FEW"


def test_what_is_large(tmp_path, monkeypatch):
    monkeypatch.setattr(large_table, "LARGE", 100)
    sizes = {
        "a.csv": 100,
        "b.tsv": 99,
        "c.jsonl.gz": 25,
        "d.parquet": 25,
        "e.txt": 500,
        "f.arrow": 24,
    }
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(b"x" * size)
    found = {name for name in sizes if is_large_table(tmp_path / name)}
    assert found == {"a.csv", "c.jsonl.gz", "d.parquet"}
    for other in (tmp_path, tmp_path / "none.csv", "-", "hf:imdb", "a\0b.csv", 3, ["text"]):
        assert not is_large_table(other)


def test_a_small_table_and_one_without_a_folder_stay_in_memory(tmp_path):
    path = write(tmp_path / "a.csv", rows())
    for folder in (None, tmp_path / "tokens"):
        found = opening.open_source(path, CorpusOptions(folder=folder))
        assert not isinstance(found.column(0), Stored)
    assert not (tmp_path / "tokens").exists()


CHILD = """
import sys
from pathlib import Path
from howfar.data.corpus import CorpusOptions, load_corpus
from howfar.data import large_table, mapped
mapped._TOUCHED = 8 << 20
def used():  # not ru_maxrss, which begins with what the parent holds
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
load_corpus(sys.argv[1], "classification", CorpusOptions(tokens="byte"))
before = used()
folder = Path(sys.argv[3]) if sys.argv[3] else None
corpus = load_corpus(sys.argv[2], "classification", CorpusOptions(tokens="byte", folder=folder))
print((used() - before) >> 10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_memory_is_a_fraction_of_the_file(tmp_path):
    small = write(
        tmp_path / "small.csv", [{"text": f"t {i}", "label": "ab"[i % 2]} for i in range(50)]
    )
    large = tmp_path / "large.csv"
    with large.open("w") as file:
        file.write("text,label\n")
        for i in range(7000):
            file.write(f"{i} {'word and ' * 1100},{'ab'[i % 2]}\n")
    megabytes = large.stat().st_size >> 20
    assert megabytes > 64
    found = []
    for folder in ("", str(tmp_path / "tokens")):
        child = [sys.executable, "-c", CHILD, str(small), str(large), folder]
        done = subprocess.run(child, check=True, capture_output=True, env=os.environ)
        found.append(int(done.stdout))
    assert found[1] < min(2 * megabytes, found[0] / 3), found


@pytest.mark.parametrize("aim", ["classification", "tagging", "lm", "seq2seq"])
def test_weights_are_those_of_a_table_in_memory(tmp_path, monkeypatch, aim):
    path = write(tmp_path / "table.jsonl", rows())
    weights = []
    for large in (large_table.LARGE, 1):
        monkeypatch.setattr(large_table, "LARGE", large)
        out = tmp_path / f"out{large}"
        reading = {"text": "text", **AIMS[aim]}
        ended = train(path, out, aim=aim, reading=reading, width=8, budget="3 steps", rows=4)
        assert ended.evaluation is not None
        weights.append((out / "weights.safetensors").read_bytes())
        tokens_folder = out / "tokens"
        assert not tokens_folder.exists() or not list(tokens_folder.iterdir())
    assert weights[0] == weights[1]


@pytest.mark.usefixtures("tiny")
def test_a_full_disk_is_said(tmp_path, monkeypatch):
    path = write(tmp_path / "a.csv", rows())

    def full(self):
        with saying(self.folder, len(self._waiting)):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Spool, "_write", full)
    with pytest.raises(EnvironmentFault, match=r"No room to write .*tokens") as caught:
        load_corpus(path, "classification", CorpusOptions(folder=tmp_path / "tokens"))
    assert caught.value.code == "E-DISK"
    assert list((tmp_path / "tokens").iterdir()) == []


@pytest.mark.usefixtures("tiny")
def test_a_killed_run_leaves_nothing_for_long(tmp_path, monkeypatch):
    path = write(tmp_path / "a.csv", rows())
    left = tmp_path / "tokens" / ".rows.arrow.tmp-999999999-00000000000000"
    left.parent.mkdir()
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    load_corpus(path, "classification", CorpusOptions(folder=left.parent))
    assert list(left.parent.iterdir()) == []
