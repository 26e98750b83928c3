"""Delayed recall: oracle, chance, distances, shortcuts and golden items."""

import hashlib
import math

import numpy as np
import pytest

from howfar.core.batch import IGNORED
from howfar.core.errors import UsageError
from howfar.tasks import TASKS, task
from howfar.tasks.recall import Recall


def test_one_item_by_hand():
    """Length 2 leaves one place for the cue: right before the question."""
    item = Recall(length=2, cues=3, noise=1).batch(range(50))
    assert (item.tokens[:, 1] == 5).all()  # 0 padding, 1-3 cues, 4 noise, 5 the question
    assert ((item.tokens[:, 0] >= 1) & (item.tokens[:, 0] <= 3)).all()
    assert (item.targets[:, 0] == IGNORED).all()
    assert (item.targets[:, 1] == item.tokens[:, 0] - 1).all()
    assert (item.distance[:, 1] == 1).all()


@pytest.mark.parametrize("length", [2, 3, 17, 128])
def test_oracle_is_right_and_the_cue_stands_where_it_is_said_to(length):
    recall = Recall(length=length)
    batch = recall.batch(range(300))
    target = batch.targets[:, -1]
    assert (recall.oracle(batch) == target).all()
    distance = batch.distance[:, -1]
    cue = batch.tokens.gather(1, (length - 1 - distance)[:, None])[:, 0]
    assert (cue - 1 == target).all()
    is_cue = (batch.tokens >= 1) & (batch.tokens <= recall.cues)
    assert (is_cue.sum(1) == 1).all()
    assert batch.tokens.max() < recall.vocabulary
    assert batch.num_targets == 300


def test_distances_are_log_uniform():
    distance = Recall(length=128).batch(range(20_000)).distance[:, -1].numpy()
    assert distance.min() == 1
    assert distance.max() == 127
    for d in (1, 2, 5, 20, 100):
        want = math.log((d + 1) / d) / math.log(128)
        got = (distance == d).mean()
        assert abs(got - want) < 4 * math.sqrt(want / 20_000)


def test_cues_and_noise_are_uniform():
    batch = Recall(length=64).batch(range(8_000))
    counts = np.bincount(batch.targets[:, -1].numpy(), minlength=8)
    assert counts.min() > 900
    assert counts.max() < 1100


def test_chance_and_shortcuts():
    recall = Recall(length=128)
    batch = recall.batch(range(4_000), split="test")
    right = {name: rule(batch) == batch.targets[:, -1] for name, rule in recall.shortcuts.items()}
    score = {name: float(hit.double().mean()) for name, hit in right.items()}
    assert score["always the same cue"] == pytest.approx(recall.chance, abs=0.02)
    for window in (8, 32):  # distances up to window - 1 are visible, the rest is a guess
        seen = math.log(window) / math.log(128)
        want = seen + (1 - seen) / 8
        assert score[f"sees the last {window} tokens"] == pytest.approx(want, abs=0.02)


def test_items_do_not_depend_on_their_batch():
    recall = Recall()
    together = recall.batch(range(10)).tokens
    alone = recall.batch([7]).tokens
    assert (together[7] == alone[0]).all()


def test_splits_and_seeds_differ():
    train, test = Recall().batch(range(64)), Recall().batch(range(64), split="test")
    other = Recall(seed=1).batch(range(64))
    assert not (train.tokens == test.tokens).all()
    assert not (train.tokens == other.tokens).all()


def test_a_fixed_distance():
    batch = Recall(length=32).batch(range(20), distance=31)
    assert (batch.distance[:, -1] == 31).all()
    assert (batch.tokens[:, 0] - 1 == batch.targets[:, -1]).all()


@pytest.mark.parametrize(
    ("split", "want"),
    [
        ("train", "56750581154d28472db729f85f2b81b29071388cfdd7d4b464af9e8c78b4594f"),
        ("test", "069851f484a5053cbf9d5036e66be729d74d7c57592d4635ec20a7588ba23910"),
    ],
)
def test_golden_items(split, want):
    """The first 1,000 items, byte for byte: a change here needs a new VERSION."""
    tokens = Recall().batch(range(1000), split=split).tokens.numpy().astype("<i4")
    assert hashlib.sha256(tokens.tobytes()).hexdigest() == want


def test_bad_settings_are_named():
    with pytest.raises(UsageError, match="length >= 2"):
        Recall(length=1)
    with pytest.raises(UsageError, match="1 \\.\\. 31"):
        Recall(length=32).batch([0], distance=32)
    with pytest.raises(UsageError, match="recall"):
        task("recal")
    with pytest.raises(UsageError, match="lenght"):
        task("recall", lenght=3)
    assert TASKS["recall"] is Recall
