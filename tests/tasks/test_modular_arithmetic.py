"""Modular arithmetic: Python's own evaluation, exact shares of 0 by enumeration, the grammar."""

import ast
import itertools
import math
import operator

import pytest
import torch

from howfar.core.errors import UsageError
from howfar.tasks.base import distances, scored
from howfar.tasks.expressions import SYMBOLS, evaluate, fold, surely_zero
from howfar.tasks.modular_arithmetic import ModularArithmetic

DONE = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


def worked(node):
    """The value of a tree of Python's parser."""
    if isinstance(node, ast.BinOp):
        return DONE[type(node.op)](worked(node.left), worked(node.right))
    if isinstance(node, ast.UnaryOp):
        return -worked(node.operand)
    return node.value


def python(text):
    return worked(ast.parse(text, mode="eval").body) % 5


def texts(batch):
    pairs = zip(batch.tokens.tolist(), batch.lengths.tolist(), strict=True)
    return ["".join(SYMBOLS[token] for token in row[:length]) for row, length in pairs]


def ids(text):
    return [SYMBOLS.index(letter) for letter in text]


KINDS = [{"brackets": brackets, "times": times} for brackets in (0, 1) for times in (0, 1)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [2, 3, 4, 40, 181])
def test_python_agrees(kind, length):
    made = ModularArithmetic(length=length, **kind)
    for task in (made, made.at_length(length)):
        batch = task.batch(range(100), split="test")
        for number, text in enumerate(texts(batch)):
            assert text.endswith("=")
            assert not any(batch.tokens[number, len(text) :])
            assert int(batch.targets[number, len(text) - 1]) == python(text[:-1])
            assert ("*" in text) <= bool(kind["times"])
            assert ("(" in text) == (bool(kind["brackets"]) and len(text) > 3)
        assert torch.equal(task.oracle(batch), scored(batch))
        assert torch.equal(distances(batch), batch.lengths - 1)
    assert set(batch.lengths.tolist()) == {length}


def test_reading_by_hand():
    assert evaluate(ids("1+2*3")) == 2
    assert evaluate(ids("1-1-1")) == 4
    assert evaluate(ids("0*1+4*3-2")) == 0
    assert evaluate(ids("-2*3+1")) == 0
    assert evaluate(ids("(2*(4-1))")) == 1
    assert evaluate(ids("(2+(4-1))"), levels=1) == 2  # what is deeper counts as 0
    assert evaluate(ids("(2+(4-(1+1)))"), levels=2) == 1
    assert fold(ids("1+2*3")) == 4
    assert fold(ids("(2*(4-1))")) == 2


def test_always_zero_is_as_frequent_as_counted():
    """All expressions of up to 3 operators, each as likely as the other."""
    for operators, signs in ((2, "+-"), (3, "+-*")):
        sure = surely_zero(7, operators, brackets=False)
        for count in range(4):
            zero = total = 0
            for digits in itertools.product("01234", repeat=count + 1):
                for between in itertools.product(signs, repeat=count):
                    text = digits[0] + "".join(map("".join, zip(between, digits[1:], strict=True)))
                    zero += python(text) == 0
                    total += 1
            a = sure[2 * count]
            assert a + (1 - a) / 5 == pytest.approx(zero / total, abs=1e-12)


def test_zero_in_a_small_tree():
    """(a+b), (a-b), (a*b) of 5 tokens: 9 of 25 products are 0, 5 of 25 sums."""
    a = surely_zero(5, 3, brackets=True)[4]
    assert a + (1 - a) / 5 == pytest.approx((5 + 5 + 9) / 75)


@pytest.mark.parametrize("kind", KINDS)
def test_chance_and_rungs(kind):
    made = ModularArithmetic(length=30, **kind)
    batch = made.batch(range(3000))
    target, read = scored(batch).tolist(), [text[:-1] for text in texts(batch)]
    error = 4 * 0.45 / math.sqrt(3000)
    shares = [target.count(value) / 3000 for value in range(5)]
    assert shares[0] == pytest.approx(made.chance, abs=error)
    for share in shares[1:]:
        assert share == pytest.approx((1 - made.chance) / 4, abs=error)
    rungs = {name: rule(batch).tolist() for name, rule in made.shortcuts.items()}
    assert not any(rungs["always 0"])
    digits = [[int(letter) for letter in text if letter.isdigit()] for text in read]
    assert rungs["the last digit"] == [numbers[-1] for numbers in digits]
    assert rungs["the sum of all digits"] == [sum(numbers) % 5 for numbers in digits]
    assert rungs["from left to right"] == list(map(straight, read))
    near = "the last 8 tokens from left to right"
    assert rungs[near] == [straight(text[-7:]) for text in read]
    if not (kind["times"] or kind["brackets"]):
        assert rungs["from left to right"] == target


def straight(text):
    """Left to right: brackets nothing, signs before numbers as they come."""
    value, sign = 0, "+"
    for letter in text:
        if letter in "+-*":
            sign = letter
        elif letter.isdigit():
            value = python(f"{value}{sign}{letter}")
    return value


def test_levels_go_deeper():
    """Two levels are worth more than one, and all of them everything."""
    made = ModularArithmetic(brackets=True)
    batch = made.batch(range(1000))
    share = {
        name: float((rule(batch) == scored(batch)).double().mean())
        for name, rule in made.shortcuts.items()
    }
    assert share["always 0"] < share["one level"] < share["two levels"] < 1


def test_items_do_not_depend_on_their_batch_but_on_seed_and_split():
    for brackets in (False, True):
        made = ModularArithmetic(brackets=brackets)
        whole = made.batch(range(42))
        for shards in (1, 2, 7):
            for shard in range(shards):
                part = made.batch(range(shard, 42, shards))
                assert torch.equal(part.tokens, whole.tokens[shard::shards])
                assert torch.equal(part.targets, whole.targets[shard::shards])
        assert not torch.equal(whole.tokens, made.batch(range(42), split="test").tokens)
        other = ModularArithmetic(brackets=brackets, seed=1)
        assert not torch.equal(whole.tokens, other.batch(range(42)).tokens)


def test_state_bits():
    assert ModularArithmetic().state_bits == pytest.approx(math.log2(25))
    assert ModularArithmetic(times=False).state_bits == pytest.approx(math.log2(10))
    assert ModularArithmetic(brackets=True).state_bits is None


def test_refusals():
    with pytest.raises(UsageError, match="shortest >= 2"):
        ModularArithmetic(shortest=1)
    with pytest.raises(UsageError, match="shortest <= length; got length=4, shortest=5"):
        ModularArithmetic(length=4, shortest=5)
