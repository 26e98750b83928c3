"""Ragged rows: one array, views where rows are neighbours, equality by content."""

import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from howfar.data.ragged import Mapped, Ragged, places, taken

ROWS = st.lists(st.lists(st.integers(0, 1000), max_size=6), max_size=12)


class Held:
    """As a mapped file behaves: slices are copies, and stretches are cut."""

    def __init__(self, ids):
        self.ids = np.asarray(ids)
        self.cuts = 0

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        assert isinstance(index, slice)
        return self.ids[index].copy()

    def cut(self, starts, width):
        assert width > 0
        assert (starts + width <= len(self.ids)).all()
        self.cuts += 1
        return self.ids[starts[:, None] + np.arange(width)].astype(np.int64)


def arrays(rows):
    return [np.asarray(row, dtype=np.int32) for row in rows]


@given(ROWS)
def test_rows_come_back(rows):
    ragged = Ragged.of(iter(arrays(rows)))
    assert [row.tolist() for row in ragged] == rows
    assert len(ragged) == len(rows)
    assert ragged.lengths.tolist() == [len(row) for row in rows]
    assert ragged.num_tokens == sum(map(len, rows))
    assert ragged.flat.dtype == np.int32
    assert all(row.dtype == np.int32 for row in ragged)


@given(ROWS, st.slices(12))
def test_slices_as_of_a_list(rows, index):
    ragged = Ragged.of(rows)
    found = ragged[index]
    assert [row.tolist() for row in found] == rows[index]
    assert found == Ragged.of(rows[index])
    held = Ragged(Held(ragged.flat), ragged.offsets)[index]
    assert [row.tolist() for row in held] == rows[index]
    assert held == found


def test_neighbours_are_a_view_and_others_a_copy():
    ragged = Ragged.of([[1], [2, 3], [], [4, 5, 6]])
    view = ragged[1:3]
    assert np.shares_memory(view.flat, ragged.flat)
    assert view.offsets.tolist() == [0, 2, 2]
    assert view.num_tokens == 2
    assert np.shares_memory(ragged[3], ragged.flat)
    assert not np.shares_memory(ragged[::2].flat, ragged.flat)
    assert [row.tolist() for row in ragged[::-1]] == [[4, 5, 6], [], [2, 3], [1]]
    assert [row.tolist() for row in ragged.take([3, 0, 3])] == [[4, 5, 6], [1], [4, 5, 6]]
    assert len(ragged.take([])) == 0
    assert ragged[-1].tolist() == [4, 5, 6]
    with pytest.raises(IndexError):
        ragged[4]


def test_other_integers():
    for dtype in (np.uint8, np.uint16, np.int64):
        ragged = Ragged.of([[1, 2], [200]], dtype)
        assert ragged.flat.dtype == dtype
        assert ragged[1].dtype == np.int32
        assert ragged == Ragged.of([[1, 2], [200]])
    assert (Ragged.of([]).flat.dtype, len(Ragged.of([])), Ragged.of([]).num_tokens) == (
        np.int32,
        0,
        0,
    )
    assert Ragged.of([[]]).lengths.tolist() == [0]


def test_equality_is_of_rows_not_of_tokens():
    ragged = Ragged.of([[1, 2], [3]])
    assert ragged != Ragged.of([[1], [2, 3]])
    assert ragged != Ragged.of([[1, 2], [4]])
    assert ragged != Ragged.of([[1, 2]])
    assert ragged != [[1, 2], [3]]
    assert Ragged.of([[9], [1, 2], [3]])[1:] == ragged
    later = Ragged(Held([9, 1, 2, 3]), np.asarray([1, 3, 4]))
    assert later == ragged
    assert ragged == later
    assert later != Ragged(Held([9, 1, 2, 4]), np.asarray([1, 3, 4]))
    with pytest.raises(TypeError):
        hash(ragged)


def test_equality_looks_past_the_first_piece(monkeypatch):
    monkeypatch.setattr("howfar.data.ragged._AT_ONCE", 2)
    base = list(range(9))
    for i in range(9):
        other = [*base[:i], 77, *base[i + 1 :]]
        assert Ragged.of([base]) != Ragged.of([other])
    assert Ragged.of([[5], base])[1:] == Ragged.of([base])


def test_pickled_slices_take_no_more_along():
    ragged = Ragged.of([np.arange(100_000), [1, 2, 3]])
    stored = pickle.dumps(ragged[1:])
    assert len(stored) < 1000
    assert pickle.loads(stored) == Ragged.of([[1, 2, 3]])  # noqa: S301 - our own
    assert pickle.loads(pickle.dumps(ragged)) == ragged  # noqa: S301 - our own


def test_one_row_of_a_file_is_not_copied():
    held = Held(np.arange(50, dtype=np.uint8))
    assert isinstance(held, Mapped)
    ragged = Ragged.whole(held)
    assert ragged.flat is held
    assert (len(ragged), ragged.num_tokens) == (1, 50)
    assert ragged[0].tolist() == list(range(50))
    starts = np.asarray([3, 40])
    assert taken(held, starts, np.asarray([2, 2])).tolist() == [3, 4, 40, 41]
    assert held.cuts == 1
    assert taken(held, starts, np.asarray([1, 3])).tolist() == [3, 40, 41, 42]
    assert taken(held, starts, np.asarray([0, 0])).tolist() == []
    assert taken(held, starts[:0], starts[:0]).tolist() == []


def test_places():
    assert places(np.asarray([5, 0, 7]), np.asarray([2, 0, 3])).tolist() == [5, 6, 7, 8, 9]
    assert places(np.asarray([], dtype=np.int64), np.asarray([], dtype=np.int64)).tolist() == []


def test_joining_holds_the_rows_once():
    row = np.arange(10_000, dtype=np.int32)
    tracemalloc.start()
    ragged = Ragged.of(row for _ in range(500))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = ragged.flat.nbytes
    assert size == 4 * 10_000 * 500
    assert peak < 1.3 * size
