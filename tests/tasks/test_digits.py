"""Digits as sequences: splits, permutation, oracle, and the ladder against slow twins."""

from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from howfar.core.batch import IGNORED
from howfar.core.errors import UsageError
from howfar.tasks.base import distances, scored
from howfar.tasks.digits import Digits
from howfar.tasks.pixels import first_of_each
from howfar.tasks.rows import SPLITS, stratified

PIXELS, LABELS = load_digits(return_X_y=True)


def whole(task, split):
    return task.batch(range(task.size(split)), split=split)


def test_every_picture_is_in_one_split():
    """The sequences are the file's pictures, each once, with the file's label."""
    want = Counter(
        (tuple(1 + int(p) for p in row), int(label))
        for row, label in zip(PIXELS, LABELS, strict=True)
    )
    got = Counter()
    for split in SPLITS:
        batch = whole(Digits(), split)
        pairs = zip(batch.tokens.tolist(), scored(batch).tolist(), strict=True)
        got.update((tuple(row), label) for row, label in pairs)
    assert got == want
    assert max(got.values()) == 1


def test_the_split_by_a_slow_count():
    seen, sizes, test_labels = Counter(), Counter(), Counter()
    for label in LABELS.tolist():
        place = seen[label] % 10
        seen[label] += 1
        split = "train" if place < 7 else "validation" if place == 7 else "test"
        sizes[split] += 1
        test_labels[label] += split == "test"
    task = Digits()
    assert {split: task.size(split) for split in SPLITS} == dict(sizes)
    assert task.chance == max(test_labels.values()) / sizes["test"]
    assert stratified([4] * 11 + [2]).tolist() == [0] * 7 + [1, 2, 2, 0, 0]


@pytest.mark.parametrize("permuted", [False, True])
def test_oracle_distance_and_bounds(permuted):
    task = Digits(permuted=permuted).at_length(64)
    for split in SPLITS:
        batch = task.batch(range(400), split=split)
        assert torch.equal(task.oracle(batch), scored(batch))
        assert batch.tokens.min() >= 1
        assert batch.tokens.max() < task.vocabulary == len(task.symbols) == 18
        assert (batch.targets[:, :-1] == IGNORED).all()
        for row, distance in zip(batch.tokens.tolist(), distances(batch).tolist(), strict=True):
            assert distance == 63 - next(t for t, pixel in enumerate(row) if pixel > 1)
    assert task.outputs == len(task.answers) == 10


def test_one_permutation_for_all_pictures():
    plain, mixed = Digits().batch(range(300)), Digits(permuted=True).batch(range(300))
    assert torch.equal(plain.targets, mixed.targets)
    columns = {tuple(column) for column in plain.tokens.T.tolist()}
    assert {tuple(column) for column in mixed.tokens.T.tolist()} == columns
    assert not torch.equal(plain.tokens, mixed.tokens)
    other = Digits(permuted=True, seed=1).batch(range(3)).tokens
    assert not torch.equal(mixed.tokens[:3], other)


def test_passes_have_other_orders_and_seeds_too():
    task = Digits()
    size = task.size("test")
    first, second = (
        task.batch(range(start, start + size), split="test").tokens.tolist() for start in (0, size)
    )
    assert sorted(first) == sorted(second)
    assert first != second
    assert Digits(seed=1).batch(range(size), split="test").tokens.tolist() != first
    assert sorted(Digits(seed=1).batch(range(size), split="test").tokens.tolist()) == sorted(first)


def test_items_do_not_depend_on_their_batch():
    task = Digits(permuted=True)
    numbers = range(1260, 1288)  # over the end of the first pass
    together = task.batch(numbers).tokens
    for shards in (2, 7):
        for first in range(shards):
            assert torch.equal(task.batch(numbers[first::shards]).tokens, together[first::shards])


@pytest.mark.parametrize("permuted", [False, True])
def test_the_ladder_against_slow_twins(permuted):
    task = Digits(permuted=permuted)
    train, test = whole(task, "train"), whole(task, "test")
    rows, labels = train.tokens.tolist(), scored(train).tolist()
    said = {name: rule(test).tolist() for name, rule in task.shortcuts.items()}
    common = min(range(10), key=lambda c: (-labels.count(c), c))
    assert set(said["majority"]) == {common}
    by_last = Counter((row[-1], label) for row, label in zip(rows, labels, strict=True))
    mean = np.zeros((10, 18))
    for row, label in zip(rows, labels, strict=True):
        for pixel in row:
            mean[label, pixel] += 1 / labels.count(label)
    for row, last, bag in zip(
        test.tokens.tolist(), said["last pixel"], said["bag of pixels"], strict=True
    ):
        seen = {c: by_last[row[-1], c] for c in range(10) if by_last[row[-1], c]}
        assert last == (min(seen, key=lambda c: (-seen[c], c)) if seen else common)
        far = [sum((row.count(v) - mean[c, v]) ** 2 for v in range(18)) for c in range(10)]
        assert far[bag] == pytest.approx(min(far))
    score = {name: float(np.mean(np.array(g) == scored(test).numpy())) for name, g in said.items()}
    assert score["logistic regression on all pixels"] > 0.93
    quarter = score["logistic regression on the last 16 pixels"]
    assert score["bag of pixels"] < quarter < score["logistic regression on all pixels"]
    # The last sixteen alone decide what that rule says.
    blank = test.tokens.clone()
    blank[:, :48] = 1
    short = type(test)(blank, test.lengths, test.targets, test.distance)
    rule = task.shortcuts["logistic regression on the last 16 pixels"]
    assert rule(short).tolist() == said["logistic regression on the last 16 pixels"]


def test_a_picture_that_comes_twice_is_kept_once():
    ids, labels = first_of_each(np.array([[1, 2], [2, 2], [1, 2]]), np.array([3, 4, 5]))
    assert ids.tolist() == [[1, 2], [2, 2]]
    assert labels.tolist() == [3, 4]


def test_bad_settings_are_named():
    with pytest.raises(UsageError, match="length == 64"):
        Digits(length=63)
    with pytest.raises(UsageError, match="length == 64"):
        Digits().at_length(128)
    with pytest.raises(UsageError, match="'dev'"):
        Digits().batch([0], split="dev")
