"""Multi-query recall: an item by hand, chance and rungs, where questions stand, refusals."""

import random

import numpy as np
import pytest
import torch

from howfar.core.batch import IGNORED, Batch
from howfar.core.errors import UsageError
from howfar.tasks.base import distances, scored
from howfar.tasks.listed import by_weight, power_weights
from howfar.tasks.mqar import Mqar
from howfar.tasks.pairs import distinct, subset
from howfar.tasks.streams import Draws


def test_one_item_by_hand():
    """The row of the header: k7 3 k2 5 .1 .4 k2 .9 .0 .6 k7 .2; 8 keys, 8 values, 10 fillers."""
    task = Mqar(length=12, pairs=2, keys=8, values=8, filler=10)
    row = torch.tensor([[8, 12, 3, 14, 18, 21, 3, 26, 17, 23, 8, 19]])
    names = "k7 3 k2 5 .1 .4 k2 .9 .0 .6 k7 .2"
    assert " ".join(task.symbols[number] for number in row[0]) == names
    batch = Batch(row, torch.tensor([12]), torch.full((1, 12), IGNORED))
    assert task.oracle(batch).tolist() == [5, 3]
    assert task.shortcuts["a value of the list"](batch).tolist() == [3, 3]
    assert task.shortcuts["remembers the later half of the list"](batch).tolist() == [5, 3]
    assert task.shortcuts["sees the last 8 tokens"](batch).tolist() == [5, 0]


def test_the_layout():
    task = Mqar(length=64, pairs=8, filler=5)
    batch = task.batch(range(500))
    for row, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        keys, values = row[0:16:2], row[1:16:2]
        assert len(set(keys)) == len(set(values)) == 8
        assert all(1 <= key <= 128 < value <= 256 for key, value in zip(keys, values, strict=True))
        asked = [at for at, target in enumerate(targets) if target != IGNORED]
        assert sorted(row[at] for at in asked) == sorted(keys)
        assert all(at >= 16 and at % 2 == 0 for at in asked)
        assert all(row[at] > 256 for at in range(16, 64) if at not in asked)


@pytest.mark.parametrize("pairs", [1, 2, 5, 8])
def test_rungs_have_their_closed_forms(pairs):
    task = Mqar(pairs=pairs, keys=9, values=9)
    batch = task.batch(range(2000), split="test")
    target = scored(batch)
    score = {
        name: float((rule(batch) == target).double().mean())
        for name, rule in task.shortcuts.items()
    }
    assert score["a value of the list"] == pytest.approx(1 / pairs)
    if pairs > 1:
        half = score["remembers the later half of the list"]
        assert half == pytest.approx((pairs // 2 + 1) / pairs)
    error = (task.chance * (1 - task.chance) / 2000 / pairs) ** 0.5
    assert abs(score["always the same value"] - task.chance) < 3 * error
    assert task.state_bits == pytest.approx(sum(np.log2(9 - n) for n in range(pairs)))


def test_how_far_back_questions_are():
    """The medians of the header."""
    far = {}
    for placing in ("uniform", "zoology"):
        task = Mqar(length=1024, placing=placing, filler=0)
        far[placing] = float(distances(task.batch(range(5000))).double().median())
    assert far["uniform"] == pytest.approx(513, abs=12)
    assert far["zoology"] == pytest.approx(46, abs=4)


def test_questions_do_not_tell_the_order_of_the_list():
    for placing in ("uniform", "zoology"):
        task = Mqar(length=128, placing=placing, pairs=4)
        batch = task.batch(range(4000))
        at = (batch.targets != IGNORED).nonzero()[:, 1].view(-1, 4)
        first = (batch.tokens.gather(1, at[:, :1]) == batch.tokens[:, 0:8:2]).double().mean(0)
        assert (first - 0.25).abs().max() < 4 * (0.1875 / 4000) ** 0.5


def test_draws_by_weight_are_those_of_an_urn():
    """Against drawing from a shrinking list with python's own generator."""
    weights = power_weights(6, 0.01)
    assert weights.sum() <= 2**32
    assert weights[1] / weights[0] == pytest.approx(2**-0.99, rel=1e-8)
    got = by_weight(Draws("urn", range(20_000)), weights, 3)
    assert (np.sort(got, 1)[:, 1:] > np.sort(got, 1)[:, :-1]).all()
    urn, want = random.Random(1), np.zeros((20_000, 3), dtype=int)
    for row in want:
        left = list(range(6))
        for place in range(3):
            row[place] = urn.choices(left, [int(weights[slot]) for slot in left])[0]
            left.remove(row[place])
    for place in range(3):
        one, other = (np.bincount(found[:, place], minlength=6) / 20_000 for found in (got, want))
        assert abs(one - other).max() < 4 * (0.5 / 20_000) ** 0.5
    every = by_weight(Draws("urn", range(50)), weights, 6)
    assert (np.sort(every, 1) == np.arange(6)).all()


def test_choosing_without_replacement():
    for size, count in ((5, 5), (6, 2), (7, 0)):
        chosen = distinct(Draws("choice", range(6000)), size, count)
        assert chosen.shape == (6000, count)
        assert all(len(set(row)) == count for row in chosen[:500].tolist())
        for place in range(count):
            share = np.bincount(chosen[:, place], minlength=size) / 6000
            assert abs(share - 1 / size).max() < 4 * (1 / size / 6000) ** 0.5
    sets = np.sort(subset(Draws("choice", range(6000)), np.full((6000, 1), 4), 2), 1)
    share = np.unique(sets, axis=0, return_counts=True)[1] / 6000
    assert len(share) == 6
    assert abs(share - 1 / 6).max() < 0.02


@pytest.mark.parametrize(
    ("settings", "inequality"),
    [
        ({"pairs": 17}, r"4 \* pairs <= length; got length=64, pairs=17"),
        ({"pairs": 0}, "pairs >= 1"),
        ({"keys": 3}, "keys >= pairs"),
        ({"values": 3}, "values >= pairs"),
        ({"values": 1, "pairs": 1}, "values >= 2"),
        ({"filler": -1}, "filler >= 0"),
        ({"placing": "near"}, "placing = uniform or zoology"),
        ({"power": 1.5}, "0 <= power <= 1"),
    ],
)
def test_refusals(settings, inequality):
    with pytest.raises(UsageError, match=inequality):
        Mqar(**settings)
