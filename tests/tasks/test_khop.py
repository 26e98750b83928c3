"""k-hop induction: an item by hand, the paper's definition as loops, chance, rungs, refusals."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from howfar.core.batch import IGNORED, Batch
from howfar.core.errors import UsageError
from howfar.tasks.base import scored
from howfar.tasks.khop import KHop


def find(row, at):
    """max {0} u {j <= i: X[j-1] = X[i]}, positions counted from 1 as in the paper."""
    return max([0, *(j for j in range(2, at + 1) if row[j - 2] == row[at - 1])])


def slow(row, hops):
    """(symbol, distance) of each position, None where hops do not exist."""
    answers = []
    for at in range(1, len(row) + 1):
        reached = at
        for _ in range(hops):
            reached = find(row, reached) if reached else 0
        answers.append((row[reached - 1], at - (reached - 1)) if reached else None)
    return answers


def test_one_item_by_hand():
    """The row of the header: a b c a d b c b."""
    task = KHop(length=8, hops=2)
    row = [1, 2, 3, 1, 4, 2, 3, 2]
    assert "".join(task.symbols[number] for number in row) == "abcadbcb"
    batch = Batch(torch.tensor([row]), torch.tensor([8]), torch.full((1, 8), IGNORED))
    assert slow(row, 2) == [None] * 6 + [(2, 6), (1, 5)]
    assert task.oracle(batch).tolist() == [1, 0]
    assert KHop(length=8, hops=2, nulls=True).oracle(batch).tolist() == [4] * 6 + [1, 0]
    assert task.shortcuts["one hop fewer"](batch).tolist() == [0, 2]
    assert task.shortcuts["two hops fewer"](batch).tolist() == [2, 1]
    assert task.shortcuts["the symbol before"](batch).tolist() == [1, 2]


@pytest.mark.parametrize(("hops", "kinds"), [(1, 3), (2, 4), (3, 6), (16, 4)])
def test_the_papers_definition(hops, kinds):
    task = KHop(length=60, hops=hops, kinds=kinds)
    batch = task.batch(range(60))
    for row, targets, far in zip(
        *(x.tolist() for x in (batch.tokens, batch.targets, batch.distance)), strict=True
    ):
        assert all(a != b for a, b in pairwise(row))
        for answer, target, distance in zip(slow(row, hops), targets, far, strict=True):
            if answer is None:
                assert (target, distance) == (IGNORED, 0)
            else:
                assert (target + 1, distance) == answer


@pytest.mark.parametrize(("hops", "length"), [(1, 10), (2, 100), (4, 100), (16, 60)])
def test_chance_with_nulls(hops, length):
    task = KHop(hops=hops, length=length, nulls=True)
    batch = task.batch(range(2500), split="test")
    share = torch.stack([(batch.targets == kind).double().mean(1) for kind in range(5)])
    most = {True: share[4], False: share[:4].mean(0)}[bool(share[4].mean() > share[:4].mean())]
    assert abs(float(most.mean()) - task.chance) < 3 * float(most.std()) / 2500**0.5 + 1e-9


def test_rungs():
    """Two hops fewer is right with 2 / kinds, one hop fewer never, far from the start of a row."""
    for hops, kinds in ((2, 4), (3, 4), (2, 6)):
        task = KHop(length=400, hops=hops, kinds=kinds)
        batch = task.batch(range(300), split="test")
        target = scored(batch)
        right = {name: (rule(batch) == target).double() for name, rule in task.shortcuts.items()}
        assert float(right["one hop fewer"].mean()) == 0
        late = ((batch.targets != IGNORED).nonzero()[:, 1] > 200).double()
        score = float((right["two hops fewer"] * late).sum() / late.sum())
        assert score == pytest.approx(2 / kinds, abs=0.02)
        assert float(right["always the same symbol"].mean()) == pytest.approx(1 / kinds, abs=0.01)


def test_rows_start_with_any_symbol():
    first = KHop(length=5).batch(range(4000)).tokens[:, 0].numpy()
    assert np.abs(np.bincount(first)[1:] / 4000 - 0.25).max() < 0.03


@pytest.mark.parametrize(
    ("settings", "inequality"),
    [
        ({"hops": 0}, "hops >= 1"),
        ({"kinds": 2}, "kinds >= 3"),
        ({"length": 3}, r"length >= hops \+ 2"),
    ],
)
def test_refusals(settings, inequality):
    with pytest.raises(UsageError, match=inequality):
        KHop(**settings)
