"""The bad-input matrix, as far as readers meet it: code, class, one line, soon, in little memory.

Rows that `read_table` alone decides (ragged, quotes, columns, labels, line ends, ...) stand in
test_read.py, those of folders, standard input and hub sets in the files beside this one.
"""

import gzip
import io
import os
import pickle
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from howfar.core.errors import DataError, HowfarError, UsageError
from howfar.data import source
from howfar.data.anything import iterate, open_rows
from howfar.data.texts import read_texts

GOOD = "text,label\nfine film,pos\npoor film,neg\n"
GREAT = 300  # MiB that a refused file may cost
SOON = 10  # seconds


def zipped():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("../../a.csv", GOOD)
    return out.getvalue()


def numpy(*, pickled):
    out = io.BytesIO()
    np.save(out, np.array([{}] if pickled else [1], dtype=object if pickled else int))
    return out.getvalue()


class Evil:
    def __reduce__(self):
        return os.mkdir, ("canary",)


def parquet(**columns):
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def parquet_of_one_column_twice():
    out = io.BytesIO()
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(table, out)
    return out.getvalue()


def arrow(table, opener=pa.ipc.new_file):
    out = io.BytesIO()
    with opener(out, table.schema) as file:
        file.write_table(table)
    return out.getvalue()


def not_utf8():
    data = pa.array([b"a\xff"]).view(pa.string())
    return arrow(pa.table({"text": data}), pa.ipc.new_stream)


def many_quotes():
    """Every line opens a quote that no later line closes: the square of the file, read naively."""
    return b"text,label\n" + b'a",",\n' * 60_000


def parquet_bomb():
    """70 MB of text in some kilobytes."""
    return parquet(text=pa.array(["x" * 1000]).take(pa.array(np.zeros(70_000, dtype=int))))


def bomb(line):
    return gzip.compress(line * ((20 << 20) // len(line)))


# name of the file, what makes its bytes, options, code, a part of the message
CONTENT = {
    "zip": ("t.csv", zipped, {}, "E-FORMAT", "zip archive"),
    "zip by its name": ("t.zip", zipped, {}, "E-FORMAT", ".zip"),
    "zip in gzip": ("t.csv.gz", lambda: gzip.compress(zipped()), {}, "E-FORMAT", "zip archive"),
    "zip as text": ("t.txt", zipped, {}, "E-FORMAT", "zip archive"),
    "zip as Parquet": ("t.parquet", zipped, {}, "E-FORMAT", "zip archive"),
    "gzip in gzip": (
        "t.txt.gz",
        lambda: gzip.compress(gzip.compress(b"a")),
        {},
        "E-ARCHIVE",
        "another",
    ),
    "gzip named text": ("t.txt", lambda: gzip.compress(b"a"), {}, "E-ARCHIVE", "gzip data"),
    "bzip2": ("t.csv", lambda: b"BZh91AY&SYrest", {}, "E-FORMAT", "bzip2"),
    "xz": ("t.csv", lambda: b"\xfd7zXZ\0rest", {}, "E-FORMAT", "xz data"),
    "Zstandard": ("t.jsonl", lambda: b"\x28\xb5\x2f\xfdrest", {}, "E-FORMAT", "Zstandard"),
    "7z": ("t.csv", lambda: b"7z\xbc\xaf\x27\x1crest", {}, "E-FORMAT", "7z"),
    "spreadsheet": ("t.xlsx", zipped, {}, "E-FORMAT", ".xlsx"),
    "old spreadsheet": ("t.csv", lambda: b"\xd0\xcf\x11\xe0rest", {}, "E-FORMAT", "spreadsheet"),
    "PDF": ("t.txt", lambda: b"%PDF-1.7", {}, "E-FORMAT", "PDF"),
    "pickle": ("t.csv", lambda: pickle.dumps(Evil()), {}, "E-FORMAT", "pickle"),
    "pickle by its name": ("t.pkl", lambda: pickle.dumps(Evil()), {}, "E-FORMAT", "pickle"),
    "NumPy": ("t.npy", lambda: numpy(pickled=True), {}, "E-FORMAT", "NumPy"),
    "NumPy named text": ("t.txt", lambda: numpy(pickled=False), {}, "E-FORMAT", "NumPy"),
    "NumPy archive": ("t.npz", zipped, {}, "E-FORMAT", "zip"),
    "Parquet named CSV": ("t.csv", lambda: parquet(text=["a"]), {}, "E-FORMAT", "Parquet"),
    "Arrow named text": ("t.txt", lambda: arrow(pa.table({"a": ["b"]})), {}, "E-FORMAT", "Arrow"),
    "Parquet without rows": (
        "t.parquet",
        lambda: parquet(text=pa.array([], "string")),
        {},
        "E-EMPTY",
        "no rows",
    ),
    "Parquet of double names": (
        "t.parquet",
        parquet_of_one_column_twice,
        {},
        "E-DUP-COLUMN",
        "1 and 2",
    ),
    "Parquet of many columns": (
        *("t.parquet", lambda: parquet(**{f"c{i}": ["a"] for i in range(1001)}), {}),
        *("E-COLUMN", "1,001 columns"),
    ),
    "Parquet bomb": ("t.parquet", parquet_bomb, {}, "E-ARCHIVE", "grows to more than"),
    "cut Parquet": ("t.parquet", lambda: parquet(text=["a"])[:-20], {}, "E-FORMAT", "t.parquet"),
    "Arrow that is not UTF-8": ("t.arrow", not_utf8, {}, "E-ENCODING", "not UTF-8"),
    "old Feather": ("t.feather", lambda: b"FEA1....FEA1", {}, "E-FORMAT", "version 1"),
    "empty Arrow": ("t.arrow", lambda: b"", {}, "E-FORMAT", "t.arrow"),
    "Arrow asking for 2 GiB": (
        *("t.arrow", lambda: b"\xff\xff\xff\xff\xff\xff\xff\x7f" + b"x" * 50, {}),
        *("E-FORMAT", "t.arrow"),
    ),
    "20,001 columns": (
        "t.csv",
        lambda: ",".join(map(str, range(20_001))).encode(),
        {},
        "E-COLUMN",
        "20,001",
    ),
    "quotes without end": ("t.csv", many_quotes, {"bad_rows": "skip"}, "E-QUOTE", "too many rows"),
    "a cell over many lines": (
        *("t.csv", lambda: b'text,label\n"' + b"a\n" * 2000, {"max_field": 1000}),
        *("E-FIELD", ":2"),
    ),
    "a row over many lines": ("t.csv", many_quotes, {"max_field": 1000}, "E-FIELD", ":2"),
    "gzip bomb": (
        "t.jsonl.gz",
        lambda: bomb(b" " * 999 + b"\n"),
        {},
        "E-ARCHIVE",
        "more than 200 times",
    ),
    "gzip bomb of text": ("t.txt.gz", lambda: bomb(b"\0" * 1000), {}, "E-ARCHIVE", "more than 200"),
    "nothing but a mark": ("t.txt", lambda: b"\xef\xbb\xbf", {}, "E-EMPTY", "no text"),
    "UTF-16 as text": ("t.txt", lambda: GOOD.encode("utf-16"), {}, "E-ENCODING", "UTF-16"),
    "UTF-16 as lines": ("t.jsonl", lambda: '{"a": 1}'.encode("utf-16-be"), {}, "E-NUL", ":1"),
    "GBK": ("t.txt", lambda: "\u6211\u4eec\u4f4f\u5728".encode("gbk"), {}, "E-ENCODING", "byte 0"),
    "Latin-1 by row": (
        "t.jsonl",
        lambda: b'{"a": 1}\n{"a": "\xe9"}',
        {},
        "E-ENCODING",
        "t.jsonl:2",
    ),
    "half a character": ("t.txt", lambda: b"ab\n\xe2\x82", {}, "E-ENCODING", "byte 3 in"),
    "half a surrogate": ("t.txt", lambda: b"a\xed\xa0\x80b", {}, "E-ENCODING", "byte 1 in"),
    "a wrong byte in much UTF-8": (
        *("t.txt", lambda: "\u6211".encode() * 40 + b"\n\xff", {"bad_rows": "skip"}),
        *("E-ENCODING", "t.txt:2"),
    ),
    "unknown errors": ("t.csv", GOOD.encode, {"encoding_errors": "ignore"}, "E-OPTION", "strict"),
    "unknown format": ("t.csv", GOOD.encode, {"format": "xml"}, "E-OPTION", "csv, tsv"),
    "unknown encoding": ("t.csv", GOOD.encode, {"encoding": "utf-9"}, "E-OPTION", "utf-9"),
    "unknown bad rows": ("t.csv", GOOD.encode, {"bad_rows": "drop"}, "E-OPTION", "skip"),
}


def check(error, code):
    """One line for the user, and the exit code of its class."""
    assert error.code == code, str(error)
    assert error.exit_code == (2 if isinstance(error, UsageError) else 3)
    assert str(error).isprintable()


@pytest.mark.parametrize("case", CONTENT)
def test_bad_content(tmp_path, monkeypatch, case):
    name, make, options, code, part = CONTENT[case]
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(make())
    for reader in (open_rows, lambda *a, **k: list(iterate(*a, **k))):
        start = time.process_time()
        with pytest.raises(HowfarError) as caught:
            reader(name, **options)
        assert time.process_time() - start < SOON
        check(caught.value, code)
        assert part in caught.value.message
    assert [path.name for path in tmp_path.iterdir()] == [name]  # no canary, nothing left behind


def socket_at(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


PLACES = {
    "nothing": (lambda _: None, "E-NO-FILE"),
    "socket": (socket_at, "E-NO-FILE"),
    "FIFO": (os.mkfifo, "E-NO-FILE"),
    "link to itself": (lambda path: path.symlink_to(path.name), "E-NO-FILE"),
    "link to nothing": (lambda path: path.symlink_to("none.csv"), "E-NO-FILE"),
    "link to a device": (lambda path: path.symlink_to("/dev/zero"), "E-NO-FILE"),
    "link to a FIFO": (
        lambda path: [os.mkfifo(f"{path}.f"), path.symlink_to(f"{path}.f")],
        "E-NO-FILE",
    ),
    "empty folder": (os.mkdir, "E-EMPTY"),
}


@pytest.mark.parametrize("case", PLACES)
def test_bad_places(tmp_path, case):
    # A short folder: the name of a socket may have but 108 bytes.
    make, code = PLACES[case]
    path = Path(os.path.relpath(tmp_path)) / "t.csv"
    make(path)
    for reader in (open_rows, read_texts, lambda given: list(iterate(given))):
        with pytest.raises(HowfarError) as caught:
            reader(path)
        check(caught.value, "E-NO-FILE" if reader is read_texts else code)


NAMES = {
    "device": ("/dev/zero", "E-NO-FILE"),
    "null device": ("/dev/null", "E-NO-FILE"),
    "NUL": ("a\0b.csv", "E-NO-FILE"),
    "long": ("x" * 300 + ".csv", "E-NO-FILE"),
    "no encoding": ("caf\udce9.csv", "E-NO-FILE"),
    "nothing": ("", "E-EMPTY"),
    "escapes": ("\x1b[31m\u202e.csv", "E-NO-FILE"),
    "address": ("https://example.org/a.csv", "E-REMOTE"),
    "file address": ("file:///etc/passwd", "E-REMOTE"),
    "bucket": ("s3://bucket/a.csv", "E-REMOTE"),
    "share": (r"\\host\share\a.csv", "E-REMOTE"),
    "shipped, misspelt": ("tinyshakespear", "E-NO-FILE"),
}


@pytest.mark.parametrize("case", NAMES)
def test_bad_names(tmp_path, monkeypatch, case):
    name, code = NAMES[case]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", None)
    for reader in (open_rows, lambda given: list(iterate(given))):
        with pytest.raises(HowfarError) as caught:
            reader(name)
        check(caught.value, code)


def test_a_file_that_changes(tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text(GOOD)
    digest = source.hashlib.file_digest

    def change(file, name):
        (tmp_path / "t.csv").write_text(GOOD + "late,pos\n")
        return digest(file, name)

    monkeypatch.setattr(source.hashlib, "file_digest", change)
    for reader in (open_rows, lambda given: list(iterate(given))):
        (tmp_path / "t.csv").write_text(GOOD)
        with pytest.raises(DataError) as caught:
            reader(tmp_path / "t.csv")
        check(caught.value, "E-CHANGED")


def test_words_for_nothing_and_strange_breaks_are_text(tmp_path):
    text = "a\u2028b\x0bc\x0cd\x85e\x1cf\u200d\u202e"
    (tmp_path / "t.csv").write_text(f"text,label\n{text},NA\nnull,nan\n", encoding="utf-8")
    rows = open_rows(tmp_path / "t.csv")
    assert [list(rows.column(i)) for i in (0, 1)] == [[text, "null"], ["NA", "nan"]]


def large(folder, name):
    """Files that cost much where they are read whole."""
    path = folder / name
    with path.open("wb") as file:
        if name == "lines.csv":  # each as long as a line may be
            for _ in range(6):
                file.write(b"a" * 16_000_000 + b"\n")
        elif name == "keys.jsonl":
            file.write(b'{"text": "' + b"a" * 100_000_000)
        elif name == "line.tsv":
            file.write(b"text\tlabel\n" + b"a" * 100_000_000)
        elif name == "bomb.parquet":
            words = pa.array(["x" * 1_000_000])
            text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(4000, dtype=np.int32)), words)
            pq.write_table(pa.table({"text": text}), file, store_schema=False)
    return path


MEASURE = """
import json, pathlib, re, resource, sys
from howfar.core.errors import DataError
from howfar.data.anything import open_rows
try:
    open_rows(sys.argv[1])
except DataError as error:
    # ru_maxrss would count what the parent process had before it started this one.
    status = pathlib.Path("/proc/self/status").read_text()
    own = int(re.search(r"VmHWM:\\s+(\\d+)", status)[1])
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(error.code, own // 1024, children // 1024, used.ru_utime + used.ru_stime)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("lines.csv", "E-FIELD"),
        ("keys.jsonl", "E-LINE"),
        ("line.tsv", "E-LINE"),
        ("bomb.parquet", "E-FORMAT"),  # one batch of it asks for 4 GB
    ],
)
def test_large_and_bad_costs_little(tmp_path, name, code):
    path = large(tmp_path, name)
    ran = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, timeout=60)
    assert ran.stderr == b""
    said, own, children, seconds = ran.stdout.decode().split()
    assert said == code
    assert int(own) < GREAT
    assert int(children) < 1000
    assert float(seconds) < SOON
