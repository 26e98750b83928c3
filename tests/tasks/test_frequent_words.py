"""Frequent words: Zipf's law, ties, ladder."""

from collections import Counter

import numpy as np
import pytest
import torch

from howfar.core.errors import UsageError
from howfar.tasks.base import distances, scored
from howfar.tasks.frequent_words import FrequentWords, _led, zipf


def test_thresholds_by_hand():
    """Weights 1, 1/2, 1/4 are 4/7, 2/7, 1/7; two words at exponent 2: 4/5 and 1/5."""
    assert zipf(2, 2).tolist() == [(4 << 32) // 5]
    assert zipf(2, 1).tolist() == pytest.approx([2**33 / 3], abs=1)
    harmonic = 1 + 1 / 2 + 1 / 3
    assert zipf(3, 1).tolist() == pytest.approx([2**32 / harmonic, 2**32 * 1.5 / harmonic], abs=1)


def test_a_tie_is_broken_in_the_text():
    rows = np.array([[2, 1, 2, 1], [0, 1, 2, 3], [3, 3, 1, 3], [1, 0, 0, 0]])
    assert _led(rows, 4).tolist() == [1, 0, 3, 0]
    assert rows.tolist() == [[2, 1, 1, 1], [0, 1, 2, 0], [3, 3, 1, 3], [1, 0, 0, 0]]


@pytest.mark.parametrize("exponent", [1, 2])
@pytest.mark.parametrize("length", [4, 33, 256, 4096])
def test_one_word_leads_and_is_the_answer(exponent, length):
    task = FrequentWords(exponent=exponent).at_length(length)
    batch = task.batch(range(200), split="test")
    assert torch.equal(task.oracle(batch), scored(batch))
    assert (distances(batch) == length - 1).all()
    for row, answer in zip(batch.tokens.tolist(), scored(batch).tolist(), strict=True):
        assert row[-1] == task.vocabulary - 1
        first, *others = Counter(row[:-1]).most_common()
        assert first[0] - 1 == answer
        assert all(count < first[1] for _, count in others)
        assert min(row) >= 1


def slow_window(row, window):
    counts = Counter(row[-window:-1])
    most = max(counts.values())
    return min(word for word, count in counts.items() if count == most) - 1


def test_the_ladder():
    task = FrequentWords(exponent=2, words=16, length=512)
    batch = task.batch(range(5000), split="test")
    right = {
        name: float((rule(batch) == scored(batch)).double().mean())
        for name, rule in task.shortcuts.items()
    }
    error = (0.25 / 5000) ** 0.5
    assert abs(right["always the same word"] - 1 / 16) < 3 * error
    first = 1 / sum(rank**-2 for rank in range(1, 17))  # the law's first word leads at this length
    assert abs(right["the last word"] - first) < 3 * error
    for window in (8, 32):
        want = [slow_window(row, window) for row in batch.tokens[:300].tolist()]
        assert task.shortcuts[f"counts the last {window} tokens"](batch)[:300].tolist() == want
    counts = np.bincount(scored(batch).numpy(), minlength=16)
    assert ((counts - 312.5) ** 2 / 312.5).sum() < 45  # chi-squared, 15 degrees: 1e-4


def test_items_do_not_depend_on_their_batch():
    task = FrequentWords()
    whole = task.batch(range(28)).tokens
    for shards in (1, 2, 7):
        for shard in range(shards):
            numbers = list(range(shard, 28, shards))
            assert torch.equal(task.batch(numbers).tokens, whole[numbers])
    assert not torch.equal(whole, task.batch(range(28), split="test").tokens)
    assert not torch.equal(whole, FrequentWords(seed=1).batch(range(28)).tokens)


@pytest.mark.parametrize(
    ("settings", "inequality"),
    [
        ({"words": 1}, "2 <= words <= 65536"),
        ({"exponent": 0}, "1 <= exponent <= 4"),
        ({"length": 3}, "length >= 4"),
    ],
)
def test_bad_settings_are_named(settings, inequality):
    with pytest.raises(UsageError, match=inequality):
        FrequentWords(**settings)
