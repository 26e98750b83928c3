"""The adding problem: exact sums, distances, and squared errors in closed form."""

import numpy as np
import pytest
import torch

from howfar.core.batch import Batch
from howfar.core.errors import UsageError
from howfar.tasks.adding import Adding
from howfar.tasks.base import distances, scored

KINDS = ("free", "halves")


def rows_by_hand(batch):
    """Values, marked places and length of every row, read with plain loops."""
    for row in batch.tokens.tolist():
        yield [value for value, _ in row], [t for t, (_, mark) in enumerate(row) if mark == 1.0]


def test_an_item_of_two_positions_by_hand():
    batch = Adding(length=2).batch(range(20))
    for (values, places), target in zip(rows_by_hand(batch), batch.targets.tolist(), strict=True):
        assert places == [0, 1]
        assert target == values[0] + values[1]  # exact: multiples of 2**-23
    assert (distances(batch) == 1).all()


def test_a_made_up_item():
    """Numbers .25 .5 .125 .75 with marks on the second and the last."""
    tokens = torch.tensor([[[0.25, 0], [0.5, 1], [0.125, 0], [0.75, 1]]])
    batch = Batch(tokens, torch.tensor([4]), torch.tensor([1.25]))
    task = Adding(length=4)
    assert task.oracle(batch).tolist() == [1.25]
    said = {name: rule(batch).item() for name, rule in task.shortcuts.items()}
    assert said == {"the constant 1": 1.0, "twice the mean": 0.8125, "knows one addend": 1.25}


@pytest.mark.parametrize("markers", KINDS)
@pytest.mark.parametrize("length", [2, 3, 7, 64, 1001])
def test_oracle_marks_and_distance(markers, length):
    task = Adding(length=7, markers=markers).at_length(length)
    batch = task.batch(range(100))
    assert batch.tokens.dtype == batch.targets.dtype == torch.float32
    assert batch.tokens.shape == (100, length, 2)
    assert torch.equal(task.oracle(batch), scored(batch))
    for row, (values, places) in enumerate(rows_by_hand(batch)):
        assert len(places) == 2
        assert values[places[0]] + values[places[1]] == batch.targets[row].item()
        assert distances(batch)[row] == length - 1 - places[0]
        assert all(0 <= value < 1 for value in values)
        if markers == "halves":
            assert places[0] < length // 2 <= places[1]
    assert (batch.distance[:, :-1] == 0).all()


def test_free_marks_are_any_pair_alike():
    batch = Adding(length=5).batch(range(10_000))
    counts = {}
    for _, places in rows_by_hand(batch):
        counts[tuple(places)] = counts.get(tuple(places), 0) + 1
    assert len(counts) == 10
    assert all(abs(count - 1000) < 4 * np.sqrt(900) for count in counts.values())


@pytest.mark.parametrize("markers", KINDS)
def test_squared_errors_are_those_of_the_header(markers):
    length, count = 80, 10_000
    batch = Adding(length=length, markers=markers).batch(range(count), split="test")
    want = {"constant": 1 / 6, "mean": (1 - 2 / length) / 6, "one": 1 / 12}
    want |= {w: (1 - w / length) / 6 for w in (8, 32)}
    slow = {name: [] for name in want}
    for (values, places), y in zip(rows_by_hand(batch), batch.targets.tolist(), strict=True):
        slow["constant"].append((1 - y) ** 2)
        slow["mean"].append((2 * sum(values) / length - y) ** 2)
        slow["one"].append((values[places[1]] + 0.5 - y) ** 2)
        for w in (8, 32):
            slow[w].append((sum(values[p] if p >= length - w else 0.5 for p in places) - y) ** 2)
    rules = Adding(length=length, markers=markers).shortcuts
    assert len(rules) == len(want)
    named = dict(zip(["constant", "mean", 8, 32, "one"], rules.values(), strict=True))
    for name, errors in slow.items():
        fast = ((named[name](batch).double() - batch.targets.double()) ** 2).numpy()
        np.testing.assert_allclose(fast, errors, atol=1e-5)
        spread = np.std(errors) / np.sqrt(count)
        assert abs(np.mean(errors) - want[name]) < 3.5 * spread
    assert Adding().chance == 1 / 6


def test_items_do_not_depend_on_their_batch():
    task = Adding(length=30)
    together = task.batch(range(14))
    for shards in (2, 7):
        parts = [task.batch(range(first, 14, shards)) for first in range(shards)]
        for first, part in enumerate(parts):
            assert torch.equal(part.tokens, together.tokens[first::shards])
            assert torch.equal(part.targets, together.targets[first::shards])


def test_splits_and_seeds_differ():
    made = [Adding().batch(range(8)), Adding().batch(range(8), split="test")]
    made.append(Adding(seed=1).batch(range(8)))
    assert len({tuple(batch.targets.tolist()) for batch in made}) == 3


def test_bad_settings_are_named():
    with pytest.raises(UsageError, match="length >= 2"):
        Adding(length=1)
    with pytest.raises(UsageError, match="markers in"):
        Adding(markers="any")
    assert (Adding().vocabulary, Adding().outputs, Adding().symbols) == (0, 1, ())
