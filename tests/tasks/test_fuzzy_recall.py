"""Fuzzy recall: an item by hand, keys that differ, rungs by slow loops, refusals."""

import numpy as np
import pytest
import torch

from howfar.core.batch import IGNORED, Batch
from howfar.core.errors import UsageError
from howfar.tasks.base import scored
from howfar.tasks.fuzzy_recall import FuzzyRecall
from howfar.tasks.streams import Draws


def test_one_item_by_hand():
    """k1 k0 | 2 3, k0 | 1, then .0 k0 | 1 and k1 k0 | 2 3 after each other."""
    task = FuzzyRecall(length=16, pairs=2, keys=2, values=4, key_tokens=2, value_tokens=2, filler=1)
    row = torch.tensor([[2, 1, 5, 6, 1, 4, 7, 1, 4, 2, 1, 5, 6, 7, 7, 7]])
    batch = Batch(row, torch.tensor([16]), torch.full((1, 16), IGNORED))
    assert task.oracle(batch).tolist() == [1, 2, 3]
    assert task.shortcuts["what stood behind the token read"](batch).tolist() == [1, 1, 3]
    assert task.shortcuts["sees the last 8 tokens"](batch).tolist() == [1, 0, 0]


def test_keys_differ_and_sizes_are_uniform():
    task = FuzzyRecall(keys=4, pairs=4)
    lists = task._lists(Draws("lists", range(6000)))
    for sizes, keys in zip(lists.key_sizes.tolist(), lists.keys.tolist(), strict=True):
        found = {tuple(key[:size]) for size, key in zip(sizes, keys, strict=True)}
        assert len(found) == 4
    for size_BN in (lists.key_sizes, lists.value_sizes):
        share = np.bincount(size_BN[:, 0], minlength=4)[1:] / 6000
        assert np.abs(share - 1 / 3).max() < 0.025
    alone = lists.key_sizes == 1  # of one symbol: every symbol as often, wherever it is listed
    for place in range(4):
        share = np.bincount(lists.keys[alone[:, place], place, 0], minlength=4)
        assert np.abs(share / share.sum() - 1 / 4).max() < 0.04


def test_questions_stand_anywhere_behind_the_list():
    """One pair of one symbol each: the list takes 2 tokens, the question any of 7 places."""
    task = FuzzyRecall(length=10, pairs=1, key_tokens=1, value_tokens=1)
    at = (task.batch(range(7000)).targets != IGNORED).nonzero()[:, 1]
    share = np.bincount(at.numpy(), minlength=9)[2:] / 7000
    assert len(share) == 7
    assert np.abs(share - 1 / 7).max() < 0.017


def test_rungs_by_a_slow_reading():
    task = FuzzyRecall(pairs=5)
    batch = task.batch(range(2000), split="test")
    behind = []
    for row, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        after = {}
        for at, token in enumerate(row):
            if targets[at] != IGNORED:
                follower = after.get(token, 0)
                behind.append(follower - 9 if 9 <= follower <= 16 else 0)
            after[token] = row[at + 1] if at + 1 < len(row) else 0
    assert task.shortcuts["what stood behind the token read"](batch).tolist() == behind
    target = scored(batch)
    constant = task.shortcuts["always the same value"](batch)
    error = (1 / 8 / len(target)) ** 0.5
    assert abs(float((constant == target).double().mean()) - task.chance) < 3 * error
    assert task.state_bits == 5 * 3 * 3


@pytest.mark.parametrize(
    ("settings", "inequality"),
    [
        ({"length": 47}, r"2 \* pairs \* \(key_tokens \+ value_tokens\) <= length"),
        ({"keys": 3}, "keys >= pairs"),
        ({"key_tokens": 0}, "key_tokens >= 1"),
        ({"value_tokens": 0}, "value_tokens >= 1"),
        ({"keys": 2000}, r"keys \*\* key_tokens < 2\*\*31"),
    ],
)
def test_refusals(settings, inequality):
    with pytest.raises(UsageError, match=inequality):
        FuzzyRecall(**settings)
