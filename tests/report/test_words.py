"""How numbers and strangers' texts are written: values worked by hand."""

import pytest

from howfar.record.comparison import Card, Data, Reach, Row, Score
from howfar.report import words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0"),
        (0.00213, "0.00213"),
        (3.14e-7, "3.14e-07"),
        (41.26, "41.3"),
        (100.0, "100"),
        (999.4, "999"),
        (999.6, "1,000"),
        (18_400.4, "18,400"),
        (-0.0412, "-0.0412"),
    ],
)
def test_number(value, text):
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (512, "512 B"), (16_896, "16.5 KiB"), (2 * 1024**2, "2.0 MiB")],
)
def test_size(value, text):
    assert words.size(value) == text


def test_visible_spells_out_what_would_hide_or_command():
    assert words.visible("a\x1b[1m\u202eb\u200b\ud800\n") == (
        "a[U+001B][1m[U+202E]b[U+200B][U+D800][U+000A]"
    )
    assert words.visible("naïve 日本語 \U0001f600 שלום") == "naïve 日本語 \U0001f600 שלום"


def test_shown_cleans_every_string_and_leaves_numbers(sample):
    clean = words.shown(sample.hostile())
    assert "\x1b" not in repr(clean).encode("unicode_escape").decode()
    assert "\u202e" not in clean.rows[3].family
    assert clean.rows[0].cost == sample.hostile().rows[0].cost
    assert any("[U+001B]" in label for label in clean.data.labels)


@pytest.mark.parametrize(
    ("reach", "text"),
    [
        (None, "-"),
        (Reach(kind="swap", window=64), "none"),
        (Reach(kind="swap", window=1024, censored=True), "> 1,024"),
        (Reach(kind="swap", window=64, value=9), "9"),
        (Reach(kind="swap", window=64, value=9, low=7, high=12), "9 [7, 12]"),
        (Reach(kind="swap", window=64, value=60, low=50), "60 [50, > 64]"),
    ],
)
def test_reach(reach, text):
    assert words.reach_text(reach) == text


def test_card_says_all_more_than_and_absent():
    card = Card(structural=64, structural_unbounded=True, used95=7, censored=("used99",))
    reach = Reach(kind="swap", window=64, value=7, card=card)
    names = ("structural", "used95", "used99", "useful")
    assert [words.card_text(reach, name) for name in names] == ["all", "7", "> 64", "-"]


def test_score():
    assert words.score_text(Score(name="a", value=0.5)) == "0.500"
    assert words.score_text(Score(name="a", value=0.5, low=0.4, high=0.6)) == "0.500 [0.400, 0.600]"


def test_data_line_of_a_task_counts_no_training_sequences():
    task = Data(kind="task", name="recall", unit="symbol", validation=128, test=640, length=64)
    assert words.data_line(task).startswith(
        "recall: fresh sequences to train, 128 to validate, 640 to test; up to 64 symbols"
    )
    text = Data(kind="text", name="x", unit="byte", train=1200, validation=7, test=8)
    assert "1,200 bytes to train, 7 to validate, 8 to test" in words.data_line(text)


def test_failure_and_task_reach():
    assert words.failure(Row(family="x", kind="y")) is None
    assert words.failure(Row(family="x", kind="y", status="stopped")) == (
        "stopped: no reason was recorded"
    )
    row = Row(family="x", kind="y", task_reach=254, task_reach_censored=True, by_distance=())
    assert words.task_reach_text(row) == ">= 254"
