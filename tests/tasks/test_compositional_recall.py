"""Compositional recall: an item by hand, the grid, rungs, refusals."""

import pytest
import torch

from howfar.core.batch import IGNORED, Batch
from howfar.core.errors import UsageError
from howfar.tasks.base import scored
from howfar.tasks.compositional_recall import CompositionalRecall


def test_one_item_by_hand():
    """First keys 1-2, second keys 3-4, values 5-8, all four combinations, asked in reverse."""
    task = CompositionalRecall(length=24, keys=2, values=4, filler=0)
    pairs = [[1, 4, 8], [1, 3, 7], [2, 4, 5], [2, 3, 6]]
    asked = [[*pair[:2], 0] for pair in pairs[::-1]]
    row = torch.tensor(pairs + asked).view(1, 24)
    batch = Batch(row, torch.tensor([24]), torch.full((1, 24), IGNORED))
    assert task.oracle(batch).tolist() == [1, 0, 2, 3]
    assert task.shortcuts["reads the first key alone"](batch).tolist() == [1, 1, 2, 2]
    assert task.shortcuts["reads the second key alone"](batch).tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("side", [1, 2, 3])
def test_the_grid_and_its_rungs(side):
    pairs = side**2
    task = CompositionalRecall(length=6 * pairs + 5, pairs=pairs, keys=side + 1, values=pairs + 2)
    batch = task.batch(range(2000), split="test")
    for row in batch.tokens[:300].tolist():
        first, second = set(row[0 : 3 * pairs : 3]), set(row[1 : 3 * pairs : 3])
        listed = set(zip(row[0 : 3 * pairs : 3], row[1 : 3 * pairs : 3], strict=True))
        assert listed == {(a, b) for a in first for b in second}
        assert len(first) == len(second) == side
        assert len(set(row[2 : 3 * pairs : 3])) == pairs
    target = scored(batch)
    score = {
        name: float((rule(batch) == target).double().mean())
        for name, rule in task.shortcuts.items()
    }
    assert score["reads the first key alone"] == pytest.approx(1 / side)
    assert score["reads the second key alone"] == pytest.approx(1 / side)
    assert score["a value of the list"] == pytest.approx(1 / pairs)
    error = (task.chance / 2000 / pairs) ** 0.5
    assert abs(score["always the same value"] - task.chance) < 3 * error


@pytest.mark.parametrize(
    ("settings", "inequality"),
    [
        ({"pairs": 5}, "pairs = a square number"),
        ({"length": 23}, r"6 \* pairs <= length"),
        ({"keys": 1}, r"keys \*\* 2 >= pairs"),
        ({"values": 3}, "values >= pairs"),
    ],
)
def test_refusals(settings, inequality):
    with pytest.raises(UsageError, match=inequality):
        CompositionalRecall(**settings)
