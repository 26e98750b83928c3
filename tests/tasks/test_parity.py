"""Parity: slow sums, exact halves, the majority's closed form."""

import math

import pytest
import torch

from howfar.core.batch import IGNORED
from howfar.core.errors import UsageError
from howfar.tasks.base import distances, scored
from howfar.tasks.parity import Parity


def rows_of(batch):
    pairs = zip(batch.tokens.tolist(), batch.lengths.tolist(), strict=True)
    return [[token - 1 for token in row[:length]] for row, length in pairs]


@pytest.mark.parametrize(
    "made",
    [
        Parity(),
        Parity(each=True),
        Parity(length=1),
        Parity(length=1, each=True),
        Parity().at_length(500),
        Parity(each=True).at_length(301),
    ],
)
def test_answers_by_slow_sums(made):
    batch = made.batch(range(200), split="test")
    wanted, away, short, more = [], [], [], []
    for number, row in enumerate(rows_of(batch)):
        assert set(row) <= {0, 1}
        assert not any(batch.tokens[number, len(row) :])
        asked = range(len(row)) if made.each else [len(row) - 1]
        places = (batch.targets[number] != IGNORED).nonzero()[:, 0].tolist()
        assert places == list(asked)
        wanted += [sum(row[: place + 1]) % 2 for place in asked]
        away += list(asked)
        more += [int(sum(row[: place + 1]) > (place + 1) / 2) for place in asked]
        short += [sum(row[max(0, place - 7) : place + 1]) % 2 for place in asked]
    assert scored(batch).tolist() == wanted == made.oracle(batch).tolist()
    assert distances(batch).tolist() == away
    assert made.shortcuts["ones are the majority"](batch).tolist() == more
    if made.length > 8:
        assert made.shortcuts["sees the last 8 bits"](batch).tolist() == short


def score(made, name, count=6000):
    batch = made.batch(range(count))
    return float((made.shortcuts[name](batch) == scored(batch)).double().mean())


def majority(bits):
    """Exactly: how often 'odd where ones are the majority' is right for so many bits."""
    right = sum(
        math.comb(bits, ones) for ones in range(bits + 1) if (2 * ones > bits) == (ones % 2 == 1)
    )
    return right / 2**bits


def test_closed_forms():
    made, error = Parity(), 4 * 0.5 / math.sqrt(6000)
    for name in ("always even", "the last bit"):
        fixed = Parity(length=20, shortest=20)
        assert score(fixed, name) == pytest.approx(0.5, abs=error)
    assert score(made, "sees the last 8 bits") == pytest.approx((8 + 32 / 2) / 40, abs=error)
    assert score(made, "sees the last 32 bits") == pytest.approx((32 + 8 / 2) / 40, abs=error)
    assert score(Parity(length=1), "ones are the majority") == 1 == majority(1)
    wanted = sum(map(majority, range(1, 41))) / 40
    assert score(made, "ones are the majority") == pytest.approx(wanted, abs=error)
    assert score(made.at_length(41), "sees the last 32 bits") == pytest.approx(0.5, abs=error)


def test_lengths_and_bits_are_even():
    batch = Parity(length=5).batch(range(5000))
    assert torch.bincount(batch.lengths, minlength=6)[1:].min() > 1000 - 4 * math.sqrt(800)
    bits = torch.tensor([bit for row in rows_of(batch) for bit in row]).double()
    assert float(bits.mean()) == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(len(bits)))


def test_items_do_not_depend_on_their_batch_but_on_seed_and_split():
    made = Parity()
    whole = made.batch(range(42))
    for shards in (1, 2, 7):
        for shard in range(shards):
            part = made.batch(range(shard, 42, shards))
            assert torch.equal(part.tokens, whole.tokens[shard::shards])
            assert torch.equal(part.targets, whole.targets[shard::shards])
    assert not torch.equal(whole.tokens, made.batch(range(42), split="test").tokens)
    assert not torch.equal(whole.tokens, Parity(seed=1).batch(range(42)).tokens)


def test_refusals():
    with pytest.raises(UsageError, match="shortest <= length; got length=3, shortest=4"):
        Parity(length=3, shortest=4)
    with pytest.raises(UsageError, match="shortest >= 1"):
        Parity(shortest=0)
