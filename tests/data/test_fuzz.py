"""Damaged and random files through every reader; the CSV reader against Python's own."""

import collections
import csv
import io
import json
import resource

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.data.hostile import COLUMNAR, Maker

from howfar.data.anything import iterate, open_rows

FILES = 600  # `faults/fuzz_readers.py` makes 10,000


def test_any_file_gives_rows_or_one_of_our_errors(tmp_path):
    maker, outcomes = Maker(seed=5, columnar=0), collections.Counter()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(FILES):
        suffix, data = maker.file()
        path = tmp_path / f"f{number}{suffix}"
        path.write_bytes(data)
        outcomes[maker.outcome(path)] += 1
        path.unlink()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200 * 1024
    # Many kinds of damage were met, and many files got through.
    assert len(outcomes) > 8
    assert outcomes["rows"] > FILES / 10


def test_any_columnar_file_gives_rows_or_one_of_our_errors(tmp_path):
    maker, outcomes = Maker(seed=6, columnar=1), collections.Counter()
    for number in range(6):  # each costs a process
        suffix, data = maker.file()
        assert suffix in COLUMNAR
        path = tmp_path / f"f{number}{suffix}"
        path.write_bytes(data)
        outcomes[maker.outcome(path)] += 1
    assert outcomes["E-FORMAT"]


WORD = st.text(
    st.one_of(
        st.sampled_from(",;\t\"' \u2028\x85\x0b\x1c\n\r"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    ),
    max_size=8,
)


@st.composite
def tables(draw):
    """Names and rows of one width, as RFC 4180 has them."""
    width = draw(st.integers(1, 4))
    rows = st.lists(st.lists(WORD, min_size=width, max_size=width), min_size=1, max_size=5)
    return [f"c{i}" for i in range(width)], draw(rows)


@settings(deadline=None, max_examples=100)
@given(
    tables(),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["\r\n", "\n"]),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"]),
)
def test_csv_is_read_as_python_reads_it(tmp_path_factory, table, quoting, end, mark, encoding):
    names, rows = table
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=mark, quoting=quoting, lineterminator=end).writerows([names, *rows])
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_bytes(out.getvalue().encode(encoding))
    kept = list(csv.reader(io.StringIO(out.getvalue(), newline=""), delimiter=mark))[1:]
    # A line of white space only is a blank line here.
    kept = [row for row in kept if row and not (len(row) == 1 and not row[0].strip())]
    # The writer leaves a lone CR unquoted where lines end in LF; the reader then sees two rows.
    assume(kept and all(len(row) == len(names) for row in kept))
    options = {"separator": mark, "encoding": encoding}
    found = open_rows(path, **options)
    assert list(found.names) == names
    assert [list(row) for row in zip(*map(found.column, range(len(names))), strict=True)] == kept
    assert [list(row.values()) for _, row in iterate(path, **options)] == kept
    # A row's line is where its first cell stands in the file.
    lines = io.StringIO(out.getvalue(), newline="").readlines()
    for line, row in zip(found.lines, kept, strict=True):
        first = row[0].replace('"', '""').replace("\r\n", "\n").replace("\r", "\n").split("\n")[0]
        assert lines[line - 1].removeprefix('"').startswith((first, '"' + first))


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.text(st.characters(exclude_categories=["Cs"]))),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.fixed_dictionaries({"a": VALUES, "b": VALUES}), min_size=1, max_size=5))
def test_json_lines_are_read_as_python_reads_them(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("jsonl") / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = open_rows(path)
    for index, name in enumerate(found.names):
        assert list(found.column(index)) == [row[name] for row in rows]
    assert [row for _, row in iterate(path)] == rows


@pytest.mark.parametrize("size", [1, 2, 3, 7, 4096])
def test_the_size_of_the_pieces_changes_nothing(tmp_path, monkeypatch, size):
    text = 'text,label\r\n"caf\xe9\r\n\u6211,""x""",pos\r\n\r\n\U0001f600\u2028,neg\r' * 3
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    whole = list(iterate(path))
    monkeypatch.setattr("howfar.data.decode._CHUNK", size)
    assert list(iterate(path)) == whole
