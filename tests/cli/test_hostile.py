"""Texts, labels and names that would like to be commands are shown, and obeyed never."""

import re

import pytest
from tests.cli.conftest import QUICK, reviews, write_csv

SCRIPT = "<script>window.pwned=1</script>"
MARKUP = "[bold red]shout[/bold red] [link=http://x]here[/link] :smile:"
ESCAPE = "\x1b[31mred\x1b]0;title\x07"
TURNED = "\u202eright to left\u2066\u200b"
COMMANDS = re.compile("[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def hostile(tmp_path):
    name = {"positive": f"{SCRIPT}{MARKUP}", "negative": f"{ESCAPE}{TURNED}"}
    rows = [
        (f"{text} {SCRIPT} {MARKUP} {ESCAPE} {TURNED} {{{{7*7}}}} </script>", name[label])
        for text, label in reviews(60)
    ]
    path = tmp_path / f"<b>[bold]{ESCAPE}{TURNED}&amp;.csv"
    return write_csv(path, rows, names=(f"{MARKUP}{SCRIPT}", f"kind{ESCAPE}{TURNED}"))


@pytest.mark.parametrize("tokens", ["word", "char"])
def test_a_table_of_commands(howfar, hostile, tmp_path, tokens):
    ended = howfar("compare", hostile.name, *QUICK, "--length", "24", "--tokens", tokens)
    assert ended.code == 0, ended.err
    assert not COMMANDS.search(ended.out)
    assert not COMMANDS.search(ended.err)
    assert "<b>[bold][U+001B][31mred" in ended.out
    assert ":smile:" in ended.err  # of the guessed column's name: shown, and no picture
    page = (tmp_path / "howfar-report" / "report.html").read_text(encoding="utf-8")
    assert SCRIPT not in page
    assert not COMMANDS.search(page.replace("\t", ""))
    assert "&lt;b&gt;[bold][U+001B][31mred" in page


def test_a_column_that_is_not_there(howfar, hostile):
    ended = howfar("compare", hostile.name, *QUICK, "--text", f"{ESCAPE}{SCRIPT}")
    assert ended.code == 3
    assert not COMMANDS.search(ended.err)
    assert ended.err.count("\n") == 1


def test_an_out_folder_with_commands_in_its_name(howfar, table):
    out = f"[bold]{ESCAPE}<i>"
    ended = howfar("compare", table.name, *QUICK, "--length", "16", "--out", out)
    assert ended.code == 0
    assert not COMMANDS.search(ended.out)
    assert "report: '[bold]\\x1b[31mred" in ended.out


def test_texts_of_any_script_and_none(howfar, tmp_path):
    odd = [
        "\u4e2d\u6587\u7535\u5f71",
        "\u05e9\u05dc\u05d5\u05dd",
        "\U0001f469\u200d\U0001f680",
        "e\u0301" * 9,
        "\u2028x\u0085y\x0bz",
        "!!!",
    ]
    rows = [(f"{odd[i % 6]} {text}", label) for i, (text, label) in enumerate(reviews(60))]
    write_csv(tmp_path / "odd.csv", rows)
    for tokens in ("word", "char", "byte", "bpe"):
        ended = howfar("compare", "odd.csv", *QUICK, "--length", "16", "--tokens", tokens, "--json")
        assert ended.code == 0, ended.err
        assert ended.out.isascii()
        assert ended.document["data"]["rows"] == 60
