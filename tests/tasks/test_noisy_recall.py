"""Noisy recall: an item by hand, places, rungs by slow loops, refusals."""

import numpy as np
import pytest
import torch

from howfar.core.batch import IGNORED, Batch
from howfar.core.errors import UsageError
from howfar.tasks.base import scored
from howfar.tasks.noisy_recall import NoisyRecall


def test_one_item_by_hand():
    """.0 .1 k2 5 k1 4 k2 .1 k1 .0 with 3 keys and 6 values."""
    task = NoisyRecall(length=10, pairs=2, keys=3, values=6, filler=2)
    row = torch.tensor([[10, 11, 3, 9, 2, 8, 3, 11, 2, 10]])
    batch = Batch(row, torch.tensor([10]), torch.full((1, 10), IGNORED))
    assert task.oracle(batch).tolist() == [5, 4]
    assert task.shortcuts["the first value shown"](batch).tolist() == [5, 5]
    assert task.shortcuts["the value shown last"](batch).tolist() == [4, 4]


def test_rungs_by_a_slow_reading():
    task = NoisyRecall(pairs=6)
    batch = task.batch(range(2000), split="test")
    first, latest = [], []
    for row, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        shown = []
        for token, target in zip(row, targets, strict=True):
            if 129 <= token <= 256:
                shown.append(token - 129)
            if target != IGNORED:
                first.append(shown[0])
                latest.append(shown[-1])
    assert task.shortcuts["the first value shown"](batch).tolist() == first
    assert task.shortcuts["the value shown last"](batch).tolist() == latest
    target = scored(batch)
    assert (torch.tensor(first) == target).double().mean() == pytest.approx(1 / 6)
    constant = task.shortcuts["always the same value"](batch)
    error = (1 / 128 / 12_000) ** 0.5
    assert abs(float((constant == target).double().mean()) - task.chance) < 3 * error


def test_pairs_and_questions_stand_anywhere():
    """Keys take every even place as often, 4 of 32 in a row; odd places never."""
    task = NoisyRecall(length=64, pairs=2)
    share = task.is_key(task.batch(range(4000)).tokens).double().mean(0).numpy()
    assert (share[1::2] == 0).all()
    assert np.abs(share[0::2] - 4 / 32).max() < 4 * (0.11 / 4000) ** 0.5


@pytest.mark.parametrize(
    ("settings", "inequality"),
    [
        ({"pairs": 17}, r"4 \* pairs <= length"),
        ({"filler": 0}, "filler >= 1"),
        ({"keys": 3}, "keys >= pairs"),
        ({"values": 3}, "values >= pairs"),
    ],
)
def test_refusals(settings, inequality):
    with pytest.raises(UsageError, match=inequality):
        NoisyRecall(**settings)
