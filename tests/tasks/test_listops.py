"""ListOps: evaluator, trees, exact law, ladder, balanced values, files."""

import gzip
import itertools
import random
import statistics

import numpy as np
import pytest
import torch

from howfar.core.errors import DataError, UsageError
from howfar.tasks.base import distances, scored
from howfar.tasks.listops import ListOps
from howfar.tasks.listops_law import values_by_length
from howfar.tasks.listops_values import (
    SYMBOLS,
    depth_needed,
    evaluate,
    parsed,
    read_nangia,
    seen,
)

# Copied from test_d20s of Nangia & Bowman (MIT licence).
COPIED = [
    ("[SM [SM 3 9 9 3 ] 5 ]", 9),
    ("[MED 1 9 [MAX 5 0 3 7 ] 0 ]", 4),
    ("[MAX 0 [MED 6 5 9 2 ] 1 ]", 5),
    ("[MED 4 [SM 8 6 0 ] 6 5 ]", 4),
    ("[MED 9 5 [MAX 7 4 6 5 ] 5 ]", 6),
    ("[MED 2 4 1 ]", 2),
    ("[MED 1 4 0 6 9 ]", 4),
    ("[MAX 3 7 5 0 5 ]", 7),
    ("[MAX 0 3 9 6 4 ]", 9),
    ("[MED 3 0 1 ]", 1),
    ("[SM 8 5 6 7 5 ]", 1),
    ("[MIN [MED 1 9 ] 1 7 1 9 ]", 1),
    ("[MIN 0 1 7 ]", 0),
    ("[MED 2 8 4 7 ]", 5),
    ("[MED [MED 2 4 ] 1 8 9 ]", 5),
    ("[MED 0 [SM 9 5 ] 3 ]", 3),
    ("[MIN 4 0 [MED 2 4 6 ] 8 ]", 0),
    ("[MIN 6 6 4 1 2 ]", 1),
    ("[MED 3 2 6 [MED 2 5 ] ]", 3),
    ("( ( ( ( ( [SM 6 ) 5 ) 9 ) 0 ) ] )", 0),
    ("( ( ( ( [MAX 1 ) 5 ) ( ( ( ( [MIN 9 ) 2 ) 5 ) ] ) ) ] )", 5),
]
USUAL = {"[MIN": 0, "[MAX": 9, "[MED": 4, "[SM": 6}


def tree(words):
    """A nested list out of a list of symbols, taken from its left end."""
    word = words.pop(0)
    if not word.startswith("["):
        return int(word)
    node = [word]
    while words[0] != "]":
        node.append(tree(words))
    words.pop(0)
    return node


def worth(node, levels=99):
    """The value, sub-trees below `levels` levels guessed by their operator."""
    if isinstance(node, int):
        return node
    if levels == 0:
        return USUAL[node[0]]
    values = [worth(child, levels - 1) for child in node[1:]]
    if node[0] == "[MED":
        return int(statistics.median(values))
    return {"[MIN": min, "[MAX": max, "[SM": lambda some: sum(some) % 10}[node[0]](values)


def depth_of(node):
    return 1 if isinstance(node, int) else 1 + max(depth_of(child) for child in node[1:])


def inner_of(node):
    """Operators in a tree."""
    return 0 if isinstance(node, int) else 1 + sum(inner_of(child) for child in node[1:])


def words_of(batch):
    return [
        [SYMBOLS[token] for token in row[:length]]
        for row, length in zip(batch.tokens.tolist(), batch.lengths.tolist(), strict=True)
    ]


def grown(draw, depth, most):
    """One tree as the generator of the Long Range Arena grows it, and its tokens."""
    if depth == most or draw.random() > 0.25:
        return draw.randrange(10), 1
    children = [grown(draw, depth + 1, most) for _ in range(draw.randint(2, 10))]
    node = [draw.choice(list(USUAL)), *(child for child, _ in children)]
    return node, 2 + sum(size for _, size in children)


@pytest.fixture(scope="module")
def batch():
    return ListOps().batch(range(2400), split="test")


@pytest.mark.parametrize(("expression", "label"), COPIED)
def test_labels_of_the_original_files(expression, label):
    assert evaluate(parsed(expression)) == label


def test_items_are_whole_expressions_within_their_bounds(batch):
    for words, answer in list(zip(words_of(batch), scored(batch).tolist(), strict=True))[:300]:
        node = tree(list(words))
        assert worth(node) == answer
        assert 501 <= len(words) <= 1999
        assert depth_of(node) <= 10
    assert torch.equal(ListOps().oracle(batch), scored(batch))
    assert torch.equal(distances(batch), batch.lengths - 1)
    last = batch.targets.gather(1, (batch.lengths - 1)[:, None])[:, 0]
    assert torch.equal(last, scored(batch))
    assert len(scored(batch)) == 2400


def test_trees_have_the_law_of_the_slow_generator(batch):
    draw = random.Random(5)
    slow = []
    while len(slow) < 400:
        node, size = grown(draw, 1, 10)
        if 500 < size < 2000:
            slow.append((size, len(node) - 1, inner_of(node)))
    fast = []
    for words in words_of(batch)[:1200]:
        node = tree(list(words))
        fast.append((len(words), len(node) - 1, inner_of(node)))
    slow, fast = np.array(slow, dtype=float), np.array(fast, dtype=float)
    error = np.sqrt(slow.var(0) / len(slow) + fast.var(0) / len(fast))
    assert (abs(slow.mean(0) - fast.mean(0)) < 3.5 * error).all()


def test_the_ladder_is_the_one_that_is_known(batch):
    """Shares as worked out for the settings of the Long Range Arena, within 3 standard errors."""
    task, want = ListOps(), scored(batch)
    known = (0.175, 0.368, 0.599, 0.739, 0.829, 0.897, 0.933)
    assert len(task.shortcuts) == len(known)
    for (name, rule), share in zip(task.shortcuts.items(), known, strict=True):
        got = float((rule(batch) == want).double().mean())
        # The known shares are themselves of 6,000 samples.
        error = (share * (1 - share) * (1 / 2400 + 1 / 6000)) ** 0.5
        assert abs(got - share) < 3 * error, name


def test_rungs_equal_a_slow_evaluator(batch):
    words = words_of(batch)[:200]
    for levels, rule in enumerate(list(ListOps().shortcuts.values())[1:]):
        some = type(batch)(batch.tokens[:200], batch.lengths[:200], batch.targets[:200])
        assert rule(some).tolist() == [worth(tree(list(row)), levels) for row in words]


def test_seen_by_hand():
    tokens = np.array(parsed("[MAX 4 [MIN 7 [SM 1 1 ] ] 3 ]"))
    assert [seen(tokens, levels) for levels in range(4)] == [9, 4, 6, 4]


def test_chance_is_the_share_of_the_most_frequent_value(batch):
    share = np.bincount(scored(batch).numpy()).max() / 2400
    assert abs(ListOps().chance - share) < 3 * (0.17 * 0.83 / 2400) ** 0.5 + 0.003


def test_the_law_of_small_trees_by_enumeration():
    """Depth 3 with two or three children: all trees of up to 6 tokens, one by one."""
    law = values_by_length(3, 3, 6)
    want = np.zeros((4, 10, 7))
    operators = list(USUAL)

    def add(children, probability, size):
        for place, operator in enumerate(operators):
            want[place, worth([operator, *children]), size] += probability / 4

    for num in (2, 3):
        for digits in itertools.product(range(10), repeat=num):
            add(digits, 0.5 * 0.075**num, num + 2)
    inner = np.zeros(10)
    for digits in itertools.product(range(10), repeat=2):
        for operator in operators:
            inner[worth([operator, *digits])] += 0.25 * 0.5 * 0.25 * 0.01
    # A digit and an inner operator of two digits, in either order: 2 + 1 + 4 tokens are too many.
    assert inner.sum() == pytest.approx(0.125)
    assert abs(law[:, :, :6] - want[:, :, :6]).max() < 1e-8
    assert values_by_length(3, 3, 7).sum((0, 1))[7] == pytest.approx(2 * 0.5 * 0.75 * 0.125)


def test_every_value_is_as_frequent_when_balanced():
    task = ListOps(balanced=True, shortest=20, length=120)
    batch = task.batch(range(6000))
    want = scored(batch).numpy()
    assert torch.equal(task.oracle(batch), scored(batch))
    assert task.chance == 0.1
    for operator in range(11, 15):
        values = want[batch.tokens[:, 0].numpy() == operator]
        counts = np.bincount(values, minlength=10)
        expected = len(values) / 10
        assert ((counts - expected) ** 2 / expected).sum() < 33  # chi-squared, 9 degrees: 1e-4
    first = list(task.shortcuts.values())[1]
    assert abs(float((first(batch).numpy() == want).mean()) - 0.1) < 0.015


def test_balanced_children_are_equally_likely_rows():
    """[OP a b ]: given its value, each row of two digits is as likely as any other."""
    task = ListOps(balanced=True, shortest=4, length=4, arguments=2)
    batch = task.batch(range(20_000))
    rows = batch.tokens[:, :3].numpy()
    for symbol, operator in ((11, "[MIN"), (13, "[MED")):
        counts = {}
        for _, one, two in rows[rows[:, 0] == symbol] - 1:
            counts[one, two] = counts.get((one, two), 0) + 1
        total = sum(counts.values())
        for pair in itertools.product(range(10), repeat=2):
            same = [
                other
                for other in itertools.product(range(10), repeat=2)
                if worth([operator, *other]) == worth([operator, *pair])
            ]
            expected = total / 10 / len(same)
            assert abs(counts.get(pair, 0) - expected) < 4.5 * expected**0.5


@pytest.mark.parametrize("length", [4, 5, 13, 64, 1000])
@pytest.mark.parametrize("balanced", [False, True])
def test_one_exact_length(length, balanced):
    task = ListOps(balanced=balanced).at_length(length)
    batch = task.batch(range(60))
    assert (batch.lengths == length).all()
    assert torch.equal(task.oracle(batch), scored(batch))
    for words in words_of(batch):
        node = tree(list(words))
        assert depth_of(node) <= 10
        pending = [node]
        while pending:
            inner = pending.pop()
            assert 2 <= len(inner) - 1 <= 10
            pending += [child for child in inner[1:] if not isinstance(child, int)]


def test_depth_needed_by_trying_every_value():
    """Sub-trees that are not seen get every value in turn; one value of the whole: deep enough."""

    def possible(node, levels):
        if isinstance(node, int):
            return {node}
        if levels == 0:
            return set(range(10))
        parts = [sorted(possible(child, levels - 1)) for child in node[1:]]
        return {worth([node[0], *row]) for row in itertools.product(*parts)}

    batch = ListOps(length=24, shortest=4, arguments=3).batch(range(250))
    exact = 0
    for words in words_of(batch):
        node = tree(list(words))
        need = next(levels for levels in range(20) if len(possible(node, levels)) == 1)
        got = depth_needed([SYMBOLS.index(word) for word in words])
        assert got >= need
        exact += got == need
    assert exact >= 245
    assert depth_needed(parsed("[MAX 9 [MIN 1 [SM 2 2 ] ] ]")) == 1
    assert depth_needed(parsed("[MAX 8 [MIN 1 [SM 2 2 ] ] ]")) == 2
    assert depth_needed(parsed("[SM 8 [SM 1 [SM 2 2 ] ] ]")) == 3
    needs = ListOps(length=24, shortest=4).depth_needed(batch)
    assert needs.shape == (250,)


def test_items_do_not_depend_on_their_batch():
    for task in (ListOps(), ListOps(balanced=True), ListOps().at_length(300)):
        whole = task.batch(range(21)).tokens
        for shards in (1, 2, 7):
            for shard in range(shards):
                numbers = range(shard, 21, shards)
                assert torch.equal(task.batch(numbers).tokens, whole[list(numbers)])
        assert len(task.batch([]).tokens) == 0


def test_splits_and_seeds_differ():
    first = ListOps().batch(range(20)).tokens
    assert not torch.equal(first, ListOps(seed=1).batch(range(20)).tokens)
    assert not torch.equal(first, ListOps().batch(range(20), split="test").tokens)


@pytest.mark.parametrize(
    ("settings", "inequality"),
    [
        ({"depth": 1}, "2 <= depth <= 64"),
        ({"arguments": 1}, "2 <= arguments <= 10"),
        ({"shortest": 3}, "4 <= shortest <= length"),
        ({"length": 400}, "4 <= shortest <= length"),
        ({"length": 20_000}, "length <= 16384"),
        ({"depth": 2}, "of all trees"),
    ],
)
def test_bad_settings_are_named(settings, inequality):
    with pytest.raises(UsageError, match=inequality):
        ListOps(**settings)


@pytest.mark.parametrize(
    "expression", ["", "]", "[MIN ]", "1 2", "[MAX 1", "[MAX 1 ] ]", "[AVG 1 ]", "10"]
)
def test_what_is_no_expression_is_refused(expression):
    with pytest.raises(DataError, match="Not a ListOps expression"):
        evaluate(parsed(expression))
    with pytest.raises(DataError, match="no symbol"):
        evaluate([0, 99])


def test_reading_a_file(tmp_path):
    text = "".join(f"{label}\t{expression}\n" for expression, label in COPIED)
    (tmp_path / "a.tsv").write_text(text)
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("a.tsv", "a.tsv.gz"):
        rows = list(read_nangia(tmp_path / name))
        assert [label for _, label in rows] == [label for _, label in COPIED]
        assert all(evaluate(tokens) == label for tokens, label in rows)
    for line in ("x\t[MIN 1 2 ]", "1 [MIN 1 2 ]", "1\t[MIN 1 two ]"):
        (tmp_path / "bad.tsv").write_text(f"1\t[MIN 1 2 ]\n{line}\n")
        with pytest.raises(DataError, match=r"bad\.tsv:2"):
            list(read_nangia(tmp_path / "bad.tsv"))
