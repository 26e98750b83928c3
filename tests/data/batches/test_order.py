"""Orders: every row once an epoch, budgets kept, the same number of batches in every epoch."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from howfar.data.batches.evaluation import by_budget, by_rows, packed_rows
from howfar.data.batches.order import (
    buckets,
    budgeted,
    even,
    filled,
    pooled,
    scattered,
    starts_of,
    stretches,
)

LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=120)
PAIRS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), min_size=1, max_size=90)


def column(lengths):
    return np.asarray(lengths, dtype=np.int64).reshape(len(lengths), -1)


def epoch_of(order, epoch):
    first = epoch * order.batches
    found = [order.rows(number) for number in range(first, first + order.batches)]
    assert {which for which, _ in found} == {epoch}
    return [rows for _, rows in found]


def each_once(batches, count):
    assert all(len(rows) for rows in batches)
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))
    assert all(rows.dtype == np.int64 for rows in batches)


ORDERS = {
    "pooled": lambda w, seed: pooled(w.sum(1), 4, seed),
    "budgeted": lambda w, seed: budgeted(w, 60, seed),
    "filled": lambda w, seed: filled(w[:, 0], 60, seed),
    "scattered": lambda w, seed: scattered(len(w), 4, seed),
}


@pytest.mark.parametrize("name", ORDERS)
@settings(deadline=None, max_examples=60)
@given(lengths=LENGTHS, seed=st.integers(0, 3))
def test_every_row_once_in_every_epoch(name, lengths, seed):
    order = ORDERS[name](column(lengths), seed)
    for epoch in (0, 1, 250_000):
        each_once(epoch_of(order, epoch), len(lengths))


@pytest.mark.parametrize("name", ORDERS)
def test_a_pure_function_of_seed_and_number(name):
    widths = column(np.random.Generator(np.random.Philox(1)).integers(0, 30, 400))
    walked = ORDERS[name](widths, 5)
    first, second = epoch_of(walked, 0), epoch_of(walked, 1)
    for number in (walked.batches + 3, 2, 0):
        fresh = ORDERS[name](widths, 5).rows(number)[1]
        expected = (first + second)[number]
        assert fresh.tolist() == expected.tolist() == walked.rows(number)[1].tolist()
    other = epoch_of(ORDERS[name](widths, 6), 0)
    tell = [
        {tuple(sorted(rows.tolist())) for rows in each if len(rows) > 1}
        for each in (first, second, other)
    ]
    # Other batches, not the same ones in another order; a long row alone stays alone.
    assert len(tell[0] & tell[1]) < len(first) / 4
    assert len(tell[0] & tell[2]) < len(first) / 4
    with pytest.raises(ValueError, match="count from 0"):
        walked.rows(-1)


def test_the_same_in_another_process():
    script = (
        f"import hashlib, sys, numpy as np; sys.path[:0] = {sys.path!r}\n"
        "from howfar.data.batches.order import budgeted, filled, pooled, scattered\n"
        "w = np.arange(1, 200)[:, None] * 7 % 50\n"
        "orders = pooled(w[:, 0], 8, 3), budgeted(w, 300, 3), filled(w[:, 0], 300, 3),"
        " scattered(199, 8, 3)\n"
        "print(hashlib.sha256(b''.join(o.rows(n)[1].tobytes() for o in orders"
        " for n in (0, 7, 10**6))).hexdigest())"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()
    w = np.arange(1, 200)[:, None] * 7 % 50
    orders = (
        pooled(w[:, 0], 8, 3),
        budgeted(w, 300, 3),
        filled(w[:, 0], 300, 3),
        scattered(199, 8, 3),
    )
    rows = b"".join(o.rows(n)[1].tobytes() for o in orders for n in (0, 7, 10**6))
    assert hashlib.sha256(rows).hexdigest() == found


@settings(deadline=None)
@given(st.one_of(LENGTHS, PAIRS), st.integers(1, 150), st.integers(0, 3))
def test_the_budget_is_kept(lengths, tokens, seed):
    widths = column(lengths)
    for batches in (epoch_of(budgeted(widths, tokens, seed), 1), by_budget(widths, tokens)):
        each_once(batches, len(widths))
        for rows in batches:
            cost = len(rows) * np.maximum(widths[rows], 1).max(0).sum()
            assert cost <= tokens or len(rows) == 1


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 150), st.integers(0, 3))
def test_packed_batches_keep_the_budget(lengths, tokens, seed):
    lengths = np.asarray(lengths, dtype=np.int64)
    packed = packed_rows(lengths[:, None], tokens)
    assert np.concatenate(packed).tolist() == list(range(len(lengths)))
    for batches in (epoch_of(filled(lengths, tokens, seed), 0), packed):
        each_once(batches, len(lengths))
        assert all(lengths[rows].sum() <= tokens or len(rows) == 1 for rows in batches)


def test_packed_batches_are_full():
    lengths = np.random.Generator(np.random.Philox(2)).integers(1, 100, 5000)
    order = filled(lengths, 4096, 0)
    sums = [lengths[rows].sum() for rows in epoch_of(order, 0)]
    assert np.mean(sums) > 0.95 * 4096
    assert len(packed_rows(lengths[:, None], 4096)) <= order.batches


def test_stretches_by_hand():
    # 12 tokens, none longer than 3: a stretch of 8 - 3 + 1 = 6, so two of 6.
    sizes = np.asarray([3, 1, 2, 3, 3])
    assert stretches(sizes, 8) == 2
    assert starts_of(sizes, 2).tolist() == [0, 3, 5]
    # Rows begin at 0, 3, 5 | 8, 10 on a line of 12 cut at 6.
    assert starts_of(np.asarray([3, 2, 3, 2, 2]), 2).tolist() == [0, 3, 5]
    assert stretches(sizes[:0], 8) == 0
    assert even(7, 3).tolist() == [2, 4, 7]


def test_pools_sort_and_buckets_part_by_length():
    rng = np.random.Generator(np.random.Philox(3))
    widths = column(np.exp(rng.normal(5, 0.8, 6000)).astype(np.int64) + 1)
    random = scattered(len(widths), 32, 0)

    def share(batches):
        padded = sum(len(rows) * int(widths[rows].max()) for rows in batches)
        return padded / int(widths.sum())

    assert share(epoch_of(random, 0)) > 3
    assert share(epoch_of(pooled(widths[:, 0], 32, 0), 0)) < 1.8
    assert share(epoch_of(budgeted(widths, 8192, 0), 0)) < 1.1
    # The budget is used.
    assert budgeted(widths, 8192, 0).batches < 1.2 * widths.sum() / 8192
    longest = [int(widths[rows].max()) for rows in epoch_of(budgeted(widths, 8192, 0), 0)[:20]]
    assert longest != sorted(longest)


def test_equal_lengths_are_never_parted():
    # A file sorted by class: rows of one length must meet rows from everywhere in it.
    widths = column([7] * 3000 + [9] * 5)
    found = buckets(widths, 70)
    assert sorted(len(rows) for rows, _ in found) in ([5, 3000], [3005])
    first = epoch_of(budgeted(widths, 70, 0), 0)
    spans = [int(rows.max() - rows.min()) for rows in first if len(rows) > 5]
    assert np.median(spans) > 1500


def test_one_long_row_among_many_short():
    widths = column([5] * 500 + [100_000])
    batches = epoch_of(budgeted(widths, 1000, 0), 0)
    each_once(batches, 501)
    assert len(batches) < 15
    assert [len(rows) for rows in batches if 500 in rows] == [1]


def test_evaluation_orders():
    widths = column([3, 1, 2, 1, 9])
    assert [rows.tolist() for rows in by_rows(widths, 2)] == [[1, 3], [2, 0], [4]]
    assert [rows.tolist() for rows in by_budget(widths, 6)] == [[1, 3, 2], [0], [4]]
    assert [rows.tolist() for rows in packed_rows(widths, 6)] == [[0, 1, 2], [3], [4]]
    none = np.empty((0, 1), dtype=np.int64)
    assert by_rows(none, 2) == by_budget(none, 6) == packed_rows(none, 6) == []
    # Both sequences are padded, each to its own longest.
    assert [len(rows) for rows in by_budget(column([(1, 4), (4, 1)]), 15)] == [1, 1]
    assert [len(rows) for rows in by_budget(column([(1, 4), (4, 1)]), 16)] == [2]


def test_far_batches_of_many_rows_cost_one_permutation():
    lengths = np.broadcast_to(np.int64(128), (10**11,))
    order = scattered(len(lengths), 32, 0)
    epoch, rows = order.rows(10**15)
    assert epoch == 10**15 // order.batches
    assert len(np.unique(rows)) == 32
    assert rows.max() < 10**11
