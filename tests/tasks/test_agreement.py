"""Agreement: sentences by hand, distances, ladder in closed form."""

from math import comb

import pytest
import torch

from howfar.core.errors import UsageError
from howfar.tasks.agreement import NOUNS, PREPOSITIONS, VERBS, Agreement
from howfar.tasks.base import distances, scored

PLURALS = {noun + "s" for noun in NOUNS}


def sentence(task, row):
    return [task.symbols[token] for token in row.tolist() if token]


def heads(words):
    """Place and number of the nouns that stand in no phrase and no clause, by reading on."""
    found, place = [], 0
    while place < len(words):
        if words[place] in PREPOSITIONS:
            place += 3  # Prep the N
        elif words[place] == "that":
            place += 4  # that the N Verb
        else:
            if words[place] in PLURALS or words[place] in NOUNS:
                found.append((place, int(words[place] in PLURALS)))
            place += 1
    return found


def numbers(words):
    return [int(word in PLURALS) for word in words if word in PLURALS or word in NOUNS]


def test_a_sentence_by_hand():
    task = Agreement()
    text = "near the dogs , often the key to the cabinets that the girl saw V?"
    batch = task.batch([0])
    tokens = torch.tensor([[task.symbols.index(word) for word in text.split()]])
    made = type(batch)(tokens, torch.tensor([15]), torch.tensor([[-100] * 14 + [0]]))
    assert task.oracle(made).tolist() == [0]
    got = {name: rule(made).tolist() for name, rule in task.shortcuts.items()}
    assert got == {
        "always singular": [0],
        "the nearest noun": [0],
        "the first noun": [1],
        "the number most nouns have": [0],  # two of each, and the nearest is the girl
    }
    assert task.against(made).tolist() == [1]


@pytest.mark.parametrize("task", [Agreement(), Agreement(attractors=0, shortest=7, length=9)])
@pytest.mark.parametrize("length", [None, 23, 300])
def test_sentences_are_what_the_grammar_makes(task, length):
    task = task if length is None else task.at_length(length)
    batch = task.batch(range(300), split="validation")
    assert torch.equal(task.oracle(batch), scored(batch))
    assert int(batch.lengths.min()) >= task.shortest
    for row, length_, far, answer, against in zip(
        batch.tokens,
        batch.lengths.tolist(),
        distances(batch).tolist(),
        scored(batch).tolist(),
        task.against(batch).tolist(),
        strict=True,
    ):
        words = sentence(task, row)
        assert len(words) == length_
        assert words[-1] == "V?"
        ((place, number),) = heads(words)
        assert (length_ - 1 - place, number) == (far, answer)
        assert words[place - 1] == "the"
        assert against == sum(other != answer for other in numbers(words[place:]))
        for at, word in enumerate(words):
            if word == "that":
                assert words[at + 3] in VERBS
    lengths = set(batch.lengths.tolist())
    assert lengths == set(range(task.shortest, task.length + 1))


def majority(task):
    """Share right of the number most nouns have, ties to the nearest, head counted: by cases."""
    q, share = task.opposite / 100, 0.0
    for front in (0, 1):
        for parts in range(task.attractors + 1):
            for other in range(parts + 1):
                binom = comb(parts, other) * q**other * (1 - q) ** (parts - other)
                for flipped in range(front + 1):
                    weight = binom * ((q if flipped else 1 - q) if front else 1)
                    same = 1 + parts - other + front - flipped
                    lead = same - (other + flipped)
                    tied = 1 if parts == 0 else (parts - other) / parts
                    right = 1.0 if lead > 0 else tied if lead == 0 else 0.0
                    share += weight * right / 2 / (task.attractors + 1)
    return share


@pytest.mark.parametrize("opposite", [50, 80, 100])
def test_the_ladder_has_its_closed_forms(opposite):
    task = Agreement(opposite=opposite)
    batch = task.batch(range(5000), split="test")
    q, most = opposite / 100, task.attractors
    want = {
        "always singular": 0.5,
        "the nearest noun": (1 + most * (1 - q)) / (1 + most),
        "the first noun": 1 - q / 2,
        "the number most nouns have": majority(task),
    }
    for name, rule in task.shortcuts.items():
        got = float((rule(batch) == scored(batch)).double().mean())
        assert abs(got - want[name]) < 3 * (0.25 / 5000) ** 0.5, name


def test_rungs_equal_slow_rules():
    task = Agreement()
    batch = task.batch(range(500))
    for row, first, nearest, most in zip(
        batch.tokens,
        *(rule(batch).tolist() for rule in list(task.shortcuts.values())[1:]),
        strict=True,
    ):
        # The order of the ladder: nearest, first, most.
        found = numbers(sentence(task, row))
        assert (first, nearest) == (found[-1], found[0])
        double = 2 * sum(found)
        assert most == (found[-1] if double == len(found) else int(double > len(found)))


def test_items_do_not_depend_on_their_batch():
    task = Agreement()
    whole = task.batch(range(28)).tokens
    for shards in (1, 2, 7):
        for shard in range(shards):
            numbers_ = list(range(shard, 28, shards))
            assert torch.equal(task.batch(numbers_).tokens, whole[numbers_])
    assert not torch.equal(whole, task.batch(range(28), split="test").tokens)
    assert not torch.equal(whole, Agreement(seed=1).batch(range(28)).tokens)
    assert len(set(task.symbols)) == len(task.symbols) == task.vocabulary
    assert task.at_length(300).vocabulary == task.vocabulary > int(whole.max())


@pytest.mark.parametrize(
    ("settings", "inequality"),
    [
        ({"attractors": 5}, r"7 \+ 4 \* attractors <= shortest"),
        ({"attractors": -1}, "attractors >= 0"),
        ({"opposite": 101}, "0 <= opposite <= 100"),
        ({"length": 10}, "shortest <= length"),
    ],
)
def test_bad_settings_are_named(settings, inequality):
    with pytest.raises(UsageError, match=inequality):
        Agreement(**settings)
