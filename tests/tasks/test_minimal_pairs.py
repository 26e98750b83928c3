"""Minimal pairs: reading both kinds of files, shares, ties, intervals, baselines."""

import gzip
import json
import math
from collections import Counter

import pytest

from howfar.core.errors import DataError, UsageError
from howfar.measure.stats import wilson
from howfar.tasks.minimal_pairs import (
    CHANCE,
    Pair,
    baselines,
    preferences,
    read_pairs,
    shortness,
    unigram,
)

BLIMP = {
    "sentence_good": "Who should Derek hug after shocking Richard?",
    "sentence_bad": "Who should Derek hug Richard after shocking?",
    "linguistics_term": "island_effects",
    "UID": "adjunct_island",
    "pairID": "0",
    "simple_LM_method": True,
}
LINZEN = {
    "test": "sent_comp",
    "case": "sing",
    "sentences": ["the author laughs", "the author laugh"],
}
THREE = {
    "test": "npi",
    "case": "past",
    "sentences": ["no one ever", "one no ever", "most one ever"],
}


def written(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_both_kinds_of_files(tmp_path):
    path = written(tmp_path / "some.jsonl", BLIMP, LINZEN, THREE)
    want = [
        Pair(BLIMP["sentence_good"], BLIMP["sentence_bad"], "adjunct_island"),
        Pair("the author laughs", "the author laugh", "sent_comp"),
        Pair("no one ever", "one no ever", "npi"),
        Pair("no one ever", "most one ever", "npi"),
    ]
    assert read_pairs(path) == want
    packed = tmp_path / "some.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_pairs(packed) == want


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"text": "a", "label": "b"},
        {"sentence_good": "a", "UID": "x"},
        {"sentence_good": "a", "sentence_bad": " ", "UID": "x"},
        {"sentence_good": "a", "sentence_bad": "b"},
        {"sentence_good": "a", "sentence_bad": "b", "UID": None},
        {"test": "x", "sentences": "ab"},
        {"test": "x", "sentences": ["a"]},
        {"test": "x", "sentences": ["a", None]},
    ],
)
def test_rows_of_neither_kind_are_named(tmp_path, row):
    with pytest.raises(DataError, match=r"bad\.jsonl:2.*neither"):
        read_pairs(written(tmp_path / "bad.jsonl", BLIMP, row))


def test_broken_files_are_named(tmp_path):
    (tmp_path / "none.jsonl").write_text("\n")
    with pytest.raises(DataError, match="No pairs"):
        read_pairs(tmp_path / "none.jsonl")
    (tmp_path / "not.jsonl").write_text("what?\n")
    with pytest.raises(DataError, match=r"not\.jsonl:1"):
        read_pairs(tmp_path / "not.jsonl")
    with pytest.raises(UsageError, match="No file"):
        read_pairs(tmp_path / "missing.jsonl")


def test_shares_by_hand():
    """Four wins, three losses and a tie of one phenomenon, one loss of another: 4.5 of 9."""
    nats = {"good": 1.0, "bad": 2.0, "same": 1.0, "worse": 0.5}
    pairs = [Pair("good", "bad", "first")] * 4 + [Pair("good", "worse", "first")] * 3
    pairs += [Pair("good", "same", "first"), Pair("bad", "good", "second")]
    for rows in (1, 2, 256):
        found = preferences(pairs, lambda texts: [nats[text] for text in texts], rows=rows)
        assert found.chance == CHANCE == 0.5
        assert found.overall.share == 4.5 / 9
        first, second = found.phenomena
        assert (first.phenomenon, first.pairs, first.share) == ("first", 8, 4.5 / 8)
        assert (second.phenomenon, second.pairs, second.share) == ("second", 1, 0.0)


@pytest.mark.parametrize(("wins", "num"), [(0, 7), (7, 7), (3, 10), (650, 1000)])
def test_intervals_are_those_of_wilson(wins, num):
    nats = {"a": 1.0, "b": 2.0}
    pairs = [Pair("a", "b", "x")] * wins + [Pair("b", "a", "x")] * (num - wins)
    found = preferences(pairs, lambda texts: [nats[text] for text in texts]).overall
    assert (found.low, found.high) == pytest.approx(wilson(wins, num), abs=1e-12)


def test_unlikely_beyond_number():
    """Two impossible sentences are a tie; one is a loss for it."""
    nats = {"a": float("inf"), "b": float("inf"), "c": 3.0}
    pairs = [Pair("a", "b", "x"), Pair("c", "a", "x"), Pair("a", "c", "x")]
    assert preferences(pairs, lambda texts: [nats[t] for t in texts]).overall.share == 0.5


@pytest.mark.parametrize("answer", [[1.0], [[1.0, 2.0]], [float("nan"), 1.0]])
def test_what_is_no_surprise_is_refused(answer):
    with pytest.raises(UsageError, match="one number for each of 2 texts"):
        preferences([Pair("a", "b", "x")], lambda _: answer)
    with pytest.raises(UsageError, match="no pairs"):
        preferences([], lambda _: answer)


def test_the_shorter_sentence():
    assert shortness(["one two", "one two three"])[0] < shortness(["one two", "one two three"])[1]
    # Fewer words come before fewer characters.
    long, short = shortness(["extraordinarily unpronounceable", "a b c"])
    assert long < short
    assert shortness(["ab c"])[0] < shortness(["ab cd"])[0]


def test_common_words_by_hand():
    """Counts a 3, b 1: P = 4/7, 2/7 and 1/7 for all others; order and case do not matter."""
    nats = unigram(Counter({"a": 3, "b": 1}))
    assert nats(["A b.", "b a", "c"]) == pytest.approx(
        [math.log(7 / 4) + math.log(7 / 2)] * 2 + [math.log(7)]
    )
    pairs = [Pair("the cat sees", "cat the sees", "order"), Pair("the the", "dog dog", "words")]
    found = baselines(pairs, ["the the cat", "the dog"])
    assert [x.share for x in found["the commoner words"].phenomena] == [0.5, 1.0]
    assert set(baselines(pairs)) == {"the shorter sentence"}
