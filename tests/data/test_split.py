"""Splitting: shares by label, equal texts together, and the labels that cannot be split."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from howfar.core.errors import DataError, UsageError
from howfar.core.seeds import Seeds
from howfar.data.draws import generator
from howfar.data.split import duplicates, leaks, normalised, split_rows


def test_streams_are_those_of_core_seeds():
    ours, theirs = generator(17, "split/pos"), Seeds(17).numpy("split/pos")
    assert ours.permutation(100).tolist() == theirs.permutation(100).tolist()


def test_shares_are_exact_by_label():
    labels = ["a"] * 100 + ["b"] * 20
    parts = split_rows([str(i) for i in range(120)], labels, seed=1)
    counts = [Counter(labels[i] for i in part) for part in parts]
    assert counts == [{"a": 80, "b": 16}, {"a": 10, "b": 2}, {"a": 10, "b": 2}]
    assert sorted(np.concatenate(parts).tolist()) == list(range(120))


def test_same_seed_same_split_and_labels_are_independent():
    keys, labels = [str(i) for i in range(90)], ["a", "b", "c"] * 30
    first, again = split_rows(keys, labels, seed=3), split_rows(keys, labels, seed=3)
    other = split_rows(keys, labels, seed=4)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert first[2].tolist() != other[2].tolist()
    fewer = [i for i in range(90) if labels[i] != "c"]
    without = split_rows([keys[i] for i in fewer], [labels[i] for i in fewer], seed=3)
    assert [fewer[i] for i in without[2]] == [i for i in first[2] if labels[i] != "c"]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 25), st.integers(0, 2)), min_size=2, max_size=120),
    st.integers(0, 99),
    st.sampled_from([(0.8, 0.1, 0.1), (0.2, 0.4, 0.4), (0.9, 0.1, 0.0), (0.5, 0.0, 0.5)]),
    st.sampled_from(["error", "drop"]),
)
def test_equal_texts_never_straddle_parts(rows, seed, fractions, rare):
    keys, labels = [str(key) for key, _ in rows], [str(label) for _, label in rows]
    try:
        parts = split_rows(keys, labels, fractions=fractions, seed=seed, rare=rare)
    except DataError:
        return
    sides = [{keys[i] for i in part} for part in parts]
    assert len(set.union(*sides)) == sum(map(len, sides))
    used = np.concatenate(parts).tolist()
    assert len(set(used)) == len(used)
    kept = {labels[i] for i in used}
    if rare == "error":
        assert len(used) == len(rows)
    assert len(used) == sum(label in kept for label in labels)
    for part, fraction in zip(parts, fractions, strict=True):
        assert {labels[i] for i in part} == (kept if fraction else set())


def test_a_large_group_does_not_overfill_a_part():
    keys = [f"{label} same" for label in "ab" for _ in range(60)]
    keys += [f"{label} {i}" for label in "ab" for i in range(40)]
    for seed in range(10):
        parts = split_rows(keys, [key[0] for key in keys], seed=seed)
        assert [len(part) for part in parts[1:]] == [20, 20]


def test_too_few_texts_of_a_label():
    keys, labels = [str(i) for i in range(12)], ["a"] * 5 + ["b"] * 5 + ["rare"] * 2
    with pytest.raises(DataError, match="'rare' has 2 different texts; it needs 3") as caught:
        split_rows(keys, labels, seed=0)
    assert caught.value.code == "E-TOO-FEW"
    assert "--rare drop" in caught.value.hint
    used = np.concatenate(split_rows(keys, labels, seed=0, rare="drop"))
    assert sorted(used.tolist()) == list(range(10))
    # Many rows of one text are one text.
    with pytest.raises(DataError, match="has 1 different texts"):
        split_rows(["x"] * 9 + keys, ["dup"] * 9 + ["a"] * 6 + ["b"] * 6, seed=0)
    # Two parts need only two.
    split_rows(keys, labels, fractions=(0.9, 0.1, 0.0), seed=0)


@pytest.mark.parametrize(
    ("labels", "code"),
    [
        (["a"], "E-TOO-FEW"),
        (["a"] * 9, "E-ONE-CLASS"),
        ([str(i) for i in range(12)], "E-LABEL-CARD"),
        ([str(i % 1001) for i in range(5005)], "E-LABEL-CARD"),
        (["a", "b"], "E-TOO-FEW"),
    ],
)
def test_labels_that_cannot_be_split(labels, code):
    with pytest.raises(DataError) as caught:
        split_rows([str(i) for i in range(len(labels))], labels, seed=0)
    assert caught.value.code == code


@pytest.mark.parametrize("fractions", [(0.0, 0.5, 0.5), (0.8, 0.1, 0.2), (1.2, -0.1, -0.1)])
def test_fractions_must_be_shares(fractions):
    with pytest.raises(UsageError):
        split_rows(["a", "b"], ["x", "y"], fractions=fractions, seed=0)


def test_normalised():
    assert normalised(" Caf\u0065\u0301\u00a0\tBAR\n") == "caf\u00e9 bar"
    assert normalised("\uff21\ufb01") == "afi"
    assert normalised("STRASSE") == normalised("Stra\u00dfe")
    assert normalised(" A\x1fb\tC ") == "a b c"


@given(st.text(st.characters(max_codepoint=127)))
def test_the_short_way_for_ascii_is_the_long_way(text):
    assert normalised(text) == normalised(text + " \u2003")


def test_leaks_and_duplicates():
    assert leaks(["a", "b", "a", "c"], ["a", "d"]).tolist() == [0, 2]
    assert duplicates(["a", "b", "a", "a"]) == 2
