"""An order without holding it: a permutation for every count, known values, no pattern."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from howfar.data.batches.permutation import hashed, permuted, uniform


def test_the_hash_is_splitmix64():
    # The first numbers of the generator from states 0 and 1234567, as its authors' C code gives.
    states = np.asarray([0, 1234567], dtype=np.uint64)
    assert hashed(states).tolist() == [0xE220A8397B1DCDAF, 6457827717110365317]


@given(st.integers(1, 700), st.integers(0, 2**63 - 1))
def test_every_place_once(count, key):
    found = permuted(np.arange(count), count, key)
    assert sorted(found.tolist()) == list(range(count))


@given(st.integers(1, 2**40), st.integers(0, 99))
def test_of_any_size_place_by_place(count, key):
    some = np.unique(np.linspace(0, count - 1, 9).astype(np.int64))
    found = permuted(some, count, key)
    assert ((found >= 0) & (found < count)).all()
    assert len(np.unique(found)) == len(some)
    assert permuted(some[-1:], count, key) == found[-1]


def test_no_pattern():
    count, keys = 20, 2000
    tally = np.zeros((count, count))
    pairs = np.zeros(count)
    for key in range(keys):
        found = permuted(np.arange(count), count, key)
        tally[np.arange(count), found] += 1
        pairs += np.bincount((found[1:] - found[:-1]) % count, minlength=count)
    expected = keys / count
    assert stats.chi2.sf(((tally - expected) ** 2 / expected).sum(), (count - 1) ** 2) > 1e-4
    assert stats.chisquare(pairs[1:]).pvalue > 1e-4
    assert pairs[0] == 0


def test_uniform():
    found = uniform(hashed(np.arange(100_000, dtype=np.uint64)))
    assert stats.kstest(found, "uniform").pvalue > 1e-3
    assert (found.min() >= 0, found.max() < 1) == (True, True)
    largest = np.asarray([2**64 - 1], dtype=np.uint64)
    assert uniform(largest)[0] == pytest.approx(1 - 2**-53, abs=0)
