"""T-maze: the sign at the start, the junction at the end, nothing to see in between."""

import math

import pytest
import torch

from howfar.core.batch import IGNORED
from howfar.core.errors import UsageError
from howfar.tasks.base import distances, scored
from howfar.tasks.t_maze import TMaze


@pytest.mark.parametrize(
    "made", [TMaze(), TMaze(length=2), TMaze(length=3), TMaze().at_length(700)]
)
def test_rows(made):
    batch = made.batch(range(300))
    for number, length in enumerate(batch.lengths.tolist()):
        row = "".join(made.symbols[token] for token in batch.tokens[number].tolist())
        assert row[0] in "LR"
        assert row[1:] == "=" * (length - 2) + "T" + "_" * (made.length - length)
        target = batch.targets[number].tolist()
        assert target[length - 1] == "LR".index(row[0])
        assert target.count(IGNORED) == len(target) - 1
        assert int(batch.distance[number].sum()) == length - 1
    assert torch.equal(made.oracle(batch), scored(batch))
    assert torch.equal(distances(batch), batch.lengths - 1)
    assert made.shortest <= int(batch.lengths.min())


def test_rungs():
    made = TMaze()  # 2 .. 64 tokens
    batch = made.batch(range(8000), split="test")
    error = 4 * 0.5 / math.sqrt(8000)
    wanted = {
        "always left": 0,
        "sees the last 8 tokens": 7 / 63,
        "sees the last 32 tokens": 31 / 63,
    }
    assert set(made.shortcuts) == set(wanted)
    for name, seen in wanted.items():
        right = made.shortcuts[name](batch) == scored(batch)
        assert float(right.double().mean()) == pytest.approx((1 + seen) / 2, abs=error)
    far = distances(batch) >= 32
    seen = made.shortcuts["sees the last 32 tokens"](batch)
    assert not seen[far].any()
    assert torch.equal(seen[~far], scored(batch)[~far])
    assert made.chance == 0.5
    assert made.state_bits == 1


def test_items_do_not_depend_on_their_batch_but_on_seed_and_split():
    made = TMaze()
    whole = made.batch(range(42))
    for shards in (1, 2, 7):
        for shard in range(shards):
            part = made.batch(range(shard, 42, shards))
            assert torch.equal(part.tokens, whole.tokens[shard::shards])
            assert torch.equal(part.targets, whole.targets[shard::shards])
    assert not torch.equal(whole.tokens, made.batch(range(42), split="test").tokens)
    assert not torch.equal(whole.tokens, TMaze(seed=1).batch(range(42)).tokens)


def test_refusals():
    with pytest.raises(UsageError, match="shortest <= length; got length=3, shortest=4"):
        TMaze(length=3, shortest=4)
    with pytest.raises(UsageError, match="shortest >= 2"):
        TMaze(shortest=1)
