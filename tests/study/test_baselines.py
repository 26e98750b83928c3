import csv
import itertools
import math
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from howfar.core.errors import DataError
from howfar.measure.demand.ngram import NGram, best_ngram
from howfar.study.baselines import majority, tfidf

SHARED = Path(__file__).parents[3] / "shared" / "data"
HOTELS = SHARED / "chnsenticorp_hotel" / "ChnSentiCorp_htl_all.csv"


def test_majority():
    assert majority([2, 1, 1, 2, 0], [0, 0, 0]).labels.tolist() == [1, 1, 1]
    assert majority(["b", "a", "b"], ["a"]).labels.tolist() == ["b"]
    assert majority([3], []).labels.tolist() == []
    with pytest.raises(DataError):
        majority([], [1])


GOOD, BAD = ["a good film", "good fun", "really good"], ["a bad film", "bad fun", "really bad"]


def test_tfidf_learns_words_and_is_deterministic():
    guesses = [tfidf(GOOD + BAD, [1, 1, 1, 0, 0, 0], ["bad", "so good"]) for _ in range(2)]
    assert guesses[0].labels.tolist() == guesses[1].labels.tolist() == [0, 1]
    assert guesses[0].note is None


def test_tfidf_learns_word_pairs():
    pairs = ["not good", "good not"]
    guess = tfidf(pairs * 3, [0, 1] * 3, pairs)
    assert guess.labels.tolist() == [0, 1]


def test_tfidf_keeps_the_kind_of_the_labels():
    assert tfidf(GOOD + BAD, ["+"] * 3 + ["-"] * 3, ["bad film"]).labels.tolist() == ["-"]
    assert tfidf(GOOD + BAD, ["+"] * 3 + ["-"] * 3, []).labels.tolist() == []


def test_tfidf_cuts_chinese_into_characters():
    guess = tfidf(["房间很好", "服务太差"], [1, 0], ["很好", "太差了"])
    assert guess.labels.tolist() == [1, 0]
    assert "Characters" in guess.note


def test_tfidf_leaves_korean_and_mixed_texts_in_words():
    assert tfidf(["방이 좋다", "방이 나쁘다"], [1, 0], ["좋다"]).note is None
    assert tfidf(["the word 好的 means good", "bad"], [1, 0], ["good"]).note is None


@pytest.mark.parametrize(
    ("texts", "labels", "note"),
    [(["...", "?"], [1, 0], "No word"), (["a", "b"], [1, 1], "One label"), ([""], [1], "One")],
)
def test_tfidf_falls_back_to_the_majority(texts, labels, note):
    guess = tfidf(texts, labels, ["a", ""])
    assert guess.labels.tolist() == [majority(labels, [0]).labels[0]] * 2
    assert note in guess.note


def test_tfidf_says_when_it_did_not_converge(monkeypatch):
    monkeypatch.setattr("howfar.study.baselines.ITERATIONS", 1)
    assert "Stopped after 1 iterations" in tfidf(GOOD + BAD, [1, 1, 1, 0, 0, 0], ["bad"]).note


def test_tfidf_holds_fewer_words_with_many_labels(monkeypatch):
    monkeypatch.setattr("howfar.study.baselines.MAX_WEIGHTS", 2)
    guess = tfidf(["a b", "a c"] * 3, [0, 1] * 3, ["b", "c"])
    # One feature is left, "a", which tells nothing apart.
    assert len(set(guess.labels.tolist())) == 1


@pytest.mark.skipif(not HOTELS.exists(), reason="the hotel reviews are not beside the repository")
def test_tfidf_on_hotel_reviews():
    with HOTELS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[::4]
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    texts, labels = [row["review"] for row in rows], np.array([int(row["label"]) for row in rows])
    guess = tfidf(texts[:1500], labels[:1500], texts[1500:])
    right = np.mean(guess.labels == labels[1500:])
    assert right > np.mean(labels[1500:] == 1) + 0.1


class SlowNGram:
    """The recursion as it is written, over dictionaries."""

    def __init__(self, order, vocabulary):
        self.order, self.vocabulary = order, vocabulary
        self.after = defaultdict(lambda: defaultdict(int))

    def fit(self, ids):
        for i, j in itertools.product(range(len(ids)), range(self.order)):
            if i >= j:
                self.after[tuple(ids[i - j : i])][ids[i]] += 1
        return self

    def p(self, word, context):
        below = self.p(word, context[1:]) if context else 1 / self.vocabulary
        if context not in self.after:
            return below
        words = self.after[context]
        return (words.get(word, 0) + len(words) * below) / (sum(words.values()) + len(words))

    def nats(self, ids, positions):
        contexts = [tuple(ids[max(0, i - self.order + 1) : i]) for i in positions]
        return [-math.log(self.p(ids[i], c)) for i, c in zip(positions, contexts, strict=True)]


def test_two_letters_by_hand():
    # Text 0 0 1 0, V = 2. p_1(0) = (3 + 2/2) / (4 + 2) = 2/3, p_1(1) = 1/3.
    # After 0: one 0, one 1, so p_2(1|0) = (1 + 2 * 1/3) / (2 + 2) = 5/12. After 1: one 0, so
    # p_2(0|1) = (1 + 1 * 2/3) / (1 + 1) = 5/6. The first id has no context.
    model = NGram(2, 2).fit([0, 0, 1, 0])
    p = np.exp(-model.nats([0, 1, 0], [0, 1, 2]))
    np.testing.assert_allclose(p, [2 / 3, 5 / 12, 5 / 6], rtol=1e-14)


@pytest.mark.parametrize("order", [1, 2, 3, 6])
@pytest.mark.parametrize("vocabulary", [3, 50, 10**12])
def test_it_equals_its_slow_twin(order, vocabulary):
    random = np.random.default_rng(order)
    train, test = (random.geometric(0.4, size) % min(vocabulary, 7) for size in (400, 150))
    test[5] = vocabulary - 1  # never seen where the vocabulary is large
    positions = random.permutation(150)[:100]
    slow = SlowNGram(order, vocabulary).fit(train.tolist())
    np.testing.assert_allclose(
        NGram(order, vocabulary).fit(train).nats(test, positions),
        slow.nats(test.tolist(), positions.tolist()),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("context", [[], [0], [1, 2], [4, 4, 4], [2, 1, 0, 1, 2, 1]])
def test_probabilities_sum_to_one(context):
    train = np.random.default_rng(2).integers(0, 4, 300)
    model = NGram(4, 5).fit(train)  # id 4 is never seen
    nats = [model.nats([*context, word], [len(context)])[0] for word in range(5)]
    assert np.isfinite(nats).all()
    assert np.exp(-np.array(nats)).sum() == pytest.approx(1, abs=1e-12)


def test_an_unseen_context_backs_off():
    model, short = NGram(3, 4).fit([0, 1, 2, 0, 1]), NGram(2, 4).fit([0, 1, 2, 0, 1])
    assert model.nats([3, 1, 2], [2]) == short.nats([3, 1, 2], [2])
    assert model.nats([0, 3, 2], [2]) == short.nats([2], [0])


def test_a_text_shorter_than_the_order_and_no_positions():
    assert np.isfinite(NGram(6, 3).fit([1]).nats([1, 2, 0], [0, 1, 2])).all()
    assert NGram(6, 3).fit([1]).nats([1], []).shape == (0,)


@pytest.mark.parametrize("lag", [1, 2, 3])
def test_the_best_order_reaches_as_far_as_the_source(lag):
    # Each id is the one `lag` back, or its successor, evenly: order lag + 1 knows all there is.
    # One order more may still gain a little, since it mixes in less of the shorter ones.
    random = np.random.default_rng(lag)
    ids = random.integers(0, 4, lag).tolist()
    for step in random.integers(0, 2, 6000):
        ids.append(int((ids[-lag] + step) % 4))
    model = best_ngram(ids[:5000], ids[5000:], 4)
    assert lag + 1 <= model.order <= lag + 2
    nats = model.nats(ids, np.arange(5000, 6000))
    assert nats.mean() == pytest.approx(math.log(2), abs=0.05)
    same = NGram(model.order, 4).fit(ids[:5000]).nats(ids, np.arange(5000, 6000))
    np.testing.assert_array_equal(nats, same)


def test_independent_ids_need_no_context():
    ids = np.random.default_rng(0).integers(0, 10, 3000)
    assert best_ngram(ids[:2500], ids[2500:], 10).order == 1


def test_a_long_text_is_counted_in_seconds():
    ids = np.random.default_rng(0).zipf(1.3, 300_000) % 5000
    begin = time.process_time()
    best_ngram(ids[:290_000], ids[290_000:], 5000)
    assert time.process_time() - begin < 5


def test_wrong_ids_are_refused():
    for wrong in ([3], [-1]):
        with pytest.raises(DataError, match="outside"):
            NGram(2, 3).fit(wrong)
        with pytest.raises(DataError, match="outside"):
            NGram(2, 3).fit([0]).nats(wrong, [0])
    with pytest.raises(IndexError):
        NGram(2, 3).fit([0]).nats([0], [1])
    with pytest.raises(DataError):
        NGram(2, 3).fit([])
    with pytest.raises(DataError):
        best_ngram([0], [], 3)
    with pytest.raises(ValueError, match="1 or more"):
        NGram(0, 3)
