"""Memorisation: one map for all splits, even values, half of it known."""

from collections import Counter

import pytest
import torch

from howfar.core.batch import IGNORED
from howfar.core.errors import UsageError
from howfar.tasks.base import distances, scored
from howfar.tasks.memorisation import Memorisation


@pytest.mark.parametrize(
    "made", [Memorisation(), Memorisation(length=2), Memorisation(length=33, keys=12, values=3)]
)
def test_facts_hold_in_all_splits_and_at_all_lengths(made):
    facts = {}
    for split, task in (("train", made), ("test", made), ("test", made.at_length(65))):
        batch = task.batch(range(300), split=split)
        for row, target in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
            assert target[::2] == [IGNORED] * len(target[::2])
            assert row[1::2] == [made.keys + 1] * (len(row) // 2)
            for key, value in zip(row[::2], target[1::2], strict=False):
                assert 1 <= key <= made.keys
                assert facts.setdefault(key, value) == value
        assert torch.equal(task.oracle(batch), scored(batch))
        assert (distances(batch) == 1).all()
    assert len(facts) == made.keys
    counts = Counter(facts.values())
    assert counts == dict.fromkeys(range(made.values), made.keys // made.values)


def test_rungs():
    made = Memorisation(keys=12, values=3)
    batch = made.batch(range(2000))
    facts = made.facts.tolist()
    for name, known in (("always the same value", 0), ("half of the facts", 6)):
        right = made.shortcuts[name](batch) == scored(batch)
        wanted = sum(key < known or value == 0 for key, value in enumerate(facts)) / 12
        assert float(right.double().mean()) == pytest.approx(wanted, abs=0.012)
    assert made.chance == 1 / 3


def test_items_do_not_depend_on_their_batch_but_on_seed_and_split():
    made = Memorisation()
    whole = made.batch(range(42))
    for shards in (1, 2, 7):
        for shard in range(shards):
            part = made.batch(range(shard, 42, shards))
            assert torch.equal(part.tokens, whole.tokens[shard::shards])
            assert torch.equal(part.targets, whole.targets[shard::shards])
    assert not torch.equal(whole.tokens, made.batch(range(42), split="test").tokens)
    assert not torch.equal(whole.tokens, Memorisation(seed=1).batch(range(42)).tokens)
    assert (made.facts != Memorisation(seed=1).facts).any()


def test_refusals():
    with pytest.raises(UsageError, match="keys % values == 0; got keys=10, values=4"):
        Memorisation(keys=10, values=4)
    with pytest.raises(UsageError, match="keys >= values"):
        Memorisation(keys=0, values=4)
    with pytest.raises(UsageError, match="values >= 2"):
        Memorisation(values=1)
    with pytest.raises(UsageError, match="length >= 2"):
        Memorisation(length=1)
