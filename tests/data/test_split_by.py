"""Splits by column and by several labels: known answers, and no text or group on two sides."""

import itertools
from datetime import date, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from howfar.core.errors import DataError, UsageError
from howfar.data.split_by import blocks, known_to_train, parse_times, split_apart, split_times
from howfar.data.stratify import split_several


def lists(parts):
    return [part.tolist() for part in parts]


def test_blocks_by_hand():
    assert blocks(["a", "b", "a", "c"]) == [[0, 2], [1], [3]]
    # 0 and 2 share a text, 2 and 3 a group: so 0, 2 and 3 are one block.
    assert blocks(["a", "b", "a", "c"], [1, 2, 3, 3]) == [[0, 2, 3], [1]]
    assert blocks([], []) == []


def test_shares_without_labels_are_exact():
    parts = split_apart([str(i) for i in range(50)], seed=1)
    assert [len(part) for part in parts] == [40, 5, 5]
    assert sorted(np.concatenate(parts).tolist()) == list(range(50))
    again, other = (split_apart([str(i) for i in range(50)], seed=s) for s in (1, 2))
    assert lists(again) == lists(parts) != lists(other)


def test_groups_stay_whole():
    groups = [i // 4 for i in range(80)]
    parts = split_apart([str(i) for i in range(80)], groups=groups, seed=0)
    assert [len(part) for part in parts] == [64, 8, 8]
    for part in parts:
        assert all(groups.count(groups[row]) == sum(groups[r] == groups[row] for r in part)
                   for row in part)  # fmt: skip


def test_weights_decide_the_shares():
    # One document of half the text and 50 of a hundredth: validation and test get 10 each.
    weights = [50.0] + [1.0] * 50
    parts = split_apart(list(range(51)), weights=weights, seed=4)
    assert [len(part) for part in parts] == [31, 10, 10]
    assert 0 in parts[0]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9)), min_size=2, max_size=80),
    st.integers(0, 9),
    st.sampled_from([(0.8, 0.1, 0.1), (0.9, 0.1, 0.0), (0.9, 0.0, 0.1), (1.0, 0.0, 0.0)]),
)
def test_no_text_and_no_group_in_two_parts(rows, seed, fractions):
    keys, groups = zip(*rows, strict=True)
    try:
        parts = split_apart(keys, groups=groups, fractions=fractions, seed=seed)
    except DataError:
        assert len(blocks(keys, groups)) < sum(fraction > 0 for fraction in fractions)
        return
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(rows)))
    for values in (keys, groups):
        sides = [{values[i] for i in part} for part in parts]
        assert len(set.union(*sides)) == sum(map(len, sides))
    assert [len(part) > 0 for part in parts] == [fraction > 0 for fraction in fractions]


def test_too_few_groups():
    with pytest.raises(DataError, match="only 2 groups that share no text; a split needs 3"):
        split_apart(list("abcd"), groups=[1, 1, 2, 2], seed=0)
    with pytest.raises(DataError, match="only 1 different texts"):
        split_apart(["a"] * 9, seed=0)
    with pytest.raises(UsageError):
        split_apart(list("abcd"), fractions=(0.5, 0.1, 0.1), seed=0)


def test_labels_that_train_lacks_go_to_train():
    parts = tuple(map(np.asarray, ([0, 1], [2, 3, 4], [5, 6])))
    labels = [("a",), ("b",), ("a", "c"), ("b",), ("b",), ("a",), ("d",)]
    # Row 4 has the text of row 2, so it goes with it.
    moved = known_to_train(parts, ["k", "l", "m", "n", "m", "o", "p"], labels)
    assert lists(moved) == [[0, 1, 2, 4, 6], [3], [5]]
    same = known_to_train(parts, list(range(7)), [("a",)] * 7)
    assert lists(same) == lists(parts)
    with pytest.raises(DataError, match="only labels that no training row has"):
        known_to_train(parts, list(range(7)), [("a",)] * 5 + [("z",)] * 2)
    empty = tuple(map(np.asarray, ([0, 1], [2], np.empty(0, int))))
    assert lists(known_to_train(empty, [0, 1, 2], [("a",)] * 3))[2] == []


def test_time_by_hand():
    keys = [str(i) for i in range(10)]
    parts, moved = split_times(keys, [float(i) for i in range(10)])
    assert (lists(parts), moved) == ([list(range(8)), [8], [9]], 0)
    backwards, _ = split_times(keys, [-float(i) for i in range(10)])
    assert lists(backwards) == [list(range(2, 10)), [1], [0]]
    # Ties stay together: the times 7 and 9 are the only places near 80 % and 90 %.
    tied, _ = split_times(keys, [0, 0, 0, 0, 0, 0, 7, 7, 7, 9])
    assert lists(tied) == [[0, 1, 2, 3, 4, 5], [6, 7, 8], [9]]
    two, _ = split_times(keys, list(range(10)), fractions=(0.9, 0.1, 0.0))
    assert lists(two) == [list(range(9)), [9], []]
    tested, _ = split_times(keys, list(range(10)), fractions=(0.9, 0.0, 0.1))
    assert lists(tested) == [list(range(9)), [], [9]]
    whole, _ = split_times(keys, list(range(10)), fractions=(1.0, 0.0, 0.0))
    assert lists(whole) == [list(range(10)), [], []]


def test_a_text_counts_for_its_first_time():
    keys = [str(i) for i in range(9)] + ["0"]
    parts, moved = split_times(keys, [float(i) for i in range(10)])
    assert moved == 1
    assert 9 in parts[0]
    assert [len(part) for part in parts] == [8, 1, 1]


def test_too_few_times():
    with pytest.raises(DataError, match="only 2 different times"):
        split_times(list("abcd"), [1.0, 1.0, 2.0, 2.0])


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 30)), min_size=2, max_size=80),
    st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.5, 0.0), (0.9, 0.0, 0.1)]),
)
def test_later_parts_are_later(rows, fractions):
    keys, times = zip(*rows, strict=True)
    first = {key: min(t for k, t in rows if k == key) for key in keys}
    if len(set(first.values())) < sum(f > 0 for f in fractions):
        with pytest.raises(DataError):
            split_times(keys, times, fractions=fractions)
        return
    parts, _ = split_times(keys, times, fractions=fractions)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(rows)))
    spans = [[first[keys[i]] for i in part] for part in parts if len(part)]
    assert len(spans) == sum(f > 0 for f in fractions)
    assert all(max(a) < min(b) for a, b in itertools.pairwise(spans))


def test_times_are_numbers_or_dates():
    def parsed(*values):
        return parse_times(values, range(1, 99), "a.csv", "when")

    assert parsed("3", " 1.5 ", 2, "-4e2") == [3.0, 1.5, 2.0, -400.0]
    assert parsed("20240101", "20231231") == [20240101.0, 20231231.0]
    east = timezone(timedelta(hours=1))
    assert parsed("1970-01-02", "1970-01-01T00:01", "1970-01-01T01:00:00+01:00") == [86400, 60, 0]
    assert parsed(date(1970, 1, 2), datetime(1970, 1, 1, 1, tzinfo=east)) == [86400, 0]


@pytest.mark.parametrize(
    ("values", "part"),
    [
        (("1", ""), r"a.csv:3 \(column 'when'\): '' \(row 3\)"),
        (("1", None), "No time in a.csv:3"),
        (("1", "yesterday"), "'yesterday'"),
        (("nan",), "'nan'"),
        (("1e999",), "'1e999'"),
        ((True,), "'True'"),
        (("1", "2", "2024-01-01"), r"Mixed times in a.csv:4 .*dates and numbers \(dates: row 4\)"),
    ],
)
def test_what_is_no_time(values, part):
    with pytest.raises(DataError, match=part) as caught:
        parse_times(values, range(2, 99), "a.csv", "when")
    assert caught.value.code == "E-TIME"


def test_several_labels_have_their_shares():
    labels = [("a",)] * 20 + [("b",)] * 20 + [("a", "b")] * 10 + [()] * 10
    parts = split_several(list(range(60)), labels, seed=0)
    assert sorted(np.concatenate(parts).tolist()) == list(range(60))
    counts = [{n: sum(n in labels[i] for i in part) for n in "ab"} for part in parts]
    assert counts == [{"a": 24, "b": 24}, {"a": 3, "b": 3}, {"a": 3, "b": 3}]
    assert [len(part) for part in parts] == [48, 6, 6]


def test_rare_labels_are_spread_before_common_ones():
    labels = [("all", "rare") if i < 10 else ("all",) for i in range(100)]
    for seed in range(5):
        parts = split_several(list(range(100)), labels, seed=seed)
        assert [sum(i < 10 for i in part) for part in parts] == [8, 1, 1]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.sets(st.sampled_from("abc"))), min_size=2),
    st.sampled_from([(0.8, 0.1, 0.1), (0.9, 0.1, 0.0)]),
)
def test_several_labels_keep_texts_together(rows, fractions):
    keys = [key for key, _ in rows]
    parts = split_several(keys, [sorted(k) for _, k in rows], fractions=fractions, seed=1)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(rows)))
    sides = [{keys[i] for i in part} for part in parts]
    assert len(set.union(*sides)) == sum(map(len, sides))
    assert fractions[2] or not len(parts[2])
