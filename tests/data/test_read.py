"""Reading: the bad-input matrix (code, class, place in the message), and what must pass whole."""

import csv
import gzip
import hashlib
import io
import json
import os
import re
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from howfar.core.errors import DataError, EnvironmentFault, HowfarError, UsageError
from howfar.data import source
from howfar.data.read import read_table, read_text

GOOD = "text,label\nfine film,pos\npoor film,neg\n"


def write(folder, content, name="t.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# name, content, options, code, a pattern of the message
BAD_CSV = {
    "empty file": ("", {}, "E-EMPTY", "no rows"),
    "header only": ("text,label\n", {}, "E-EMPTY", "no rows"),
    "white space only": ("  \n \n\t\n", {}, "E-EMPTY", "no rows"),
    "mark only": (b"\xef\xbb\xbf", {}, "E-EMPTY", "no rows"),
    "all rows skipped": ("text,label\na\n", {"bad_rows": "skip"}, "E-EMPTY", "every row was left"),
    "ragged": (
        GOOD + "a,b,c\nd\n",
        {},
        "E-RAGGED",
        r":4: 3 cells.*header has 2 \(2 such: rows 4, 5",
    ),
    "ragged many": (GOOD + "a\n" * 9, {}, "E-RAGGED", r"9 such: rows 4, 5, 6, 7, 8 and 4 more"),
    "duplicate column": ("text,label,text\n1,2,3\n", {}, "E-DUP-COLUMN", "columns 1 and 3"),
    "column by case": ("text,label,Text \n1,2,3\n", {}, "E-DUP-COLUMN", "columns 1 and 3"),
    "column without name": (",text,label\n1,2,3\n", {}, "E-DUP-COLUMN", "column 1 has no name"),
    "semicolons": (GOOD.replace(",", ";"), {}, "E-DELIM", "looks like ';', not ','"),
    "tabs in csv": (GOOD.replace(",", "\t"), {}, "E-DELIM", "looks like tab"),
    "quoted semicolons": ('"text";"label"\n"a, b";"c"\n', {}, "E-DELIM", "looks like ';'"),
    "nothing fits": ("text\na\n", {"separator": "auto"}, "E-DELIM", "No separator fits"),
    "one column": ("text\na\nb\n", {}, "E-COLUMN", "not obvious which column is the label"),
    "unclear columns": ("a,b,c\n1,2,3\n", {}, "E-COLUMN", "'a', 'b', 'c'"),
    "two texts": ("text,texts,label\n1,2,3\n", {}, "E-COLUMN", "which column is the text"),
    "unknown column": (GOOD, {"label": "lable"}, "E-COLUMN", "No column 'lable'.*mean 'label'"),
    "same column": (GOOD, {"text": "text", "label": "text"}, "E-COLUMN", "are the same column"),
    "no header": (
        "a fine film,pos\nmuch too long,neg\nnot too long,pos\nor so they say,neg\n"
        "once more a film,pos\n",
        {},
        "E-COLUMN",
        "first row looks like data",
    ),
    "open quote": (GOOD + 'a,"b\nc,d\n', {}, "E-QUOTE", ":4: the quote is never closed"),
    "open quote met again": (
        GOOD + '"a\nb",c\nd,"open\ne,"other",f\n',
        {},
        "E-QUOTE",
        ":6: text follows the closing quote",
    ),
    "text after quote": (GOOD + 'a,"b"c\n', {}, "E-QUOTE", ":4: text follows"),
    "second quote of a row": (GOOD + '"a\nb","c\n', {}, "E-QUOTE", ":5: the quote is never"),
    "open quote in header": ('text,"label\na,b\n', {}, "E-QUOTE", ":1: the quote is never closed"),
    "not UTF-8": (
        GOOD.encode() + b"caf\xe9,pos\n",
        {},
        "E-ENCODING",
        r"byte 42 in .*:4: it is not U",
    ),
    "cut UTF-8": (GOOD.encode() + b"a,b\xe2\x82", {}, "E-ENCODING", r"byte 42 in .*:4"),
    "UTF-16": (GOOD.encode("utf-16"), {}, "E-ENCODING", "it is UTF-16"),
    "UTF-32": (GOOD.encode("utf-32"), {}, "E-ENCODING", "it is UTF-32"),
    "UTF-16 unmarked": (GOOD.encode("utf-16-le"), {}, "E-NUL", ":1: text holds none"),
    "wrong encoding": (GOOD.encode() + b"\xff", {"encoding": "ascii"}, "E-ENCODING", "not ASCII"),
    "NUL": (GOOD + "a\0b,pos\n", {}, "E-NUL", "NUL character in .*:4"),
    "long cell": (GOOD + "a" * 101 + ",pos\n", {"max_field": 100}, "E-FIELD", ":4: .* than 100"),
    "long line": (GOOD + "a," * 900, {"max_field": 100}, "E-LINE", ":4: .* than 1,600"),
    "empty text": (
        GOOD + ",pos\n  ,neg\n",
        {},
        "E-EMPTY-TEXT",
        r":4 \(column 'text'\).*2 of 4.*4, 5",
    ),
    "no label": (
        GOOD + "a,\nb, \n",
        {},
        "E-LABEL",
        r":4 \(column 'label'\): 2 of 4 rows .*rows 4, 5",
    ),
    "gzip named csv": (gzip.compress(b"x"), {}, "E-ARCHIVE", "it is gzip data"),
    "spreadsheet named csv": (b"PK\x03\x04rest", {}, "E-FORMAT", "zip archive or a spreadsheet"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_bad_csv_is_refused_with_code_and_place(tmp_path, case):
    content, options, code, pattern = BAD_CSV[case]
    path = write(tmp_path, content)
    with pytest.raises(DataError) as caught:
        read_table(path, **options)
    assert caught.value.code == code
    assert caught.value.exit_code == 3
    assert re.search(pattern, caught.value.message), caught.value.message
    assert str(path) in caught.value.message
    assert "\n" not in str(caught.value)


HINTS = {
    "semicolons": "--sep ';'",
    "UTF-16": "--encoding utf-16",
    "unclear columns": "--text and --label",
    "empty text": "--empty drop",
    "ragged": "--bad-rows skip",
    "no header": "--no-header",
    "open quote": "--quote none",
    "text after quote": "--quote none",
}


@pytest.mark.parametrize("case", HINTS)
def test_hints_name_the_option(tmp_path, case):
    content, options, _, _ = BAD_CSV[case]
    with pytest.raises(DataError) as caught:
        read_table(write(tmp_path, content), **options)
    assert HINTS[case] in caught.value.hint


BAD_JSON = {
    "array": ('["a", "pos"]\n', "E-JSON", ":1: the line holds an array"),
    "number": ('{"text": "a", "label": "b"}\n7\n', "E-JSON", ":2: the line holds a single value"),
    "broken": ('{"text": "a"\n', "E-JSON", ":1: .*character"),
    "deep": ("[" * 100_000 + "\n", "E-JSON", ":1: it is nested too deeply"),
    "double key": (
        '{"text": "a", "text": "b"}\n',
        "E-DUP-COLUMN",
        ":1: the key 'text' stands twice",
    ),
    "lone surrogate": (
        '{"text": "\\ud800", "label": "b"}\n',
        "E-ENCODING",
        r":1 \(column 'text'\)",
    ),
    "escaped NUL": ('{"text": "\\u0000", "label": "b"}\n', "E-NUL", r":1 \(column 'text'\)"),
    "list as text": ('{"text": ["a"], "label": "b"}\n', "E-FORMAT", ":1 .*holds a list"),
    "missing text": ('{"label": "b"}\n{"text": "a", "label": "b"}', "E-EMPTY-TEXT", ":1 "),
    "null label": ('{"text": "a", "label": null}\n', "E-LABEL", ":1 "),
    "NaN label": ('{"text": "a", "label": NaN}\n', "E-LABEL", ":1 "),
    "blank": ("\n \n", "E-EMPTY", "no rows"),
    "endless keys": (
        "".join(json.dumps({f"k{i}": "v"}) + "\n" for i in range(1002)),
        "E-COLUMN",
        "More than 1,000 different keys by .*:1001",
    ),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_bad_json_lines_are_refused(tmp_path, case):
    content, code, pattern = BAD_JSON[case]
    with pytest.raises(DataError) as caught:
        read_table(write(tmp_path, content, "t.jsonl"))
    assert caught.value.code == code
    assert re.search(pattern, caught.value.message), caught.value.message


def bomb():
    return gzip.compress(b"some longer text and some longer text,pos\n" * 700_000)


BAD_FILES = {
    "xlsx": ("t.xlsx", lambda: b"PK", "E-FORMAT"),
    "no ending": ("t", lambda: b"a", "E-FORMAT"),
    "pickle": ("t.pkl", lambda: b"\x80", "E-FORMAT"),
    "broken parquet": ("t.parquet", lambda: b"PAR1nonsensePAR1", "E-FORMAT"),
    "empty parquet": ("t.parquet", lambda: b"", "E-FORMAT"),
    "not gzip": ("t.csv.gz", lambda: b"text,label\n", "E-ARCHIVE"),
    "cut gzip": (
        "t.csv.gz",
        lambda: gzip.compress(os.urandom(9000).hex().encode())[:-20],
        "E-ARCHIVE",
    ),
    "damaged gzip": (
        "t.csv.gz",
        lambda: gzip.compress(GOOD.encode())[:-8] + b"12345678",
        "E-ARCHIVE",
    ),
    "nested gzip": ("t.csv.gz", lambda: gzip.compress(gzip.compress(b"a")), "E-ARCHIVE"),
    "gzip bomb": ("t.csv.gz", bomb, "E-ARCHIVE"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_refused(tmp_path, case):
    name, content, code = BAD_FILES[case]
    with pytest.raises(DataError) as caught:
        read_table(write(tmp_path, content(), name))
    assert caught.value.code == code


@pytest.mark.parametrize(
    "address", ["https://example.org/a.csv", "s3://bucket/a.csv", "file:///a.csv", r"\\host\a.csv"]
)
def test_addresses_are_refused_without_a_request(monkeypatch, address):
    monkeypatch.setattr(socket, "socket", None)
    with pytest.raises(UsageError) as caught:
        read_table(address)
    assert caught.value.code == "E-REMOTE"
    assert caught.value.exit_code == 2


def test_what_is_not_a_file_is_refused(tmp_path):
    write(tmp_path, GOOD, "reviews.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    names = {
        "revews.csv": "Did you mean 'reviews.csv'",
        "none/here.csv": "folder cannot be read",
        "pipe.csv": "not a regular file",
        "": "it is a folder",
        "loop.csv": "Cannot read",
        "x" * 300 + ".csv": "Cannot read",
        "a\0b.csv": "Cannot read",
    }
    for name, message in names.items():
        with pytest.raises(UsageError) as caught:
            read_table(f"{tmp_path}/{name}")
        assert caught.value.code == "E-NO-FILE"
        assert message in caught.value.message
    with pytest.raises(UsageError, match="not a regular file"):
        read_table("/dev/zero")


def test_permission_denied(tmp_path, monkeypatch):
    path = write(tmp_path, GOOD)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    # chmod does not stop root, so the system call itself refuses here.
    monkeypatch.setattr(source.os, "open", refuse)
    with pytest.raises(EnvironmentFault) as caught:
        read_table(path)
    assert (caught.value.code, caught.value.exit_code) == ("E-PERMISSION", 4)


def test_a_file_that_changes_is_noticed(tmp_path, monkeypatch):
    path = write(tmp_path, GOOD)
    digest = source.hashlib.file_digest

    def change(file, name):
        path.write_text(GOOD + "late,pos\n")
        return digest(file, name)

    monkeypatch.setattr(source.hashlib, "file_digest", change)
    with pytest.raises(DataError, match="changed while it was read"):
        read_table(path)


@pytest.mark.parametrize(
    "options",
    [
        {"encoding": "no-such"},
        {"encoding": "rot13"},
        {"encoding": "idna"},
        {"encoding": "a\0b"},
        {"separator": ";;"},
        {"separator": '"'},
        {"bad_rows": "maybe"},
        {"empty": "maybe"},
        {"quote": "'"},
        {"max_field": 0},
    ],
)
def test_bad_options_are_usage_errors(tmp_path, options):
    with pytest.raises(UsageError) as caught:
        read_table(write(tmp_path, GOOD), **options)
    assert caught.value.code == "E-OPTION"


def test_user_text_in_messages_is_escaped(tmp_path):
    with pytest.raises(DataError) as caught:
        read_table(write(tmp_path, "a\x1b[31m,b,c\u202e\n1,2,3\n", "evil\x1b.csv"))
    assert "\x1b" not in str(caught.value)
    assert "\u202e" not in str(caught.value)


def test_a_good_file(tmp_path):
    path = write(tmp_path, 'text,label\r\n"two\r\nlines",pos\r\n\r\nlast , neg\r\n')
    table = read_table(path)
    assert table.texts == ("two\r\nlines", "last ")
    assert table.labels == ("pos", "neg")
    assert table.lines == (2, 5)
    assert (table.text_column, table.label_column) == ("text", "label")
    assert table.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert table.notes == (
        "The text column 'text' was guessed.",
        "The label column 'label' was guessed.",
        "W-LABEL-STRIP: outer white space was removed in 1 row.",
    )


@pytest.mark.parametrize("name", ["t.tsv", "t.TSV", "t.tsv.gz", "t.csv", "t.csv.gz", "t.CSV"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_endings_line_ends_and_marks(tmp_path, name, end, mark):
    content = (mark + GOOD).replace("\n", end)
    data = (content.replace(",", "\t") if "tsv" in name.lower() else content).encode()
    table = read_table(write(tmp_path, gzip.compress(data) if name.endswith("gz") else data, name))
    assert table.texts == ("fine film", "poor film")
    assert table.lines == (2, 3)
    assert table.text_column == "text"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252"])
def test_named_encodings(tmp_path, encoding):
    path = write(tmp_path, GOOD.replace("fine", "caf\xe9").encode(encoding))
    assert read_table(path, encoding=encoding).texts[0] == "caf\xe9 film"


def test_the_guess_of_an_encoding_is_offered(tmp_path):
    words = "\u6211\u4eec\u4f4f\u5728\u8fd9\u5bb6\u9152\u5e97\u5f88\u6ee1\u610f"
    path = write(tmp_path, f"text,label\n{words * 40},pos\n".encode("gb18030"))
    with pytest.raises(DataError) as caught:
        read_table(path)
    assert re.search("a guess .*: --encoding (gb|big5|cp9|johab|hz)", caught.value.hint)


def test_characters_that_are_no_line_breaks(tmp_path):
    text = "a\u2028b\x0bc\x0cd\x85e\x1cf"
    assert read_table(write(tmp_path, f"text,label\n{text},pos\n")).texts == (text,)
    line = json.dumps({"text": text, "label": "x"}, ensure_ascii=False) + "\n"
    assert read_table(write(tmp_path, line, "t.ndjson")).texts == (text,)


def test_words_for_nothing_are_text(tmp_path):
    words = ("NA", "null", "nan", "None", "N/A", "-")
    path = write(tmp_path, "text,label\n" + "".join(f"{w},{w}\n" for w in words))
    table = read_table(path)
    assert table.texts == table.labels == words


def test_json_values_keep_their_json_text(tmp_path):
    values = ["1", "1.0", "true", '"x"', "123456789012345678901234567890", "1e400"]
    lines = "".join(f'{{"text": "a", "label": {v}}}\n' for v in values)
    table = read_table(write(tmp_path, lines, "t.jsonl.gz".removesuffix(".gz")))
    assert table.labels == tuple(v.strip('"') for v in values)
    assert any("nearly equal labels are kept apart: '1', '1.0'" in note for note in table.notes)


def test_nearly_equal_labels_are_said(tmp_path):
    rows = "a,Pos\nb,pos\nc,caf\xe9\nd,cafe\u0301\ne,neg\n"
    notes = read_table(write(tmp_path, "text,label\n" + rows)).notes
    assert sum("W-LABEL-NEAR" in note for note in notes) == 2


def test_skipped_rows_are_counted_by_reason(tmp_path):
    rows = 'a,b,c\nd,"e"x\nf\0,pos\ng,\n,pos\nok,neg\n"open,pos\nafter,neg\n'
    table = read_table(write(tmp_path, GOOD + rows), bad_rows="skip")
    assert table.texts == ("fine film", "poor film", "ok", "after")
    assert table.lines == (2, 3, 9, 11)
    assert table.dropped == {
        "other number of cells than the header": 1,
        "broken quote": 2,
        "NUL character": 1,
        "no label": 1,
        "empty text": 1,
    }
    assert table.num_dropped == 6
    assert "6 rows" in table.notes[-1]


def test_empty_texts_dropped_or_kept(tmp_path):
    path = write(tmp_path, GOOD + ",pos\n")
    dropped = read_table(path, empty="drop")
    assert (dropped.num_rows, dropped.dropped) == (2, {"empty text": 1})
    assert read_table(path, empty="keep").texts[-1] == ""


def test_no_header(tmp_path):
    table = read_table(write(tmp_path, "1,a b c\n0,d e f\n"), no_header=True, text="2", label="1")
    assert table.texts == ("a b c", "d e f")
    assert table.lines == (1, 2)


STRAY = 'a "b\t"c" d\n"e\tf\n"\t""\n'


def test_quotation_marks_are_text_where_nothing_is_quoted(tmp_path):
    path = write(tmp_path, STRAY, "t.tsv")
    asked = {"no_header": True, "text": "1", "label": "2"}
    with pytest.raises(DataError, match=r":1: text follows") as caught:
        read_table(path, **asked)
    assert caught.value.code == "E-QUOTE"
    table = read_table(path, **asked, quote="none")
    assert table.texts == ('a "b', '"e', '"')
    assert table.labels == ('"c" d', "f", '""')
    assert table.lines == (1, 2, 3)
    # A closed quote over two lines is one cell, or two rows.
    lines = write(tmp_path, 'text,label\n"a\nb",c\nd,e\n')
    assert read_table(lines).texts == ("a\nb", "d")
    with pytest.raises(DataError, match=":2: 1 cells where the header has 2"):
        read_table(lines, quote="none")


def test_the_separator_is_guessed_without_quotes_too(tmp_path):
    path = write(tmp_path, STRAY, "t.csv")
    table = read_table(path, no_header=True, text="1", label="2", quote="none", separator="auto")
    assert table.num_rows == 3


PLAIN = st.text(st.characters(exclude_characters="\t\r\n\0", exclude_categories=["Cs"]), min_size=1)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(PLAIN, PLAIN), min_size=1, max_size=8))
def test_without_quotes_a_line_is_a_row_whatever_it_holds(tmp_path_factory, rows):
    rows = [(f"t{text}", f"l{label}") for text, label in rows]
    content = "".join(f"{text}\t{label}\n" for text, label in rows)
    path = write(tmp_path_factory.mktemp("plain"), content, "t.tsv")
    table = read_table(path, no_header=True, text="1", label="2", quote="none")
    assert list(zip(table.texts, table.labels, strict=True)) == [
        (text, label.strip()) for text, label in rows
    ]


def test_separator_auto_is_said(tmp_path):
    table = read_table(write(tmp_path, GOOD.replace(",", "|")), separator="auto")
    assert table.num_rows == 2
    assert table.notes[0] == "The separator '|' was guessed from the first rows."


@pytest.mark.parametrize(
    ("header", "text", "label"),
    [
        ("review,sentiment", 0, 1),
        ("id,label,rating,text", 3, 1),
        ("Label,Comment", 1, 0),
        ("stars,title,body", 2, 0),
        ("x,category", 0, 1),
    ],
)
def test_columns_guessed_by_name(tmp_path, header, text, label):
    names = header.split(",")
    row = ",".join(f"v{i}" for i in range(len(names)))
    table = read_table(write(tmp_path, f"{header}\n{row}\n"))
    assert (table.text_column, table.label_column) == (names[text], names[label])


def test_columns_guessed_by_content(tmp_path):
    rows = "".join(f"{i % 2},a rather long line number {i}\n" for i in range(8))
    table = read_table(write(tmp_path, "a,b\n" + rows))
    assert (table.text_column, table.label_column) == ("b", "a")


def test_parquet_of_several_types(tmp_path):
    columns = {"text": ["a", "b", "c"], "label": pa.array([1, 2, 1], pa.int8())}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert (table.texts, table.labels, table.lines) == (("a", "b", "c"), ("1", "2", "1"), (1, 2, 3))
    columns = {"text": pa.array([b"a", b"\xff"]), "label": [True, None]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / "t.parquet")
    assert caught.value.code == "E-ENCODING"


def test_a_line_end_on_a_chunk_border(tmp_path):
    # The file is read in pieces of 4,096 and then 131,072 bytes: put CR LF across both borders.
    first = "text,label\r\n"
    one = "a" * (4095 - len(first) - 4) + ",pos\r"
    two = "\n" + "b" * (131_072 - 1 - 4 - 1) + ",neg\r"
    content = first + one + two + "\nc,pos\r\n"
    table = read_table(write(tmp_path, content))
    assert len(content.encode()[: 4096 + 131_072]) == 4096 + 131_072
    assert content[4095] == "\r"
    assert content[4096 + 131_071] == "\r"
    assert table.lines == (2, 3, 4)


def test_text_files(tmp_path):
    text, notes, sha256 = read_text(write(tmp_path, "\ufeffa\r\nb\rc\u2028\n", "t.txt"))
    assert text == "a\nb\nc\u2028\n"
    assert notes == ("Line ends CR LF and CR were read as LF.",)
    assert len(sha256) == 64
    assert read_text(write(tmp_path, gzip.compress(b"abc"), "t.md.gz"))[0] == "abc"
    assert read_text(write(tmp_path, b"abc", "README"))[0] == "abc"


@pytest.mark.parametrize(
    ("content", "name", "code"),
    [
        (b"", "t.txt", "E-EMPTY"),
        (b" \n", "t.txt", "E-EMPTY"),
        (b"a\nb\0", "t.txt", "E-NUL"),
        (b"a\xff", "t.txt", "E-ENCODING"),
        (b"a,b", "t.csv", "E-FORMAT"),
        (b"a,b", "t.zip", "E-FORMAT"),
        (b"abc", "t.txt.gz", "E-ARCHIVE"),
    ],
)
def test_bad_text_files(tmp_path, content, name, code):
    with pytest.raises(DataError) as caught:
        read_text(write(tmp_path, content, name))
    assert caught.value.code == code


CELL = st.text(
    st.one_of(
        st.sampled_from('",;\n\r\t \u2028\x85\x0b'), st.characters(exclude_categories=["Cs"])
    ),
    max_size=12,
).map(lambda s: s.replace("\0", ""))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_what_csv_writes_is_read_back(tmp_path_factory, rows, end):
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL)
    rows = [("t" + text, "k" + label) for text, label in rows]
    writer.writerows([("text", "label"), *rows])
    path = write(tmp_path_factory.mktemp("csv"), out.getvalue())
    table = read_table(path)
    assert table.texts == tuple(text for text, _ in rows)
    assert table.labels == tuple(label.strip() for _, label in rows)


SUFFIXES = [".csv", ".tsv", ".jsonl", ".csv.gz", ".parquet", ".txt"]
PIECES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from([b"text,label\n", b'"', b"a,b\n", b'{"text": "a", "label": 1}\n', b"\xff\xfe"]),
)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(PIECES, max_size=8).map(b"".join),
    st.sampled_from(SUFFIXES),
    st.sampled_from(["error", "skip"]),
    st.sampled_from([None, "utf-16", "gb18030", "utf-8-sig", "shift_jis"]),
)
def test_any_bytes_give_a_table_or_one_of_our_errors(
    tmp_path_factory, data, suffix, bad_rows, encoding
):
    packed = gzip.compress(data) if suffix.endswith("gz") else data
    path = write(tmp_path_factory.mktemp("fuzz"), packed, "t" + suffix)
    try:
        if suffix == ".txt":
            assert read_text(path, encoding=encoding)[0].strip()
        else:
            table = read_table(path, bad_rows=bad_rows, encoding=encoding)
            assert table.num_rows == len(table.labels) == len(table.lines) > 0
            assert all(table.labels)
    except HowfarError:
        pass


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_huge_line_fails_fast_in_little_memory(tmp_path):
    path = tmp_path / "huge.csv"
    with path.open("wb") as file:
        file.write(b"text,label\n")
        for _ in range(100):
            file.write(b"a" * 1_000_000)
    script = textwrap.dedent(
        f"""
        import pathlib, re, sys
        from howfar.core.errors import DataError
        from howfar.data.read import read_table
        try:
            read_table({str(path)!r})
        except DataError as error:
            # ru_maxrss would count what the parent process had before it started this one.
            status = pathlib.Path("/proc/self/status").read_text()
            print(error.code, int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) // 1024)
        print("torch" in sys.modules)
        """
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ran.stderr == ""

    code, megabytes, torch = ran.stdout.split()
    assert code == "E-LINE"
    assert int(megabytes) < 300
    assert torch == "False"


def test_reading_needs_no_torch():
    rooms = ["draws", "read", "tokenise", "split", "labelled", "running", "shipped"]
    script = "import sys\n" + "".join(f"import howfar.data.{room}\n" for room in rooms)
    script += "assert 'torch' not in sys.modules and 'pyarrow' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
