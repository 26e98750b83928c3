"""Every number against scikit-learn or a value worked out by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn import metrics as sk

from howfar.bundle import metrics
from howfar.bundle.bleu import bleu, bleu_counts, bleu_tokens
from howfar.bundle.spans import are_bio, span_counts, spans


def answers(rows, classes, seed=0, skill=0.5):
    draws = np.random.default_rng(seed)
    truth = draws.integers(classes, size=rows)
    guess = np.where(draws.random(rows) < skill, truth, draws.integers(classes, size=rows))
    return truth, guess


@pytest.mark.parametrize(("rows", "classes"), [(1, 2), (7, 3), (500, 20), (40, 30)])
def test_classes_equal_scikit_learn(rows, classes):
    truth, guess = answers(rows, classes)
    table = metrics.confusion(truth, guess, classes)
    np.testing.assert_array_equal(
        table, sk.confusion_matrix(truth, guess, labels=np.arange(classes))
    )
    # Without `labels` it too takes the classes that occur.
    assert metrics.macro_f1(table) == pytest.approx(sk.f1_score(truth, guess, average="macro"))
    found = metrics.class_scores(table, tuple(map(str, range(classes))))
    p, r, f, n = sk.precision_recall_fscore_support(
        truth, guess, labels=np.arange(classes), zero_division=np.nan
    )
    for i, one in enumerate(found):
        assert one.rows == n[i]
        for got, want in ((one.precision, p[i]), (one.recall, r[i]), (one.f1, f[i])):
            assert (got is None) == math.isnan(want)
            assert got is None or got == pytest.approx(want)


def test_classes_by_hand():
    # truth a a a b, answers a b c b; class d occurs nowhere
    table = metrics.confusion(np.array([0, 0, 0, 1]), np.array([0, 1, 2, 1]), 4)
    assert metrics.macro_f1(table) == pytest.approx((2 / 4 + 2 / 3 + 0) / 3)
    assert [s.f1 for s in metrics.class_scores(table, tuple("abcd"))] == [
        0.5,
        pytest.approx(2 / 3),
        0.0,
        None,
    ]
    assert math.isnan(metrics.macro_f1(np.zeros((2, 2), dtype=np.int64)))


def test_calibration_by_hand():
    confidence = np.array([0.5, 0.5, 0.9, 1.0, 1 / 15, 0.0])
    right = np.array([True, False, True, True, False, False])
    bins = metrics.reliability(confidence, right)
    # .9 lies in (13/15, 14/15], 1 in the last bin, 1/15 and 0 in the first
    assert [(round(15 * b.low), b.rows, b.accuracy) for b in bins] == [
        (0, 2, 0.0),
        (7, 2, 0.5),
        (13, 1, 1.0),
        (14, 1, 1.0),
    ]
    assert metrics.ece(bins) == pytest.approx((2 * (1 / 30) + 0 + 0.1 + 0) / 6)


def test_a_calibrated_forecaster_has_little_error():
    draws = np.random.default_rng(1)
    p = draws.random(50_000)
    bins = metrics.reliability(p, draws.random(50_000) < p)
    assert len(bins) == 15
    assert metrics.ece(bins) < 0.01
    assert metrics.ece(metrics.reliability(p, draws.random(50_000) < p**2)) > 0.1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=40))
def test_auc_equals_scikit_learn(rows):
    truth, score = np.array([r[0] for r in rows]), np.array([float(r[1]) for r in rows])
    got = metrics.auc(truth, score)
    if truth.all() or not truth.any():
        assert got is None
    else:
        assert got == pytest.approx(sk.roc_auc_score(truth, score))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40))
def test_spearman_equals_scipy(rows):
    a, b = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    got = metrics.spearman(a, b)
    if len(set(a)) < 2 or len(set(b)) < 2:
        assert got is None
    else:
        assert got == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)


def test_r_squared_equals_scikit_learn():
    draws = np.random.default_rng(2)
    y = draws.normal(1000, 3, size=60)
    guess = y + draws.normal(size=60)
    sums = np.array([60, y.sum(), (y**2).sum(), ((y - guess) ** 2).sum()])
    assert metrics.r_squared(sums) == pytest.approx(sk.r2_score(y, guess))
    assert math.isnan(metrics.r_squared(np.array([3, 6.0, 12.0, 1.0])))  # 2, 2, 2


def test_wilson_by_hand():
    # 8 of 10 at z = 1.95996: (0.8 + 0.19207 +- 1.95996 sqrt(.016 + .0096037)) / 1.38415
    low, high = metrics.wilson(0.8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    assert metrics.wilson(1.0, 5)[1] == 1
    assert metrics.wilson(0.0, 0) == (0.0, 1.0)


def test_bootstrap_covers_as_often_as_it_says():
    draws = np.random.default_rng(3)
    hits = 0
    for trial in range(150):
        sample = np.stack([draws.exponential(2.0, size=80), np.ones(80)], axis=1)
        low, high = metrics.bootstrap(sample, metrics.ratio, seed=trial)
        hits += low <= 2.0 <= high
    assert 0.87 <= hits / 150 <= 0.99


def test_bootstrap_of_few_rows_and_of_the_same_seed():
    assert metrics.bootstrap(np.ones((1, 2)), metrics.ratio) is None
    table = np.random.default_rng(4).random((30, 2))
    assert metrics.bootstrap(table, metrics.ratio) == metrics.bootstrap(table, metrics.ratio)
    low, high = metrics.bootstrap(np.ones((9, 2)), metrics.ratio)
    assert low == high == 1


def test_macro_f1_interval_is_that_of_drawn_rows():
    truth, guess = answers(300, 4)
    low, high = metrics.macro_f1_interval(metrics.confusion(truth, guess, 4))
    draws, found = np.random.default_rng(5), []
    for _ in range(1500):
        rows = draws.integers(300, size=300)
        found.append(sk.f1_score(truth[rows], guess[rows], average="macro"))
    np.testing.assert_allclose([low, high], np.quantile(found, [0.025, 0.975]), atol=0.01)
    assert metrics.macro_f1_interval(np.eye(1, dtype=np.int64)) is None


def test_by_length():
    lengths = np.array([1, 1, 1, 2, 2, 3, 4, 5, 9, 9])
    right = np.array([1, 1, 0, 1, 0, 0, 0, 1, 0, 0])
    bins = metrics.by_length(lengths, right)
    assert sum(b.rows for b in bins) == 10
    assert [(b.first, b.last) for b in bins] == [(1, 1), (2, 2), (3, 4), (5, 5), (9, 9)]
    assert [b.value for b in bins] == [pytest.approx(2 / 3), 0.5, 0, 1, 0]
    same = metrics.by_length(np.full(6, 7), np.ones(6))
    assert [(b.first, b.last, b.rows, b.value) for b in same] == [(7, 7, 6, 1.0)]
    assert metrics.by_length(np.array([], dtype=np.int64), np.array([])) == ()


def spread(lengths):
    bins = metrics.by_length(np.array(lengths), np.ones(len(lengths)))
    return [(b.first, b.last, b.rows) for b in bins]


def test_up_to_five_lengths_stay_apart():
    assert spread([1] * 50 + [100] * 50) == [(1, 1, 50), (100, 100, 50)]
    assert spread([1] * 96 + [2, 3, 4, 5]) == [(1, 1, 96), *((n, n, 1) for n in (2, 3, 4, 5))]


def test_bins_are_filled_evenly():
    assert spread(range(100)) == [(a, a + 19, 20) for a in range(0, 100, 20)]
    # a length that fills more than its share leaves four bins to the rest
    rest = [(a, a + 1, 2) for a in (2, 4, 6, 8)]
    assert spread([1] * 92 + list(range(2, 10))) == [(1, 1, 92), *rest]
    assert spread([9] * 92 + list(range(1, 9))) == [(1, 8, 8), (9, 9, 92)]


def test_tokens_of_one_row_tell_less_than_of_many():
    # 20 rows of 10 tokens, right or wrong as a whole: as sure as 19 rows drawn one by one
    right, of = np.array([10.0, 0.0] * 10), np.full(20, 10.0)
    assert metrics.clustered(right, of) == pytest.approx(metrics.wilson(0.5, 19))
    # every row half right: no less sure than 200 tokens
    assert metrics.clustered(of / 2, of) == metrics.wilson(0.5, 200)
    assert metrics.clustered(of, of) == metrics.wilson(1.0, 20)
    assert metrics.clustered(right[:1], of[:1]) == metrics.wilson(1.0, 1)
    # rows of one token: the usual interval, but for one row lost in estimating
    one = np.array([1.0, 0.0, 0.0, 1.0, 0.0])
    assert metrics.clustered(one, np.ones(5)) == pytest.approx(metrics.wilson(0.4, 4))
    (found,) = metrics.by_length(np.full(20, 10), right, of.astype(np.int64))
    assert (found.low, found.high) == pytest.approx(metrics.wilson(0.5, 19))


def test_the_interval_of_tokens_in_rows_holds_the_truth():
    draws, held = np.random.default_rng(0), {"clustered": 0, "plain": 0}
    for _ in range(400):
        of = draws.integers(5, 15, size=40).astype(float)
        right = draws.binomial(of.astype(int), draws.beta(1.4, 0.6, size=40)).astype(float)
        plain = metrics.wilson(right.sum() / of.sum(), of.sum())
        for name, (low, high) in (("clustered", metrics.clustered(right, of)), ("plain", plain)):
            held[name] += low <= 0.7 <= high
    assert 0.92 <= held["clustered"] / 400 <= 0.98
    assert held["plain"] / 400 < 0.75


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=80))
def test_every_row_lies_in_one_bin_of_length(lengths):
    bins = metrics.by_length(np.array(lengths), np.ones(len(lengths)))
    assert sum(b.rows for b in bins) == len(lengths)
    assert all(a.last < b.first for a, b in itertools.pairwise(bins))
    assert len(bins) <= 5


@pytest.mark.parametrize(
    ("tags", "want"),
    [
        ("O O", []),
        ("B-P I-P O B-L", [("P", 0, 2), ("L", 3, 4)]),
        ("B-P B-P", [("P", 0, 1), ("P", 1, 2)]),
        ("I-P I-P", [("P", 0, 2)]),  # goes on with nothing: a span of its own
        ("B-P I-L I-L", [("P", 0, 1), ("L", 1, 3)]),
        ("O I-P B-P I-P", [("P", 1, 2), ("P", 2, 4)]),
        ("B-A-B I-A-B", [("A-B", 0, 2)]),
        ("", []),
    ],
)
def test_spans_by_hand(tags, want):
    assert spans(tags.split()) == want


def test_span_counts_by_hand():
    truth = ["B-P", "I-P", "O", "B-L", "O", "B-P"]
    answer = ["B-P", "I-P", "O", "B-P", "O", "O"]
    assert span_counts(truth, answer) == (1, 2, 3)
    assert metrics.f1_of_sums(np.array([1.0, 2, 3])) == pytest.approx(0.4)
    assert math.isnan(metrics.f1_of_sums(np.zeros(3)))


def test_what_bio_is():
    assert are_bio(["O", "B-PER", "I-PER"])
    assert are_bio(["B-X"])
    for names in (["O"], ["NN", "VB"], ["O", "B-", "I-X"], ["B-X", "S-X"], []):
        assert not are_bio(names)


def corpus_bleu(pairs):
    counts = [bleu_counts(a.split(), r.split()) for a, r in pairs]
    return bleu(np.sum(counts, axis=0, dtype=float))


def test_bleu_by_hand():
    same = "the cat is on the mat"
    assert corpus_bleu([(same, same)]) == pytest.approx(100)
    # Papineni's candidate 2 by modified unigram precision: "the" x 7 has 2 of 7
    counts = bleu_counts(["the"] * 7, same.split())
    assert counts[:2] == [2, 7]
    assert corpus_bleu([("the " * 7, same)]) == 0
    # p = 5/6, 3/5, 2/4, 1/3; same length
    answer = "the cat is on a mat"
    want = 100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
    assert corpus_bleu([(answer, same)]) == pytest.approx(want)
    # brevity: 4 of 6 tokens, all right
    assert corpus_bleu([("the cat is on", same)]) == pytest.approx(100 * math.exp(1 - 6 / 4))
    # longer than the reference costs precision alone
    want = 100 * (6 / 7 * 5 / 6 * 4 / 5 * 3 / 4) ** 0.25
    assert corpus_bleu([(same + " now", same)]) == pytest.approx(want)
    # of a corpus the counts are summed, not the scores
    want = 100 * (11 / 12 * 8 / 10 * 6 / 8 * 4 / 6) ** 0.25
    assert corpus_bleu([(same, same), (answer, same)]) == pytest.approx(want)


def test_bleu_of_short_and_empty_answers():
    assert corpus_bleu([("yes", "yes"), ("no", "no")]) == pytest.approx(100)
    assert corpus_bleu([("", "yes")]) == 0
    assert corpus_bleu([("", "")]) == 0
    assert corpus_bleu([("no", "yes")]) == 0


def test_bleu_tokens():
    assert bleu_tokens("It's 你好吗, ok!") == ["It", "'", "s", "你", "好", "吗", ",", "ok", "!"]
    assert bleu_tokens("你好world好") == ["你", "好", "world", "好"]
    assert bleu_tokens(" \n") == []
