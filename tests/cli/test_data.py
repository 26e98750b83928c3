"""`howfar data` from a shell: what is printed, written, refused."""

import json
import subprocess
import sys

import pytest
from tests.cli.conftest import reviews, write_csv

from howfar.cli import cli
from howfar.cli.data import data_command
from howfar.record.codec import from_data
from howfar.record.described import Cutting, Described, Lengths
from howfar.report.described import render_described
from howfar.report.lengths import length_chart


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(cli.commands, "data", data_command)


def test_a_table(howfar, table, tmp_path):
    ended = howfar("data", table.name)
    assert ended.code == 0, ended.err
    assert ended.out.startswith("reviews.csv: a table of 80 rows, 2 columns\n")
    assert "labels      2: negative 40 (50.0 %), positive 40 (50.0 %)" in ended.out
    assert "scripts     Latin 100.0 % of the letters" in ended.out
    assert "#" * 40 in ended.out
    assert "note: The text column 'text' was guessed." in ended.out
    assert max(map(len, ended.out.splitlines())) <= 100
    assert all(line == line.rstrip() for line in ended.out.splitlines())
    assert [path.name for path in tmp_path.iterdir()] == ["reviews.csv"]


def test_json_and_files(howfar, table, tmp_path):
    write_csv(tmp_path / "test.csv", reviews()[:4])
    ended = howfar("data", table.name, "--test", "test.csv", "--json", "--out", "seen")
    assert ended.code == 0, ended.err
    assert ended.out.count("\n") == 1
    found = from_data(Described, ended.document)
    assert (found.rows, found.beside.known, found.beside.exact) == (80, 4, 4)
    assert found.report == "seen"
    names = {path.name for path in (tmp_path / "seen").iterdir()}
    assert names == {"data.json", "lengths.svg", "lengths.png"}
    assert json.loads((tmp_path / "seen" / "data.json").read_text())["rows"] == 80
    assert "W-LEAK 4 (100.0 %)" in howfar("data", table.name, "--test", "test.csv").out


@pytest.mark.parametrize(
    ("content", "arguments", "code", "part"),
    [
        ("", (), 3, "E-EMPTY"),
        ("text,label\n", (), 3, "E-EMPTY"),
        ("text,label\na,b,c\n", (), 3, "E-RAGGED"),
        ("text,label\na,b\n", ("--label", "lable"), 3, "E-COLUMN"),
        ("text,label\na,b\n", ("--length", "0"), 2, "E-OPTION"),
        ("text,label\na,b\n", ("--tokens", "letters"), 2, "E-OPTION"),
        ("text,label\n ,b\n", (), 3, "E-EMPTY"),
        ("text;label\na;b\n", (), 3, "E-DELIM"),
        ("text,label\na,b\n", ("--test", "none.csv"), 2, "E-NO-FILE"),
        ('text,label\n"a"b,c\n', (), 3, "E-QUOTE"),
        ("text,label\na,b\n", ("--quote", "'"), 2, "E-OPTION"),
    ],
)
def test_what_cannot_be_described(howfar, tmp_path, content, arguments, code, part):
    (tmp_path / "a.csv").write_text(content)
    ended = howfar("data", "a.csv", *arguments)
    assert ended.code == code, ended.out
    assert part in ended.err
    assert ended.err.count("error[") == 1
    assert "Traceback" not in ended.err
    assert not ended.out
    told = howfar("data", "a.csv", *arguments, "--json")
    assert told.document["error"]["code"] == part


def test_rows_left_out_are_listed(howfar, tmp_path):
    (tmp_path / "a.csv").write_text("text,label\na,b,c\n" + "x y,n\nz,p\n" * 9)
    ended = howfar("data", "a.csv", "--bad-rows", "skip", "--rejects", "r.jsonl")
    assert ended.code == 0, ended.err
    assert "a table of 18 rows, 2 columns, 1 left out" in ended.out
    assert json.loads((tmp_path / "r.jsonl").read_text())["code"] == "E-RAGGED"


def test_hostile_names_are_shown_as_text(howfar, tmp_path):
    rows = [(f"text {i}", ("\x1b[31mred", "\u202eevil")[i % 2]) for i in range(20)]
    write_csv(tmp_path / "a.csv", rows, names=("text", "<script>"))
    ended = howfar("data", "a.csv", "--out", "seen")
    assert ended.code == 0, ended.err
    assert "\x1b" not in ended.out
    assert "\u202e" not in ended.out
    assert "<script>" in ended.out
    assert "<script>" not in (tmp_path / "seen" / "lengths.svg").read_text()


def test_standard_input_and_no_torch(tmp_path):
    code = (
        "import sys\n"
        "from howfar.cli import cli, main\n"
        "from howfar.cli.data import data_command\n"
        "cli.add_command(data_command)\n"
        "try:\n    main(['data', '-'])\n"
        "finally:\n    print({'torch', 'altair', 'sklearn'} & set(sys.modules), file=sys.stderr)\n"
    )
    lines = "".join(json.dumps({"text": t, "label": k}) + "\n" for t, k in reviews())
    ended = subprocess.run(
        [sys.executable, "-c", code], input=lines, capture_output=True, text=True, cwd=tmp_path
    )
    assert ended.returncode == 0, ended.stderr
    assert "-: a table of 80 rows" in ended.stdout
    assert ended.stderr.split()[-1] == "set()"


def described(counts, starts, **more):
    lengths = Lengths(
        unit="word", total=9, shortest=starts[0], median=1, p90=1, p95=1, longest=starts[-1],
        starts=starts, counts=counts,
    )  # fmt: skip
    return Described(name="a.csv", kind="table", rows=sum(counts), lengths=lengths, **more)


def test_bars_by_hand():
    cutting = Cutting(length=5, unit="word", rows=1, tokens=2)
    said = render_described(described((1, 0, 80, 4), (0, 1, 2, 4), cutting=cutting))
    bars = said.splitlines()[-4:]
    assert bars == [
        "              0          1  #",
        "              1          0",
        "            2-3         80  " + "#" * 40,
        "            4-7          4  ##  < cut at 5",
    ]


@pytest.mark.parametrize(
    ("counts", "starts"), [((1,), (0,)), ((3,), (1,)), ((1, 0, 2), (0, 1, 2)), ((7,), (1 << 40,))]
)
def test_every_histogram_can_be_drawn(counts, starts):
    drawing = length_chart(described(counts, starts))
    assert drawing.startswith("<svg")
    assert "word" in drawing
    assert length_chart(Described(name="a", kind="table", rows=0)) is None
