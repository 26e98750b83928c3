"""Modified Kneser-Ney against a twin made of dictionaries, values by hand, and sums to one."""

import math
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from howfar.core.errors import DataError
from howfar.data.running import load_running
from howfar.study import ngram
from howfar.study.ngram import KneserNey, bits

SHAKESPEARE = Path(__file__).parents[3] / "shared" / "data" / "tinyshakespeare" / "input.txt"


class Twin:
    """The same, read from the paper: one dictionary of counts an order, one probability a call."""

    def __init__(self, order, vocabulary):
        self.order, self.vocabulary = order, vocabulary

    def fit(self, ids):
        ids = ["start", *map(int, ids)]
        self.counts = []
        for n in range(1, self.order + 1):
            longest = Counter(tuple(ids[i : i + n]) for i in range(1, len(ids) - n + 1))
            before = defaultdict(set)
            for i in range(len(ids) - n):
                before[tuple(ids[i + 1 : i + 1 + n])].add(ids[i])
            inner = {gram: len(seen) for gram, seen in before.items()}
            self.counts.append((longest, inner))
        return self

    def discounts(self, counts):
        n1, n2, n3, n4 = (list(counts.values()).count(k) for k in (1, 2, 3, 4))
        usual = [0.75, 0.75, 0.75]
        if 0 in (n1, n2, n3):
            return [0, *usual]
        y = n1 / (n1 + 2 * n2)
        found = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
        pairs = zip(found, usual, (1, 2, 3), strict=True)
        return [0, *(d if 0 < d < most else u for d, u, most in pairs)]

    def p(self, word, context, n=None, top=True):
        n = self.order if n is None else n
        if n == 0:
            return 1 / self.vocabulary
        if len(context) < n - 1:
            return self.p(word, context, n - 1, top)
        context = tuple(context[len(context) - n + 1 :])
        counts = self.counts[n - 1][0 if top else 1]
        d = self.discounts(counts)
        following = {g[-1]: a for g, a in counts.items() if g[:-1] == context}
        total = sum(following.values())
        if total == 0:
            return self.p(word, context[1:], n - 1, False)
        a = following.get(word, 0)
        left = sum(d[min(k, 3)] for k in following.values()) / total
        shorter = self.p(word, context[1:], n - 1, False)
        return (a - d[min(a, 3)]) / total + left * shorter


def text(length, vocabulary, seed=0):
    """Ids that repeat, so that every order has something to count."""
    draws = np.random.default_rng(seed)
    return np.where(draws.random(length) < 0.7, np.arange(length) % 3, draws.integers(vocabulary))


def test_by_hand():
    # "a b a b b", V = 2. a occurs twice, b three times: D is 0.75 for want of counts.
    model = KneserNey(1, 2).fit([0, 1, 0, 1, 1])
    a = (2 - 0.75) / 5 + 1.5 / 5 * 0.5
    np.testing.assert_allclose(model.nats([0]), -math.log(a))
    # One order more: after a stands b twice. b stands after a and b, a after the start and b.
    inner_b = (2 - 0.75) / 4 + 1.5 / 4 * 0.5
    after_a = (2 - 0.75) / 2 + 0.75 / 2 * inner_b
    got = KneserNey(2, 2).fit([0, 1, 0, 1, 1]).nats([0, 1])
    np.testing.assert_allclose(got[1], -math.log(after_a))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_equals_its_twin(order, seed):
    train, asked = text(400, 7, seed), text(60, 7, seed + 9)
    twin = Twin(order, 7).fit(train)
    want = []
    for i, word in enumerate(asked):
        context = asked[max(0, i - order + 1) : i].tolist()
        # A context cut off by the start of the text is that of the longest order it fills,
        # mixed from counts of what stands before, as it is a shorter one.
        want.append(-math.log(_short(twin, int(word), context, order)))
    np.testing.assert_allclose(KneserNey(order, 7).fit(train).nats(asked), want, rtol=1e-12)


def _short(twin, word, context, order):
    n = len(context) + 1
    return twin.p(word, context) if n == order else twin.p(word, context, n, top=False)


@pytest.mark.parametrize("order", [1, 2, 4, 8])
@pytest.mark.parametrize("length", [1, 2, 3, 40, 3000])
def test_probabilities_sum_to_one(order, length):
    train, vocabulary = text(length, 5), 6  # id 5 never occurs
    model = KneserNey(order, vocabulary).fit(train)
    for context in ([], [0], [5], [0, 1, 2], text(9, 5, 3).tolist(), [5, 5, 0, 1]):
        p = [math.exp(-model.nats([*context, word])[-1]) for word in range(vocabulary)]
        assert min(p) > 0
        assert sum(p) == pytest.approx(1, abs=1e-12)


def test_each_order_is_that_of_a_shorter_model():
    train, asked = text(500, 9), text(50, 9, 4)
    every = KneserNey(4, 9).fit(train).nats_by_order(asked)
    for order, nats in enumerate(every[:3], start=1):
        single = KneserNey(order, 9).fit(train).nats(asked)
        # The first ids have short contexts: the last order of each is reached after them.
        np.testing.assert_allclose(nats[order - 1 :], single[order - 1 :], rtol=1e-12)


def test_order_is_chosen_on_the_validation_text():
    alternating = np.arange(2000) % 2
    found = bits(alternating, alternating[:100], alternating[:50], 2)
    assert found.order > 1
    assert found.nats.shape == (50,)
    assert found.nats[10:].mean() < 0.01
    noise = np.random.default_rng(1).integers(2, size=4000)
    assert bits(noise[:3000], noise[3000:], noise[:100], 2).order <= 3
    assert len(found.validation_nats) == ngram.MAX_ORDER


def test_empty_and_foreign_ids():
    with pytest.raises(DataError) as caught:
        KneserNey(2, 3).fit([])
    assert caught.value.code == "E-EMPTY"
    with pytest.raises(DataError):
        bits([0, 1], [], [0], 2)
    with pytest.raises(DataError) as caught:
        KneserNey(2, 3).fit([0, 3])
    assert caught.value.code == "E-ID"
    with pytest.raises(ValueError, match="1 or more"):
        KneserNey(0, 3)
    assert bits([0, 1], [0], [], 2).nats.shape == (0,)


@pytest.mark.skipif(not SHAKESPEARE.exists(), reason="the text is not beside the repository")
def test_tiny_shakespeare_by_character():
    running = load_running(SHAKESPEARE, tokens="char")
    started = time.process_time()
    found = bits(running.train, running.validation, running.test, running.tokeniser.vocabulary)
    assert time.process_time() - started < 20
    assert 2.35 < found.nats.mean() / math.log(2) < 2.45
    assert found.order in (6, 7, 8)
