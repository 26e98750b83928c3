"""Masks: the shares of Devlin et al., and nothing but seed, epoch and row decides them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from howfar.core.batch import IGNORED
from howfar.data.batches.masking import Keys, Masking

MASK = 1000
MASKING = Masking(0.15, MASK, 2, 101)


def masked(lengths, rows=None, key=5, masking=MASKING, of=500):
    lengths = np.asarray(lengths, dtype=np.int64)
    rows = np.arange(len(lengths)) if rows is None else np.asarray(rows)
    flat = np.full(int(lengths.sum()), of, dtype=np.int64)
    return masking(flat, lengths, rows, key)


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=20), st.sampled_from([0.01, 0.15, 0.5, 1.0])
)
def test_so_many_of_each_row(lengths, share):
    tokens, targets = masked(lengths, masking=Masking(share, MASK, 2, 101))
    chosen = np.split(targets != IGNORED, np.cumsum(lengths)[:-1])
    assert [int(row.sum()) for row in chosen] == [
        max(1, round(share * n)) if n else 0 for n in lengths
    ]
    assert (targets[targets != IGNORED] == 500).all()
    assert (tokens[targets == IGNORED] == 500).all()


def test_eighty_ten_ten():
    tokens, targets = masked([1000] * 1000)
    chosen = targets != IGNORED
    assert chosen.sum() == 150_000
    found = tokens[chosen]
    drawn = found[(found != MASK) & (found != 500)]
    # Four standard errors of 150,000 draws.
    assert (found == MASK).mean() == pytest.approx(0.8, abs=0.0042)
    assert (found == 500).mean() == pytest.approx(0.1, abs=0.0032)
    assert len(drawn) / len(found) == pytest.approx(0.1, abs=0.0032)
    counts = np.bincount(drawn, minlength=102)
    assert counts[:2].sum() == 0
    assert len(counts) == 102
    assert counts[2:].min() > 90
    assert counts[2:].max() < 215
    # Every place of a row is chosen alike.
    places = chosen.reshape(1000, 1000).mean(0)
    assert places.std() == pytest.approx(np.sqrt(0.15 * 0.85 / 1000), rel=0.1)
    assert abs(np.corrcoef(places[:-1], places[1:])[0, 1]) < 0.13


def test_masks_do_not_depend_on_the_batch():
    together = masked([9, 30, 7], rows=[4, 8, 11])
    for row, start, length in ((4, 0, 9), (8, 9, 30), (11, 39, 7)):
        alone = masked([length], rows=[row])
        for one, all_of_them in zip(alone, together, strict=True):
            assert (one == all_of_them[start : start + length]).all()
    other = masked([30], rows=[9])[1], masked([30], rows=[8], key=6)[1]
    mine = masked([30], rows=[8])[1]
    assert all((targets != mine).any() for targets in other)


def test_keys():
    assert Keys(1)(0) != Keys(1)(1)
    assert Keys(1)(0) != Keys(2)(0)
    assert Keys(1, "test")(0) == Keys(1, "test")(7)
    assert Keys(1, "test")(0) != Keys(1, "validation")(0)
    assert Keys(1, "test")(0) != Keys(1)(0)
