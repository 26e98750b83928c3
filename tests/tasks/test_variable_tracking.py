"""Variable tracking: statements read slowly, distances, ladder in closed form."""

import pytest
import torch

from howfar.core.errors import UsageError
from howfar.tasks.base import distances, scored
from howfar.tasks.variable_tracking import VariableTracking


def read(task, row):
    """Statements (place, name, right-hand side) and questions (place, name), by reading on."""
    words = [task.symbols[token] for token in row.tolist()]
    statements, questions, place = [], [], 0
    while place < len(words):
        if words[place] == "SET":
            statements.append((place, words[place + 1], words[place + 2]))
            place += 3
        elif words[place] == "ASK":
            questions = list(enumerate(words))[place + 1 :]
            break
        else:
            assert words[place].startswith(".")
            place += 1
    return statements, questions


def chain_of(statements, name):
    """Statements from the asked name back to its value."""
    by_name = {left: (place, right) for place, left, right in statements}
    chain = []
    while name in by_name:
        chain.append((by_name[name][0], name))
        name = by_name[name][1]
    return chain, name


@pytest.mark.parametrize("length", [53, 54, 128, 1000])
def test_oracle_and_distances_by_reading(length):
    task = VariableTracking(length=length)
    batch = task.batch(range(150), split="test")
    assert torch.equal(task.oracle(batch), scored(batch))
    answers, far = scored(batch).view(150, -1), distances(batch).view(150, -1)
    hops = task.hops_asked(batch).view(150, -1)
    for row, *rest in zip(batch.tokens, answers.tolist(), far.tolist(), hops.tolist(), strict=True):
        statements, questions = read(task, row)
        assert len(statements) == 16
        assert len({left for _, left, _ in statements}) == 16
        assert len(questions) == 4
        roots = set()
        for (place, name), answer, back, hop in zip(questions, *rest, strict=True):
            chain, value = chain_of(statements, name)
            assert value == str(answer)
            assert back == place - chain[-1][0] - 2
            assert hop == len(chain) - 1
            assert [at for at, _ in chain] == sorted((at for at, _ in chain), reverse=True)
            roots.add(chain[-1])
        assert len(roots) == 4


def test_one_item_by_hand():
    task = VariableTracking(length=12, chains=1, hops=2, names=3, values=2, noise=1)
    assert task.symbols == ("_", "SET", "ASK", "v0", "v1", "v2", "0", "1", ".0")
    text = "SET v1 1 SET v0 v1 SET v2 v0 .0 ASK v2"
    tokens = torch.tensor([[task.symbols.index(word) for word in text.split()]])
    batch = type(task.batch([0]))(tokens, torch.tensor([12]), torch.tensor([[-100] * 11 + [1]]))
    assert task.oracle(batch).tolist() == [1]
    assert task.hops_asked(batch).tolist() == [2]
    got = {name: rule(batch).tolist() for name, rule in task.shortcuts.items()}
    assert got == {
        "always the same value": [0],
        "the last value": [1],
        "the last value before it is set": [1],
        "follows no copy": [0],
        "follows at most 1 copy": [0],
    }


def test_the_ladder_has_its_closed_forms():
    task = VariableTracking(chains=3, hops=3, values=8)
    batch = task.batch(range(3000), split="test")
    want = {"always the same value": 1 / 8, "the last value": 1 / 3 + 2 / 3 / 8}
    for hops in range(3):
        share = (hops + 1) / 4
        name = ("follows no copy", "follows at most 1 copy", "follows at most 2 copies")[hops]
        want[name] = share + (1 - share) / 8
    for name, share in want.items():
        got = float((task.shortcuts[name](batch) == scored(batch)).double().mean())
        # The three questions of a row share its values: one row, one trial, is on the safe side.
        assert abs(got - share) < 3 * (share * (1 - share) / 3000) ** 0.5, name
    assert task.chance == 1 / 8


def test_the_last_value_before_it_is_set_by_reading():
    task = VariableTracking()
    batch = task.batch(range(200))
    got = task.shortcuts["the last value before it is set"](batch).tolist()
    want = []
    for row in batch.tokens:
        statements, questions = read(task, row)
        for _, name in questions:
            held = 0
            for _, left, right in statements:
                held = int(right) if right.isdigit() else held
                if left == name:
                    want.append(held)
                    break
    assert got == want


def test_items_do_not_depend_on_their_batch():
    task = VariableTracking()
    whole = task.batch(range(28)).tokens
    for shards in (1, 2, 7):
        for shard in range(shards):
            numbers = list(range(shard, 28, shards))
            assert torch.equal(task.batch(numbers).tokens, whole[numbers])
    assert not torch.equal(whole, task.batch(range(28), split="test").tokens)
    assert not torch.equal(whole, VariableTracking(seed=1).batch(range(28)).tokens)
    assert len(set(task.symbols)) == task.vocabulary == task.at_length(4096).vocabulary


def test_the_smallest_task():
    task = VariableTracking(chains=1, hops=0, names=1, values=2, noise=1, length=5)
    batch = task.batch(range(50))
    assert torch.equal(task.oracle(batch), scored(batch))
    assert (distances(batch) == 2).all()
    assert (task.hops_asked(batch) == 0).all()


@pytest.mark.parametrize(
    ("settings", "inequality"),
    [
        ({"length": 52}, r"3 \* chains \* \(hops \+ 1\) \+ 1 \+ chains <= length"),
        ({"names": 15}, r"chains \* \(hops \+ 1\) <= names"),
        ({"values": 1}, "values >= 2"),
        ({"noise": 0}, "noise >= 1"),
        ({"chains": 0}, "chains >= 1"),
        ({"hops": -1}, "hops >= 0"),
    ],
)
def test_bad_settings_are_named(settings, inequality):
    with pytest.raises(UsageError, match=inequality):
        VariableTracking(**settings)
