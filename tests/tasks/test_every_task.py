"""What holds for every task: golden items, shards, oracle, chance, and no telling features.

Golden   `python -m tests.tasks.test_every_task` prints the hashes anew, for a raised version
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from howfar.core.batch import IGNORED
from howfar.core.errors import UsageError
from howfar.tasks import TASKS, distances, scored, task

GOLDEN = Path(__file__).with_name("golden.json")
SPLITS = ("train", "validation", "test")
FROM_FILE = {"mnist"}  # their items come from a file of the user's
ITEMS = 1000
# the one cue of a row has to be kept, or words have to be counted: that is what is asked
COUNTS_ARE_THE_ANSWER = {"recall", "t_maze", "planted", "common_words", "frequent_words"}
MADE = [name for name in TASKS if name not in FROM_FILE]


def arrays(batch):
    """Everything a batch says of its items, without padding columns."""
    return (batch.tokens, batch.lengths, batch.targets, batch.distance)


def digest(made, split, count=ITEMS):
    found = hashlib.sha256()
    for start in range(0, count, 250):
        batch = made.batch(range(start, start + 250), split=split)
        for row, length in enumerate(batch.lengths.tolist()):
            for array in (batch.tokens, batch.targets, batch.distance):
                cut = array[row, :length] if array.ndim > 1 else array[row]
                kind = "<f4" if array.is_floating_point() else "<i8"
                found.update(cut.numpy().astype(kind).tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("name", MADE)
def test_the_first_thousand_items_are_what_they_were(name):
    golden = json.loads(GOLDEN.read_text())[name]
    assert {split: digest(task(name), split) for split in SPLITS} == golden


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("shards", [2, 7])
def test_shards_hold_the_same_items(name, shards):
    made = task(name)
    whole = made.batch(range(42))
    for shard in range(shards):
        numbers = list(range(shard, 42, shards))
        part = made.batch(numbers)
        width = part.tokens.shape[1]
        assert torch.equal(part.lengths, whole.lengths[numbers])
        assert torch.equal(part.tokens, whole.tokens[numbers, :width])
        assert torch.equal(part.distance, whole.distance[numbers, :width])
        wanted = whole.targets[numbers]
        assert torch.equal(part.targets, wanted[:, :width] if wanted.ndim > 1 else wanted)


@pytest.mark.parametrize("name", MADE)
def test_items_are_what_the_contract_says(name):
    made = task(name)
    batch = made.batch(range(300), split="test")
    rows, length = batch.tokens.shape[:2]
    assert batch.distance.shape == (rows, length)
    assert int(batch.lengths.max()) <= length
    behind = torch.arange(length)[None] >= batch.lengths[:, None]
    if made.channels:
        assert batch.tokens.shape[2] == made.channels
        assert batch.tokens.is_floating_point()
    else:
        assert int(batch.tokens.min()) >= 0
        assert int(batch.tokens.max()) < made.vocabulary
        assert (batch.tokens[behind] == 0).all()
        assert len(made.symbols) == made.vocabulary
        assert len(set(made.symbols)) == made.vocabulary
    far = distances(batch)
    assert len(far) == len(scored(batch))
    assert (far >= 0).all()
    if made.numbers:
        assert batch.targets.shape == (rows,)
        return
    assert len(made.answers) == made.outputs
    target = scored(batch)
    assert int(target.min()) >= 0
    assert int(target.max()) < made.outputs
    assert (batch.targets[behind] == IGNORED).all()
    places = (batch.targets != IGNORED).nonzero()[:, 1]
    assert (far <= places).all()  # nothing decides that stands before the start
    assert ((batch.targets != IGNORED).sum(1) > 0).all()


@pytest.mark.parametrize("name", MADE)
def test_the_oracle_is_always_right(name):
    made = task(name)
    for split in SPLITS:
        batch = made.batch(range(400), split=split)
        found, target = made.oracle(batch), scored(batch)
        if made.numbers:
            torch.testing.assert_close(found.float(), target, rtol=0, atol=1e-5)
        else:
            assert torch.equal(found, target)


@pytest.mark.parametrize("name", MADE)
def test_chance_is_the_best_blind_guess(name):
    """The most frequent class (or the mean) of many items does as well, within its error."""
    made = task(name)
    batch = made.batch(range(3000), split="test")
    target = scored(batch).double()
    if made.numbers:
        errors = (target - target.mean()).square()
        assert (
            abs(float(errors.mean()) - made.chance) < 4 * float(errors.std()) / len(target) ** 0.5
        )
        return
    rows = (batch.targets != IGNORED).nonzero()[:, 0]
    most = int(target.mode().values)
    per_row = torch.zeros(len(batch.tokens)).index_add(0, rows, (target == most).float())
    counts = torch.zeros(len(batch.tokens)).index_add(0, rows, torch.ones(len(rows)))
    share = float(per_row.sum() / counts.sum())
    spread = float((per_row - share * counts).square().sum().sqrt() / counts.sum())
    # the most frequent of many equal classes lies above their common share
    assert made.chance - 4 * spread < share < made.chance + (4 + 0.5 * made.outputs**0.5) * spread


@pytest.mark.parametrize("name", MADE)
def test_every_rung_answers_everything(name):
    made = task(name)
    batch = made.batch(range(60), split="test")
    assert made.shortcuts
    for rule in made.shortcuts.values():
        assert rule(batch).shape == scored(batch).shape


def features(made, batch):
    """Of one scored target a row: length, its place, how many; and counts of tokens before it."""
    plain, counted, target = [], [], []
    for row, asked in enumerate(batch.targets):
        places = (asked != IGNORED).nonzero()[:, 0]
        place = int(places[row % len(places)])
        plain.append((int(batch.lengths[row]), place, len(places)))
        counted.append(
            np.bincount(batch.tokens[row, : place + 1].numpy(), minlength=made.vocabulary)
        )
        target.append(int(asked[place]))
    plain, counted = np.array(plain, dtype=float), np.array(counted, dtype=float)
    return plain, np.concatenate([plain, counted], 1), np.array(target)


@pytest.mark.parametrize("name", [name for name in MADE if not TASKS[name].numbers])
def test_position_length_and_frequency_tell_nothing(name):
    """Two classifiers stay at chance; where counts must tell, the task says so and has the rung."""
    made = task(name)
    train = features(made, made.batch(range(1500), split="train"))
    test = features(made, made.batch(range(1500), split="test"))
    target = test[2]
    guess = max(made.chance, np.bincount(target).max() / len(target))
    most = guess + 4 * (guess * (1 - guess) / len(target)) ** 0.5
    assert learned(train, test, 0) < most
    if name in COUNTS_ARE_THE_ANSWER:
        return
    if not made.informative:
        assert learned(train, test, 1) < most
        return
    batch = made.batch(range(1500), split="test")
    rungs = [
        float((rule(batch) == scored(batch)).double().mean()) for rule in made.shortcuts.values()
    ]
    best = max(rungs)
    assert learned(train, test, 1) < best + 4 * (0.25 / len(target)) ** 0.5


def learned(train, test, kind):
    """The better of two classifiers, on the test items."""
    forest = ExtraTreesClassifier(60, min_samples_leaf=4, random_state=0)
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=100))
    return max(
        model.fit(train[kind], train[2]).score(test[kind], test[2]) for model in (forest, linear)
    )


@pytest.mark.parametrize("name", MADE)
def test_other_lengths_have_the_same_ids(name):
    made = task(name)
    try:
        longer = made.at_length(2 * made.length)
    except UsageError:
        return  # a task of fixed length
    assert (longer.vocabulary, longer.outputs) == (made.vocabulary, made.outputs)
    assert longer.symbols == made.symbols
    batch = longer.batch(range(20), split="test")
    if not made.numbers:
        assert torch.equal(longer.oracle(batch), scored(batch))


@pytest.mark.parametrize("name", MADE)
def test_seeds_and_splits_differ(name):
    made = task(name)
    first = made.batch(range(30)).tokens
    for other in (made.batch(range(30), split="test"), task(name, seed=1).batch(range(30))):
        assert other.tokens.shape != first.shape or not torch.equal(other.tokens, first)


def test_no_item_at_all():
    for name in MADE:
        batch = task(name).batch([])
        assert len(batch.tokens) == 0
        assert len(scored(batch)) == 0


def main():
    found = {name: {split: digest(task(name), split) for split in SPLITS} for name in MADE}
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
