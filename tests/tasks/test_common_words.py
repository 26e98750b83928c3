"""Common words: counts by hand, closed forms of the ladder."""

from collections import Counter

import pytest
import torch

from howfar.core.errors import UsageError
from howfar.tasks.base import distances, scored
from howfar.tasks.common_words import CommonWords


@pytest.mark.parametrize(
    ("settings", "common"),
    [
        ({"length": 68, "words": 64, "times": 4}, 4),  # 67 = 4 + 63
        ({"length": 257, "words": 64, "times": 4}, 15),  # 1024 // 67
        ({"length": 4, "words": 64, "times": 4}, 2),  # 2 + 1
        ({"length": 9, "words": 2, "times": 2}, 5),  # 5 + 3
        ({"length": 8, "words": 2, "times": 3}, 5),  # 21 // 4 = 5, and 2
    ],
)
def test_how_often_the_common_word_occurs(settings, common):
    task = CommonWords(**settings)
    assert task.common == common
    batch = task.batch(range(100))
    assert torch.equal(task.oracle(batch), scored(batch))
    for row, answer in zip(batch.tokens.tolist(), scored(batch).tolist(), strict=True):
        assert row[-1] == task.words + 1
        (first, times), *others = Counter(row[:-1]).most_common()
        assert (first - 1, times) == (answer, common)
        counts = [count for _, count in others] or [0]
        if len(row) > task.words:
            assert len(others) == task.words - 1
            assert max(counts) - min(counts) <= 1
        assert max(counts) < common


@pytest.mark.parametrize("length", [4, 65, 4096])
def test_oracle_and_distance(length):
    batch = CommonWords().at_length(length).batch(range(40), split="test")
    assert torch.equal(CommonWords().oracle(batch), scored(batch))
    assert (distances(batch) == length - 1).all()
    assert int(batch.tokens.min()) >= 1
    assert int(batch.tokens.max()) == CommonWords().vocabulary - 1


def slow_window(row, window):
    counts = Counter(row[-window:-1])
    most = max(counts.values())
    return min(word for word, count in counts.items() if count == most) - 1


def test_the_ladder():
    task = CommonWords(words=8, times=3, length=101)
    batch = task.batch(range(6000), split="test")
    right = {
        name: float((rule(batch) == scored(batch)).double().mean())
        for name, rule in task.shortcuts.items()
    }
    error = (0.25 / 6000) ** 0.5
    assert abs(right["always the same word"] - task.chance) < 3 * error
    assert task.chance == 1 / 8
    assert abs(right["the last word"] - task.common / 100) < 3 * error
    for window in (8, 32):
        rule = task.shortcuts[f"counts the last {window} tokens"]
        want = [slow_window(row, window) for row in batch.tokens[:300].tolist()]
        assert rule(batch)[:300].tolist() == want
    assert (
        right["the last word"]
        < right["counts the last 8 tokens"]
        < right["counts the last 32 tokens"]
        < 0.99
    )


def test_items_do_not_depend_on_their_batch():
    task = CommonWords()
    whole = task.batch(range(28)).tokens
    for shards in (1, 2, 7):
        for shard in range(shards):
            numbers = list(range(shard, 28, shards))
            assert torch.equal(task.batch(numbers).tokens, whole[numbers])
    assert not torch.equal(whole, task.batch(range(28), split="test").tokens)
    assert not torch.equal(whole, CommonWords(seed=1).batch(range(28)).tokens)


@pytest.mark.parametrize(
    ("settings", "inequality"),
    [({"words": 1}, "words >= 2"), ({"times": 1}, "times >= 2"), ({"length": 3}, "length >= 4")],
)
def test_bad_settings_are_named(settings, inequality):
    with pytest.raises(UsageError, match=inequality):
        CommonWords(**settings)
