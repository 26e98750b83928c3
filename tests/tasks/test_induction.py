"""Induction head: an item by hand, where S stands, rungs, counts that tell nothing, refusals."""

import numpy as np
import pytest
import torch

from howfar.core.batch import IGNORED, Batch
from howfar.core.errors import UsageError
from howfar.tasks.base import distances, scored
from howfar.tasks.induction import Induction


def test_one_item_by_hand():
    """3 1 S 2 1 S with four symbols."""
    task = Induction(length=6, kinds=4)
    batch = Batch(
        torch.tensor([[4, 2, 5, 3, 2, 5]]), torch.tensor([6]), torch.full((1, 6), IGNORED)
    )
    assert " ".join(task.symbols[number] for number in batch.tokens[0]) == "3 1 S 2 1 S"
    assert task.oracle(batch).tolist() == [2]
    assert task.shortcuts["the symbol before the end"](batch).tolist() == [1]
    assert task.shortcuts["the most frequent symbol"](batch).tolist() == [1]


@pytest.mark.parametrize("length", [3, 4, 30])
def test_s_stands_once_before_the_end_and_anywhere(length):
    task = Induction(length=length, kinds=3)
    batch = task.batch(range(3000))
    far = distances(batch)
    for row, target, distance in zip(batch.tokens.tolist(), scored(batch), far, strict=True):
        assert row.count(4) == 2
        assert row[-1] == 4
        place = row.index(4)
        assert distance == length - 1 - place
        assert row[place + 1] - 1 == target
    share = np.bincount(far.numpy(), minlength=length)[2:] / 3000
    assert np.abs(share - 1 / (length - 2)).max() < 4 * (1 / (length - 2) / 3000) ** 0.5


def test_rungs_and_chance():
    """Closed forms; the most frequent symbol, which would score .09 if frequent ones were drawn."""
    task = Induction()
    batch = task.batch(range(8000), split="test")
    target = scored(batch)
    kept = 1 / 254
    want = {
        "always the same symbol": 1 / 16,
        "the symbol before the end": kept + (1 - kept) / 16,
        "the most frequent symbol": 1 / 16,
        "sees the last 8 tokens": 6 / 254 + (1 - 6 / 254) / 16,
        "sees the last 32 tokens": 30 / 254 + (1 - 30 / 254) / 16,
    }
    assert set(task.shortcuts) == set(want)
    for name, rule in task.shortcuts.items():
        score = float((rule(batch) == target).double().mean())
        assert abs(score - want[name]) < 3 * (want[name] * (1 - want[name]) / 8000) ** 0.5
    most = [np.bincount(row[row < 17], minlength=17)[1:].argmax() for row in batch.tokens.numpy()]
    assert task.shortcuts["the most frequent symbol"](batch).tolist() == most


def test_symbols_are_even_next_to_s_too():
    tokens = Induction(length=34, kinds=4).batch(range(4000)).tokens.numpy()
    share = np.bincount(tokens[tokens < 5], minlength=5)[1:] / (4000 * 32)
    assert np.abs(share - 1 / 4).max() < 0.006


@pytest.mark.parametrize(
    ("settings", "inequality"), [({"length": 2}, "length >= 3"), ({"kinds": 1}, "kinds >= 2")]
)
def test_refusals(settings, inequality):
    with pytest.raises(UsageError, match=inequality):
        Induction(**settings)
