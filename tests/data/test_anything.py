"""Rows of anything: tables of every format, texts, standard input; tolerant reading; streaming."""

import datetime
import decimal
import gzip
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from howfar.core.errors import DataError, EnvironmentFault, UsageError
from howfar.data import rejects, standard_input
from howfar.data.anything import iterate, open_rows
from howfar.data.read import read_table, read_text
from howfar.data.texts import read_texts

GOOD = "text,label\nfine film,pos\npoor film,neg\n"
LATIN = "text,label\n" + "caf\xe9 d\xe9j\xe0 vu, gar\xe7on\n".replace(", ", ",") * 3


def write(folder, content, name="t.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def columns(rows):
    return {name: list(rows.column(i)) for i, name in enumerate(rows.names)}


def feed(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


TABLE = pa.table(
    {
        "text": ["a", "b", None],
        "label": pa.array(["x", "y", "x"]).dictionary_encode(),
        "tags": [["A", "B"], [], None],
        "number": pa.array([1, None, 3], pa.int8()),
        "share": [0.5, None, 2.0],
        "when": [datetime.datetime(2020, 1, 2), None, None],
        "day": [datetime.date(2020, 1, 2), None, None],
        "price": [decimal.Decimal("1.50"), None, None],
        "object": [{"k": 1}, None, {}],
        "truth": [True, False, None],
        "bytes": pa.array([b"a", b"\xff", None]),
    }
)
PLAIN = {
    "text": ["a", "b", None],
    "label": ["x", "y", "x"],
    "tags": [["A", "B"], [], None],
    "number": [1, None, 3],
    "share": [0.5, None, 2.0],
    "when": ["2020-01-02 00:00:00.000000", None, None],
    "day": ["2020-01-02", None, None],
    "price": ["1.50", None, None],
    "object": [{}, None, {}],
    "truth": [True, False, None],
    "bytes": [b"a", b"\xff", None],
}


def columnar(path):
    if path.suffix == ".parquet":
        pq.write_table(TABLE, path)
    else:
        opener = pa.ipc.new_stream if path.suffix == ".ipc" else pa.ipc.new_file
        packing = pa.ipc.IpcWriteOptions(compression="zstd" if path.suffix == ".feather" else None)
        with pa.OSFile(str(path), "wb") as out, opener(out, TABLE.schema, options=packing) as file:
            file.write_table(TABLE)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".feather", ".ipc"])
def test_columnar_files(tmp_path, suffix):
    rows = open_rows(columnar(tmp_path / f"t{suffix}"))
    assert columns(rows) == PLAIN
    assert list(rows.lines) == [1, 2, 3]
    assert rows.kind == "table"
    assert len(rows.sha256) == 64


def test_a_columnar_file_is_a_table(tmp_path):
    table = read_table(columnar(tmp_path / "t.arrow"), empty="drop")
    assert (table.texts, table.labels, table.lines) == (("a", "b"), ("x", "y"), (1, 2))
    with pytest.raises(DataError) as caught:
        read_table(columnar(tmp_path / "t.arrow"), text="object", label="label")
    assert caught.value.code == "E-FORMAT"
    assert "holds an object" in caught.value.message


def test_a_module_beside_the_data_is_not_run(tmp_path, monkeypatch):
    (tmp_path / "pyarrow.py").write_text("open('canary', 'w')")
    (tmp_path / "json.py").write_text("open('canary', 'w')")
    monkeypatch.chdir(tmp_path)
    assert len(open_rows(columnar(tmp_path / "t.parquet"))) == 3
    assert not (tmp_path / "canary").exists()


def test_delimited_json_and_text_are_one_form(tmp_path):
    table = open_rows(write(tmp_path, GOOD))
    assert columns(table) == {"text": ["fine film", "poor film"], "label": ["pos", "neg"]}
    assert list(table.lines) == [2, 3]
    lines = '{"text": "a", "label": 1}\n\n{"text": ["b"], "more": null}\n'
    objects = open_rows(write(tmp_path, gzip.compress(lines.encode()), "t.jsonl.gz"))
    assert columns(objects) == {"text": ["a", ["b"]], "label": ["1", None], "more": [None, None]}
    assert list(objects.lines) == [1, 3]
    text = open_rows(write(tmp_path, "a\r\nb", "t.md"))
    assert columns(text) == {"text": ["a\nb"]}
    assert (text.kind, len(text), list(text.lines)) == ("text", 1, [1])
    assert text.notes == ("Line ends CR LF and CR were read as LF.",)
    assert open_rows("tinyshakespeare").kind == "text"
    assert open_rows("movie_reviews").names == ("text", "label")


def test_format_overrides_the_ending(tmp_path):
    path = write(tmp_path, "text\tlabel\na,b\tc\n", "t.data")
    assert columns(open_rows(path, format="tsv")) == {"text": ["a,b"], "label": ["c"]}
    assert open_rows(path, format="text").kind == "text"
    assert read_table(path, format="tsv").labels == ("c",)


STDIN = {
    "csv": (GOOD.encode(), ("text", "label"), "read as CSV"),
    "csv of one column": (b"text\na\nb\n", ("text",), "read as CSV"),
    "tsv": (GOOD.replace(",", "\t").encode(), ("text", "label"), "read as TSV"),
    "jsonl": (b' \n{"text": "a"}\n', ("text",), "read as JSONL"),
    "gzip": (gzip.compress(GOOD.encode()), ("text", "label"), "read as CSV"),
    "text": (b"Well, this is prose.\nIt goes on.\n", ("text",), "read as text"),
    "mark": (b"\xef\xbb\xbf" + GOOD.encode(), ("text", "label"), "read as CSV"),
}


@pytest.mark.parametrize("case", STDIN)
def test_standard_input(monkeypatch, case):
    data, names, said = STDIN[case]
    feed(monkeypatch, data)
    rows = open_rows("-")
    assert rows.names == names
    assert said in rows.notes[0]
    assert rows.path == "-"
    feed(monkeypatch, data)
    assert len(list(iterate("-"))) == len(rows)


def test_standard_input_for_every_reader(monkeypatch):
    feed(monkeypatch, GOOD.encode())
    assert read_table("-").labels == ("pos", "neg")
    feed(monkeypatch, GOOD.encode())
    assert read_texts("-").texts == ("fine film", "poor film")
    feed(monkeypatch, b"Some prose")
    assert read_texts("-").texts == ("Some prose",)
    feed(monkeypatch, GOOD.encode())
    assert read_text("-")[0] == GOOD
    feed(monkeypatch, GOOD.encode())
    assert columns(open_rows("-", format="text")) == {"text": [GOOD]}


def test_faults_of_standard_input_say_so(monkeypatch):
    feed(monkeypatch, b"text,label\na,b\nc\n")
    with pytest.raises(DataError, match="in standard input:3: 1 cells"):
        open_rows("-")


def test_no_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="is closed") as caught:
        open_rows("-")
    assert caught.value.code == "E-STDIN"
    feed(monkeypatch, b"")
    with pytest.raises(DataError) as caught:
        open_rows("-")
    assert caught.value.code == "E-EMPTY"
    monkeypatch.setattr(standard_input, "CAP", 1000)
    feed(monkeypatch, b"a" * 1001)
    with pytest.raises(DataError) as caught:
        open_rows("-")
    assert caught.value.code == "E-SIZE"


def test_a_terminal_is_not_waited_for(monkeypatch):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "rb", buffering=0) as terminal:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(terminal)))
        with pytest.raises(UsageError, match="is a terminal"):
            open_rows("-")
    os.close(ours)


SCRIPT = "from howfar.data.anything import open_rows; print(open_rows('-').column(0)[0])"


def test_a_pipe_a_file_and_a_folder_as_standard_input(tmp_path):
    path = write(tmp_path, GOOD)
    with path.open("rb") as file:
        told = subprocess.run([sys.executable, "-c", SCRIPT], stdin=file, capture_output=True)
    assert told.stdout == b"fine film\n"
    told = subprocess.run([sys.executable, "-c", SCRIPT], input=GOOD.encode(), capture_output=True)
    assert told.stdout == b"fine film\n"
    folder = os.open(tmp_path, os.O_RDONLY)
    told = subprocess.run([sys.executable, "-c", SCRIPT], stdin=folder, capture_output=True)
    os.close(folder)
    assert b"UsageError: Standard input is a folder" in told.stderr or told.returncode != 0


def test_an_encoding_is_guessed_where_rows_may_be_skipped(tmp_path):
    path = write(tmp_path, LATIN.encode("cp1252"))
    rows = open_rows(path, bad_rows="skip")
    assert rows.column(1)[0] == "gar\xe7on"
    assert rows.notes == (
        "W-ENCODING: it is not UTF-8; it was read as cp1252, a guess from its bytes.",
    )
    with pytest.raises(DataError) as caught:
        open_rows(path)
    assert caught.value.code == "E-ENCODING"
    assert "--encoding cp1252" in caught.value.hint
    words = "text,label\n" + "\u6211\u4eec\u4f4f\u5728\u8fd9\u5bb6\u9152\u5e97,pos\n" * 20
    rows = open_rows(write(tmp_path, words.encode("gb18030")), bad_rows="skip")
    assert rows.column(0)[0] == words[11:19]
    assert "gb18030" in rows.notes[0]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le", "utf-16-be"])
def test_wide_encodings_are_known_and_said(tmp_path, encoding):
    rows = open_rows(write(tmp_path, GOOD.encode(encoding)), bad_rows="skip")
    assert columns(rows)["label"] == ["pos", "neg"]
    assert encoding in rows.notes[0].lower()


def test_a_wrong_byte_among_much_utf8_costs_its_row_only(tmp_path):
    good = "text,label\n" + "caf\xe9,pos\n" * 50
    path = write(tmp_path, good.encode() + b"bad \xff,neg\nlast \xc3\xa9,neg\n")
    rows = open_rows(path, bad_rows="skip", rejects=tmp_path / "rejects.jsonl")
    assert rows.dropped == {"not UTF-8": 1}
    assert rows.column(0)[-1] == "last \xe9"
    assert len(rows) == 51
    entry = json.loads((tmp_path / "rejects.jsonl").read_text())
    assert entry == {
        "line": 52,
        "record": 51,
        "code": "E-ENCODING",
        "reason": "not UTF-8",
        "column": None,
        "raw": "bad \udcff,neg",
    }


def test_wrong_bytes_replaced_are_counted(tmp_path):
    genuine = "text,label\n\ufffd,pos\n".encode()
    path = write(tmp_path, genuine + b"a\xff\xfeb,pos\nc,neg\n\xe2\x82\n")
    with pytest.raises(DataError):
        open_rows(path)
    rows = open_rows(path, encoding_errors="replace", bad_rows="skip")
    assert rows.column(0)[:3] == ["\ufffd", "a\ufffd\ufffdb", "c"]
    assert "W-ENCODING: 3 wrong places were replaced by U+FFFD, the first in row 3." in rows.notes
    text, notes, _ = read_text(write(tmp_path, b"a\xff", "t.txt"), encoding_errors="replace")
    assert text == "a\ufffd"
    assert notes == ("W-ENCODING: 1 wrong place was replaced by U+FFFD, the first in row 1.",)
    assert read_text(write(tmp_path, LATIN.encode("latin-1"), "t.txt"), guess=True)[0] == LATIN


def test_rejects_are_listed_whole(tmp_path):
    rows = 'a,b,c\nd,"e"x\nf\0,pos\ng,\n,pos\nok,neg\n"open,pos\nafter,neg\n'
    path, listing = write(tmp_path, GOOD + rows), tmp_path / "rejects.jsonl"
    listing.write_text("from before")
    table = read_table(path, bad_rows="skip", rejects=listing)
    entries = [json.loads(line) for line in listing.read_text().splitlines()]
    told = [(entry["line"], entry["code"], entry["reason"]) for entry in entries]
    assert sorted(told) == [
        (4, "E-RAGGED", "other number of cells than the header"),
        (5, "E-QUOTE", "broken quote"),
        (6, "E-NUL", "NUL character"),
        (7, "E-LABEL", "no label"),
        (8, "E-EMPTY-TEXT", "empty text"),
        (10, "E-QUOTE", "broken quote"),
    ]
    assert {entry["line"]: entry["raw"] for entry in entries}[4] == "a,b,c"
    assert {entry["line"]: entry["record"] for entry in entries}[4] == 3
    assert len(entries) == table.num_dropped
    assert table.notes[-1].endswith(f"They are listed in {listing}.")
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []
    bad = '{"text": "a"\n{"text": 1}\n'
    open_rows(write(tmp_path, bad, "t.jsonl"), bad_rows="skip", rejects=listing)
    assert json.loads(listing.read_text())["raw"] == '{"text": "a"'


def test_no_rejects_make_an_empty_list(tmp_path):
    listing = tmp_path / "rejects.jsonl"
    listing.write_text("from before")
    open_rows(write(tmp_path, GOOD), bad_rows="skip", rejects=listing)
    assert listing.read_text() == ""


def test_a_long_row_is_cut_in_the_list(tmp_path):
    listing = tmp_path / "rejects.jsonl"
    path = write(tmp_path, GOOD + "a," * 5000 + "\n")
    list(iterate(path, bad_rows="skip", rejects=listing))
    assert len(json.loads(listing.read_text())["raw"]) == 1000


def test_rejects_that_cannot_be_written(tmp_path, monkeypatch):
    path = write(tmp_path, GOOD + "a\n")
    with pytest.raises(UsageError) as caught:
        open_rows(path, bad_rows="skip", rejects=path)
    assert caught.value.code == "E-OPTION"
    for name in ("none/rejects.jsonl", "", "a\0b"):
        with pytest.raises(EnvironmentFault) as caught:
            open_rows(path, bad_rows="skip", rejects=f"{tmp_path}/{name}")
        assert caught.value.code == "E-PERMISSION"

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rejects.os, "fsync", full)
    with pytest.raises(EnvironmentFault) as caught:
        open_rows(path, bad_rows="skip", rejects=tmp_path / "rejects.jsonl")
    assert (caught.value.code, caught.value.exit_code) == ("E-DISK", 4)
    assert str(tmp_path / "rejects.jsonl") in caught.value.message
    assert sorted(file.name for file in tmp_path.iterdir()) == ["t.csv"]


def test_iterate_gives_what_open_rows_gives(tmp_path):
    files = [
        write(tmp_path, GOOD),
        write(tmp_path, GOOD.replace(",", "\t"), "t.tsv"),
        write(tmp_path, '{"a": 1}\n{"a": [2], "b": 3}\n', "t.jsonl"),
        write(tmp_path, "some text", "t.txt"),
        columnar(tmp_path / "t.parquet"),
    ]
    for path in files:
        rows, each = open_rows(path), list(iterate(path))
        assert [line for line, _ in each] == list(rows.lines)
        for index, name in enumerate(rows.names):
            assert [row.get(name) for _, row in each] == list(rows.column(index))


def test_iterate_gives_rows_before_a_later_fault(tmp_path):
    rows = iterate(write(tmp_path, GOOD + '"open'))
    assert next(rows) == (2, {"text": "fine film", "label": "pos"})
    next(rows)
    with pytest.raises(DataError) as caught:
        next(rows)
    assert caught.value.code == "E-QUOTE"
    with pytest.raises(DataError, match="2 such: rows 4, 5"):
        list(iterate(write(tmp_path, GOOD + "a\nb\n")))
    with pytest.raises(DataError, match="no rows"):
        list(iterate(write(tmp_path, "text,label\n")))


def test_iterating_may_stop_early(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"text": ["some text"] * 200_000}), path)
    rows = iterate(path)
    assert next(rows) == (1, {"text": "some text"})
    rows.close()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_iterating_holds_no_file(tmp_path):
    rows = 150_000
    (tmp_path / "t.csv").write_text("text,label\n" + f"{'some words ' * 12},pos\n" * rows)
    line = json.dumps({"text": "some words " * 12, "label": "pos"}) + "\n"
    (tmp_path / "t.jsonl").write_text(line * rows)
    table = pa.table({"text": [f"{i} {'some words ' * 12}" for i in range(rows)]})
    pq.write_table(table, tmp_path / "t.parquet", compression="none", use_dictionary=False)
    script = """
import pathlib, re, sys
import pyarrow
from howfar.data.anything import iterate
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
before = peak()
for name in ("t.csv", "t.jsonl", "t.parquet"):
    count = sum(1 for _ in iterate(sys.argv[1] + "/" + name))
    print(count, (peak() - before) // 1024)
"""
    ran = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True
    )
    for told in ran.stdout.strip().split("\n"):
        count, megabytes = map(int, told.split())
        assert count == rows
        assert megabytes < 16  # each file is 20 MB, and far more as Python's objects
