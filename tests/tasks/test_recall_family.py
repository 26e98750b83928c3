"""What holds for all recall tasks: answers and distances by a slow reading, shards, seeds, ids."""

from dataclasses import replace

import pytest
import torch

from howfar.core.batch import IGNORED
from howfar.tasks.base import distances, scored
from howfar.tasks.compositional_recall import CompositionalRecall
from howfar.tasks.forgetting_recall import ForgettingRecall
from howfar.tasks.fuzzy_recall import FuzzyRecall
from howfar.tasks.induction import Induction
from howfar.tasks.khop import KHop
from howfar.tasks.mqar import Mqar
from howfar.tasks.needle import Needle
from howfar.tasks.noisy_recall import NoisyRecall

KINDS = [
    Mqar(),
    Mqar(pairs=16, filler=0, keys=16, values=16),
    Mqar(placing="zoology", pairs=8),
    Mqar(length=4, pairs=1, keys=1, values=2),
    NoisyRecall(),
    NoisyRecall(pairs=16, keys=16),
    ForgettingRecall(),
    ForgettingRecall(length=24, updates=4),
    ForgettingRecall(updates=0),
    CompositionalRecall(),
    CompositionalRecall(length=54, pairs=9, keys=3, values=9),
    FuzzyRecall(),
    FuzzyRecall(length=16, pairs=2, key_tokens=1, keys=2),
    FuzzyRecall(length=48, filler=0, keys=4),
    Induction(length=20),
    Induction(length=3),
    KHop(),
    KHop(hops=3, length=50, nulls=True),
    KHop(hops=1, length=3, kinds=3),
    Needle(length=80),
    Needle(length=100, answer=3, depth=50, haystack="repeated"),
    Needle(length=16, answer=1, depth=100),
]
PAIRS = [task for task in KINDS if not isinstance(task, KHop | Induction)]


def slow_pairs(task, row, targets):
    """(class, distance) of every target, by going back from each to the key's statement."""
    found = []
    keys = task.keys * (2 if task.name == "compositional_recall" else 1)
    is_key = [1 <= token <= keys for token in row]
    for at, target in enumerate(targets):
        if target == IGNORED:
            continue
        end = at if task.name != "needle" else len(row) - task.answer - 1
        while not is_key[end]:  # a later token of the value
            end -= 1
        start = end
        while start and is_key[start - 1]:
            start -= 1
        key, token = row[start : end + 1], at - end - (task.name == "needle")
        for begin in range(start - 1, -1, -1):
            whole = begin == 0 or not is_key[begin - 1]
            past = begin + len(key)
            if row[begin:past] == key and whole and not is_key[past]:
                # a question has a value behind it too where it is shown: the list comes first
                where = begin
                if task.name != "fuzzy_recall":
                    break
        value = where + len(key) + (task.name == "needle") + token
        found.append((row[value] - 1 - keys, at - where))
    return found


@pytest.mark.parametrize("task", PAIRS, ids=str)
def test_answers_and_distances_are_those_of_a_slow_reading(task):
    batch = task.batch(range(120), split="test")
    found = []
    for row, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        found += slow_pairs(task, row, targets)
    want = list(zip(scored(batch).tolist(), distances(batch).tolist(), strict=True))
    assert found == want


@pytest.mark.parametrize("task", KINDS, ids=str)
def test_the_oracle_is_right_at_every_length(task):
    longest = task.at_length(5 * task.length + 1)
    for made in (task, task.at_length(task.length + 1), longest):
        batch = made.batch(range(100), split="validation")
        assert batch.tokens.shape == (100, made.length)
        assert (batch.lengths == made.length).all()
        assert torch.equal(made.oracle(batch), scored(batch))
        assert (distances(batch) >= (0 if getattr(made, "nulls", False) else 1)).all()
        assert (made.vocabulary, made.symbols) == (task.vocabulary, task.symbols)


@pytest.mark.parametrize("task", KINDS, ids=str)
def test_items_do_not_depend_on_their_batch(task):
    whole = task.batch(range(21))
    for shards in (1, 2, 7):
        for shard in range(shards):
            part = task.batch(range(shard, 21, shards))
            for name in ("tokens", "targets", "distance"):
                assert torch.equal(getattr(part, name), getattr(whole, name)[shard::shards])
    assert len(task.oracle(task.batch([]))) == 0


@pytest.mark.parametrize("task", KINDS, ids=str)
def test_seeds_and_splits_differ_and_ids_are_known(task):
    batch = task.batch(range(200))
    if task.length > 4:
        for other in (
            task.batch(range(200), split="test"),
            replace(task, seed=1).batch(range(200)),
        ):
            assert not torch.equal(batch.tokens, other.tokens)
    assert int(batch.tokens.max()) < task.vocabulary == len(set(task.symbols))
    assert int(batch.tokens.min()) >= (0 if getattr(task, "filler", 1) == 0 else 1)
    assert int(scored(batch).max()) < task.outputs == len(task.answers)
    for rule in task.shortcuts.values():
        assert rule(batch).shape == scored(batch).shape


@pytest.mark.parametrize("task", KINDS, ids=str)
def test_a_window_sees_what_stands_in_it(task):
    """Where the deciding token is seen the rung is right, else it says the first class."""
    batch = task.batch(range(150), split="test")
    rules = {f"sees the last {w} tokens": w for w in (8, 32)}
    for name, rule in task.shortcuts.items():
        if name in rules:
            seen = distances(batch) < rules[name]
            assert torch.equal(rule(batch), torch.where(seen, scored(batch), 0))
