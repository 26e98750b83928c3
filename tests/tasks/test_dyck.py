"""Dyck: a slow stack, the law of the walk, and rungs in plain Python."""

from collections import Counter

import pytest
import torch

from howfar.core.batch import IGNORED
from howfar.core.errors import UsageError
from howfar.tasks.base import distances, scored
from howfar.tasks.dyck import Dyck


def slow(made, row):
    """(place, place answered, kind, stack before, ) at every closing bracket, with a stack."""
    stack, asked = [], []
    for place, token in enumerate(row):
        if token <= made.kinds:
            stack.append((place, token - 1))
        else:
            assert stack.pop()[1] == token - 1 - made.kinds
            source, kind = stack[-1]  # fails where the first bracket has closed
            most = Counter(held for _, held in stack)
            often = max(range(made.kinds), key=lambda held: (most[held], -held))
            asked.append((place, source, kind, often, token - 1 - made.kinds, row[0] - 1))
        assert 1 <= len(stack) <= made.depth
    return asked


@pytest.mark.parametrize(
    "made",
    [
        Dyck(),
        Dyck(length=3),
        Dyck(length=4, shortest=4, depth=2),
        Dyck(kinds=5, depth=2),
        Dyck(kinds=3, depth=20).at_length(301),
    ],
)
def test_a_slow_stack_agrees(made):
    batch = made.batch(range(200), split="test")
    found = []
    for number, length in enumerate(batch.lengths.tolist()):
        row = batch.tokens[number, :length].tolist()
        asked = slow(made, row)
        assert asked  # every row asks something
        places = (batch.targets[number] != IGNORED).nonzero()[:, 0].tolist()
        assert places == [place for place, *_ in asked]
        assert not any(batch.tokens[number, length:])
        found += asked
    assert scored(batch).tolist() == [kind for _, _, kind, *_ in found]
    assert torch.equal(made.oracle(batch), scored(batch))
    assert distances(batch).tolist() == [place - source for place, source, *_ in found]
    rungs = {name: rule(batch).tolist() for name, rule in made.shortcuts.items()}
    assert rungs["the kind most are open of"] == [often for *_, often, _, _ in found]
    assert rungs["the kind just closed"] == [closed for *_, closed, _ in found]
    assert rungs["the kind of the first bracket"] == [first for *_, first in found]
    assert not any(rungs["always the same kind"])
    if made.length > 8:
        near = [kind * (place - source < 8) for place, source, kind, *_ in found]
        assert rungs["sees the last 8 tokens"] == near
    assert len(made.symbols) == made.vocabulary == 1 + 2 * made.kinds
    assert len(set(made.symbols)) == made.vocabulary


def test_the_greatest_depth_is_reached():
    made = Dyck(depth=5)
    tokens = made.at_length(200).batch(range(20)).tokens
    depth = torch.where(tokens <= made.kinds, 1, -1).cumsum(1)
    assert (depth.amax(1) == 5).all()
    assert (depth.amin(1) == 1).all()


def test_chance_and_blind_rungs():
    made = Dyck(kinds=4)
    batch = made.batch(range(3000))
    target = scored(batch)
    shares = torch.bincount(target, minlength=4) / len(target)
    assert float((shares - made.chance).abs().max()) < 0.015
    right = made.shortcuts["the kind just closed"](batch) == target
    assert float(right.double().mean()) == pytest.approx(1 / 4, abs=0.015)


def test_the_walk_has_its_law():
    """Depth 2: only ( [] [] [] ...: every second token closes and the first bracket is asked."""
    made = Dyck(depth=2, length=21, shortest=21)
    batch = made.batch(range(100))
    assert ((batch.targets != IGNORED).nonzero()[:, 1].reshape(100, 10) % 2 == 0).all()
    first = made.shortcuts["the kind of the first bracket"](batch)
    assert torch.equal(first, scored(batch))
    free = Dyck(depth=50, length=5, shortest=5).batch(range(4000)).tokens
    opens = (free <= 2).double()
    assert (opens[:, :2] == 1).all()
    assert float(opens[:, 2].mean()) == pytest.approx(0.5, abs=0.032)  # 4 standard errors
    assert (opens[:, 4] == (opens.cumsum(1)[:, 3] == 2)).all()  # the last closes where it can


def test_items_do_not_depend_on_their_batch_but_on_seed_and_split():
    made = Dyck()
    whole = made.batch(range(42))
    for shards in (1, 2, 7):
        for shard in range(shards):
            part = made.batch(range(shard, 42, shards))
            assert torch.equal(part.tokens, whole.tokens[shard::shards])
            assert torch.equal(part.targets, whole.targets[shard::shards])
    assert not torch.equal(whole.tokens, made.batch(range(42), split="test").tokens)
    assert not torch.equal(whole.tokens, Dyck(seed=1).batch(range(42)).tokens)


def test_refusals():
    with pytest.raises(UsageError, match="shortest >= 3"):
        Dyck(shortest=2)
    with pytest.raises(UsageError, match="shortest <= length; got length=4, shortest=5"):
        Dyck(length=4, shortest=5)
    with pytest.raises(UsageError, match="depth >= 2"):
        Dyck(depth=1)
    with pytest.raises(UsageError, match="kinds >= 2"):
        Dyck(kinds=1)
