"""Forgetting recall: an item by hand, what is stated twice, rungs, refusals."""

import pytest
import torch

from howfar.core.batch import IGNORED, Batch
from howfar.core.errors import UsageError
from howfar.tasks.base import scored
from howfar.tasks.forgetting_recall import ForgettingRecall


def test_one_item_by_hand():
    """k7 3 k2 5 k7 8 .1 .4 k2 .9 .0 .6 k7 .2 with 9 values: the latest of k7 is 8."""
    task = ForgettingRecall(length=14, pairs=2, updates=1, keys=8, values=9, filler=10)
    row = torch.tensor([[8, 12, 3, 14, 8, 17, 19, 22, 3, 27, 18, 24, 8, 20]])
    batch = Batch(row, torch.tensor([14]), torch.full((1, 14), IGNORED))
    assert task.oracle(batch).tolist() == [5, 8]
    assert task.shortcuts["never forgets"](batch).tolist() == [5, 3]
    assert task.shortcuts["sees the last 8 tokens"](batch).tolist() == [5, 0]


@pytest.mark.parametrize("updates", [0, 1, 3, 4])
def test_updates_and_rungs(updates):
    task = ForgettingRecall(updates=updates)
    batch = task.batch(range(2000), split="test")
    target = scored(batch)
    list_end = 2 * (4 + updates)
    for row in batch.tokens[:300].tolist():
        keys, values = row[:list_end:2], row[1:list_end:2]
        assert len(set(values)) == 4 + updates
        assert sorted(keys.count(key) for key in set(keys)) == [1] * (4 - updates) + [2] * updates
    score = {
        name: float((rule(batch) == target).double().mean())
        for name, rule in task.shortcuts.items()
    }
    assert score["never forgets"] == 1 - updates / 4
    live = 0  # rows whose first value is still valid
    for row in batch.tokens.tolist():
        live += row[0] not in row[2:list_end:2]
    assert score["a value of the list"] == pytest.approx(live / 4 / 2000)
    assert abs(score["always the same value"] - 1 / 128) < 3 * (1 / 128 / 8000) ** 0.5


def test_an_update_stands_anywhere_behind_the_first():
    """Of the 4! / 2 orders of two keys stated twice and so on, first places are all as likely."""
    task = ForgettingRecall(pairs=2, updates=1)
    keys = task.batch(range(3000)).tokens[:, 0:6:2]
    single = torch.stack([(keys == keys[:, at : at + 1]).sum(1) == 1 for at in range(3)], 1)
    assert (single.double().mean(0) - 1 / 3).abs().max() < 0.035


@pytest.mark.parametrize(
    ("settings", "inequality"),
    [
        ({"updates": 5}, "0 <= updates <= pairs"),
        ({"length": 19}, r"4 \* pairs \+ 2 \* updates <= length"),
        ({"values": 5}, r"values >= pairs \+ updates"),
        ({"keys": 3}, "keys >= pairs"),
    ],
)
def test_refusals(settings, inequality):
    with pytest.raises(UsageError, match=inequality):
        ForgettingRecall(**settings)
