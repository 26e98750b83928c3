"""The card says what was measured, and user text in it stays text."""

import json
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from tests.bundle.making import AIMS, settings, training

from howfar.bundle.card import card, quoted, span
from howfar.record.training import Pretraining, Spent

EVIL = [
    "<script>alert(1)</script>",
    "a | b",
    "```\n# heading",
    "`",
    "``x`",
    "[x](javascript:alert(1))",
    "---\nlicense: mit",
    "\u202etxt.exe",
    "\x1b[31mred",
    "{{7*7}}",
    'a"b\\c',
    " ",
    "",
    "\u2028",
    "\x85",
    "caf\u00e9 \U0001f600",
]


def front(text):
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("\n---\n")[0][4:])


@pytest.mark.parametrize("aim", AIMS)
def test_every_aim_has_a_card_with_a_front_that_yaml_reads(aim):
    text = card(settings(aim), training(aim), 1234)
    data = front(text)
    assert data["library_name"] == "howfar"
    assert data["tags"] == ["howfar", "gru", aim]
    assert data["metrics"] == ["accuracy"]
    assert data["model-index"][0]["results"][0]["metrics"] == [{"type": "accuracy", "value": 0.9}]
    for said in ("1,234 parameters", "0.8 to 0.95", "TF-IDF", "seed 3", "10 steps", "8 words"):
        assert said in text
    assert ("generate" in text) == (aim == "lm")


def test_the_learning_curve_is_shown_where_there_is_one():
    shown = "![Training and validation loss against tokens seen](learning.svg)"
    text = card(settings(), training(), 1234, "learning.svg")
    assert text.index("## Training") < text.index(shown) < text.index("- data:")
    assert "![" not in card(settings(), training(), 1234)
    assert "![" not in card(settings(), None, 10, "learning.svg")


def test_a_model_that_was_not_trained_here():
    text = card(settings(), None, 10)
    assert "was not trained by howfar" in text
    assert "metrics" not in front(text)


def test_the_licence_of_the_data_is_said():
    import dataclasses

    made = training()
    data = dataclasses.replace(made.data, licence="CC BY 4.0", truncated_rows=3, duplicates=2)
    text = card(settings(), dataclasses.replace(made, data=data, status="stopped"), 10)
    assert front(text)["data_license"] == "CC BY 4.0"
    assert "3 of its own 90 rows were cut" in text
    assert "not done" in text


@pytest.mark.parametrize("text", EVIL)
def test_user_text_stays_text(text):
    made = card(settings(names=(text + "1", "b", "c")), training(name=text), 10)
    plain = card(settings(names=("a1", "b", "c")), training(name="a"), 10)
    assert made.count("\n") == plain.count("\n")
    assert front(made)["model-index"][0]["results"][0]["dataset"]["name"] == text
    assert all(c.isprintable() or c == "\n" for c in made)


@given(st.text(st.characters(exclude_categories=["Cs"])))
@profile(derandomize=True, max_examples=200, deadline=None)
def test_a_quoted_string_is_read_back(text):
    assert yaml.safe_load(quoted(text)) == text


@given(st.text(alphabet="a`| <\n#[]", max_size=12))
@profile(derandomize=True, max_examples=300, deadline=None)
def test_a_code_span_ends_where_its_text_ends(text):
    made = span(text)
    fence = made[: len(made) - len(made.lstrip("`"))]
    inner = made[len(fence) : -len(fence)]
    assert made.endswith(fence)
    assert fence not in inner
    assert "\n" not in made
    shown = (
        inner[1:-1] if inner.startswith(" ") and inner.endswith(" ") and inner.strip() else inner
    )
    assert shown.replace("U+000A", "\n").strip() == text.strip()


def test_a_bar_in_a_table_parts_no_cells():
    assert span("a|b", cell=True) == r"`a\|b`"
    assert json.dumps(span("a|b")) == '"`a|b`"'


def test_pretraining_stands_beside_training_and_both():
    early = Pretraining(kind="next", steps=7, tokens=300, flops=2 * 10**9, seconds=2.0)
    both = Spent(steps=17, tokens=800, flops=3 * 10**9, seconds=3.5)
    text = card(settings(), replace(training(), pretraining=early, total=both), 1234)
    assert "pretraining (`next`) on the training texts: 7 steps, 300 tokens, 2e+09 FLOPs" in text
    assert "training, without the pretraining: 10 steps, 500 tokens, 1e+09 FLOPs" in text
    assert "both together: 17 steps, 800 tokens, 3e+09 FLOPs" in text
    assert "pretraining" not in card(settings(), training(), 1234)
