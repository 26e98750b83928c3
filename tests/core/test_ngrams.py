"""Counting n-grams: a text counted by hand, and a slow twin."""

from collections import Counter

import numpy as np
import pytest

from howfar.core.errors import DataError
from howfar.core.ngrams import checked, count, look_up


def test_a_text_by_hand():
    one, two, three = count(np.asarray([0, 1, 0, 1, 1]), 3, 2)
    assert (one.keys.tolist(), one.counts.tolist(), one.contexts) == ([0, 1], [2, 3], 1)
    assert one.numbers.tolist() == [0, 1, 0, 1, 1]
    # 01, 10, 01, 11: a key is twice the context's number, and the last id
    assert (two.keys.tolist(), two.counts.tolist(), two.contexts) == ([1, 2, 3], [2, 1, 1], 2)
    assert two.numbers.tolist() == [0, 1, 0, 2]
    # 010, 101, 011
    assert (three.keys.tolist(), three.counts.tolist()) == ([0, 1, 3], [1, 1, 1])
    assert three.numbers.tolist() == [0, 2, 1]
    seen = look_up(two.keys, np.asarray([0, 1, -1, 1]), np.asarray([1, 1, 0, 0]), 2)
    assert seen.tolist() == [0, 2, -1, 1]
    assert look_up(two.keys, np.asarray([0]), np.asarray([0]), 2).tolist() == [-1]


@pytest.mark.parametrize("vocabulary", [1, 3, 2**40])
def test_counts_are_those_of_tuples(vocabulary):
    ids = np.random.default_rng(1).integers(0, vocabulary, 60)
    for n, grams in enumerate(count(ids, 100, vocabulary), start=1):
        tuples = [tuple(ids[i : i + n].tolist()) for i in range(len(ids) - n + 1)]
        named = {}
        for number, gram in zip(grams.numbers.tolist(), tuples, strict=True):
            assert named.setdefault(number, gram) == gram
        assert {named[i]: c for i, c in enumerate(grams.counts.tolist())} == Counter(tuples)
    assert n == 60


def test_no_text_and_wrong_ids():
    assert list(count(checked([], 3), 4, 3)) == []
    for ids in ([3], [0, -1]):
        with pytest.raises(DataError) as caught:
            checked(ids, 3)
        assert caught.value.code == "E-ID"
