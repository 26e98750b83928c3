"""No cell is a formula, every text can be restored, and numbers stay numbers."""

import csv
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from howfar.bundle.predict import Prediction
from howfar.bundle.tables import csv_bytes, json_lines, neutral, plain, rows_of

FULL_WIDTH = "\uff1d\uff0b\uff0d\uff20"
DANGER = "=+-@\t\r\n" + FULL_WIDTH


def prediction(label="good", probabilities=None, **given):
    return Prediction(
        **(
            {
                "label": label,
                "probabilities": probabilities,
                "tokens": 3,
                "cut": False,
                "empty": False,
            }
            | given
        )
    )


def restored(text):
    """Takes away what `neutral` put in: one mark at each place."""
    return re.sub(rf"""(^|[;,|"\t\r\n])'(?='*[{re.escape(DANGER)}])""", r"\1", text)


def parsed(data):
    return list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))


@pytest.mark.parametrize("start", list(DANGER))
def test_a_formula_is_neutralised_at_the_start_and_behind_separators(start):
    assert neutral(f"{start}cmd") == f"'{start}cmd"
    for separator in ';,|"':
        assert neutral(f"a{separator}{start}cmd") == f"a{separator}'{start}cmd"


def test_by_hand():
    assert neutral("") == ""
    assert neutral("plain text, with - and = inside") == "plain text, with - and = inside"
    assert neutral("-") == "'-"
    for number in ("-5", "+5", "-0.25", "1e-3", "-1.5E+10"):
        assert neutral(number) == number
    for formula in ("-5+3", "+A1", "-1e", "=5", "-5\n", "-\u0661"):
        assert neutral(formula).startswith("'")
    assert neutral("'=x") == "''=x"
    assert neutral("\t=x") == "'\t'=x"
    assert neutral("'quoted'") == "'quoted'"
    assert neutral('=HYPERLINK("http://x";"-y")') == '\'=HYPERLINK("http://x";"\'-y")'


@given(st.text(alphabet="ab'=+-@\t\r\n;,|\" " + FULL_WIDTH, max_size=12))
@profile(derandomize=True, max_examples=300, deadline=None)
def test_nothing_dangerous_is_left_and_the_text_can_be_restored(text):
    made = neutral(text)
    assert restored(made) == text
    for piece in re.split(r"""[;,|"\t\r\n]""", made):
        assert not piece or piece[0] not in "=+-@" + FULL_WIDTH
    assert not made or made[0] not in DANGER


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
@profile(derandomize=True, max_examples=200, deadline=None)
def test_any_text_goes_through_csv_and_json_lines(texts):
    found = [prediction(label=text) for text in texts]
    rows = list(rows_of(found, range(1, len(texts) + 1), kept={"text": texts}))
    header, *cells = parsed(csv_bytes(rows))
    assert header == ["text", "line", "prediction", "tokens", "cut", "empty"]
    assert [restored(row[0]) for row in cells] == texts
    assert [restored(row[2]) for row in cells] == texts
    assert [row[0] for row in parsed(csv_bytes(rows, raw=True))[1:]] == texts
    assert [
        json.loads(line)["text"] for line in json_lines(rows).decode().split("\n")[:-1]
    ] == texts


def test_numbers_stay_numbers():
    found = [prediction(label=-1.5, probabilities=None), prediction(label=2.0)]
    rows = list(rows_of(found, [1, 2], kept={"x": [-3, -0.5], "s": ["-3", "-x"]}))
    cells = parsed(csv_bytes(rows))[1:]
    assert [row[:4] for row in cells] == [["-3", "-3", "1", "-1.5"], ["-0.5", "'-x", "2", "2.0"]]


def test_probabilities_are_columns_whose_names_are_neutral():
    found = [prediction("=a", {"=a": 0.75, "b": 0.25}), prediction("b", {"=a": 0.25, "b": 0.75})]
    header, *cells = parsed(csv_bytes(rows_of(found, [2, 3], probabilities=True)))
    assert header == [
        "line",
        "prediction",
        "probability",
        "p(=a)",
        "p(b)",
        "tokens",
        "cut",
        "empty",
    ]
    assert cells[0] == ["2", "'=a", "0.75", "0.75", "0.25", "3", "false", "false"]
    assert "p(b)" not in parsed(csv_bytes(rows_of(found, [2, 3])))[0]


def test_names_of_ours_that_the_input_has():
    rows = list(rows_of([prediction()], [2], kept={"Prediction": ["x"], "line": [7]}))
    assert rows[0] == {
        "Prediction": "x",
        "line": 7,
        "howfar.line": 2,
        "howfar.prediction": "good",
        "tokens": 3,
        "cut": False,
        "empty": False,
    }


def test_labels_and_tags_are_joined():
    found = [prediction(("a", "b"), {"a": 0.9, "b": 0.8, "c": 0.1}), prediction((), {"a": 0.1})]
    cells = parsed(csv_bytes(rows_of(found, [1, 2])))
    assert [row[1] for row in cells] == ["prediction", "a|b", ""]
    assert "probability" not in cells[0]
    assert parsed(csv_bytes(rows_of([prediction(["N", "-V"])], [1])))[1][1] == "N|'-V"
    assert json.loads(json_lines(rows_of(found[:1], [1])))["prediction"] == ["a", "b"]


def test_plain_values():
    assert plain(float("nan")) is None
    assert plain(float("inf")) is None
    assert plain([1, (2.5, "x")]) == [1, [2.5, "x"]]
    assert plain(b"x") == "b'x'"
    assert csv_bytes([]) == b""
