"""Needles: an item by hand, depth, rungs by closed forms and slow loops, refusals."""

import numpy as np
import pytest
import torch

from howfar.core.batch import IGNORED, Batch
from howfar.core.errors import UsageError
from howfar.tasks.base import distances, scored
from howfar.tasks.needle import Needle


def test_one_item_by_hand():
    """.0 k1 = 2 3 .1 k0 = 2 0 .0 k1 ? 2: two needles of two tokens."""
    task = Needle(length=14, needles=2, answer=2, keys=2, values=4, noise=2)
    row = torch.tensor([[7, 2, 9, 5, 6, 8, 1, 9, 5, 3, 7, 2, 10, 5]])
    assert " ".join(task.symbols[n] for n in row[0]) == ".0 k1 = 2 3 .1 k0 = 2 0 .0 k1 ? 2"
    batch = Batch(row, torch.tensor([14]), torch.full((1, 14), IGNORED))
    assert task.oracle(batch).tolist() == [2, 3]
    assert task.shortcuts["the last needle"](batch).tolist() == [2, 0]
    assert task.shortcuts["what stood behind the token read"](batch).tolist() == [0, 0]
    assert task.shortcuts["sees the last 8 tokens"](batch).tolist() == [0, 0]


@pytest.mark.parametrize("depth", [0, 30, 100])
def test_depth_of_a_lone_needle_is_exact(depth):
    """Haystack 61 = 64 - key, ? and shown answers; the needle of 4 begins at depth * 57 / 100."""
    task = Needle(length=64, needles=1, answer=2, depth=depth)
    batch = task.batch(range(40))
    start = (depth * 57 + 50) // 100
    assert (distances(batch).view(-1, 2) == torch.tensor([62, 63]) - start).all()


def test_needles_stand_anywhere_and_any_is_asked():
    task = Needle(length=24, needles=2)
    batch = task.batch(range(6000))
    is_key = ((batch.tokens >= 1) & (batch.tokens <= 32))[:, :-2]
    left, right = is_key.nonzero()[:, 1].view(-1, 2).T.numpy()
    places = left * 100 + right
    share = np.unique(places, return_counts=True)[1] / 6000  # 18 units, 153 sets of two
    assert len(share) == 153
    assert np.abs(share - 1 / 153).max() < 5 * (1 / 153 / 6000) ** 0.5
    assert ((23 - distances(batch).numpy()) == left).mean() == pytest.approx(0.5, abs=0.025)


@pytest.mark.parametrize(("needles", "answer"), [(1, 1), (4, 2), (8, 3)])
def test_rungs(needles, answer):
    task = Needle(needles=needles, answer=answer)
    batch = task.batch(range(3000), split="test")
    target = scored(batch)
    score = {
        name: float((rule(batch) == target).double().mean())
        for name, rule in task.shortcuts.items()
    }
    any_one = 1 / needles + (1 - 1 / needles) / 32
    want = {
        "always the same value": 1 / 32,
        "the first needle": any_one,
        "the last needle": any_one,
    }
    for name, share in want.items():
        spread = (share * (1 - share) / 3000) ** 0.5  # the tokens of an answer go together
        assert abs(score[name] - share) < 3 * spread + 1e-9
    assert task.state_bits == needles * answer * 5
    behind = []
    for row, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        after = {}
        for at, token in enumerate(row):
            if targets[at] != IGNORED:
                follower = after.get(token, 0)
                behind.append(follower - 33 if 33 <= follower <= 64 else 0)
            after[token] = row[at + 1] if at + 1 < len(row) else 0
    if answer > 1:
        assert task.shortcuts["what stood behind the token read"](batch).tolist() == behind


def test_repeated_noise_goes_round():
    row = (
        Needle(length=100, needles=1, noise=7, depth=100, haystack="repeated").batch([0]).tokens[0]
    )
    assert row[:60].tolist() == [65 + at % 7 for at in range(60)]


@pytest.mark.parametrize(
    ("settings", "inequality"),
    [
        ({"length": 13}, r"needles \* \(answer \+ 2\) \+ answer \+ 1 <= length"),
        ({"needles": 0}, "needles >= 1"),
        ({"keys": 3}, "keys >= needles"),
        ({"depth": 101}, "-1 <= depth <= 100"),
        ({"answer": 0}, "answer >= 1"),
        ({"values": 1}, "values >= 2"),
        ({"noise": 0}, "noise >= 1"),
        ({"haystack": "hay"}, "haystack = random or repeated"),
    ],
)
def test_refusals(settings, inequality):
    with pytest.raises(UsageError, match=inequality):
        Needle(**settings)
