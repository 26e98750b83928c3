"""The virtual stream against one that is really joined."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from howfar.data.batches.stream import Stream
from howfar.data.mapped import MappedIds, write_ids
from howfar.data.ragged import Ragged

END = 99
DOCUMENTS = st.lists(st.lists(st.integers(0, 50), max_size=7), min_size=1, max_size=8)


def joined(documents, end):
    return [i for ids in documents for i in [*ids, *([] if end is None else [end])]]


@settings(deadline=None)
@given(DOCUMENTS, st.sampled_from([None, END]), st.data())
def test_any_stretch_of_it(documents, end, data):
    whole = joined(documents, end)
    # A slice of a longer one, whose first offset is not 0 in a mapped file.
    ragged = Ragged.of([[7, 7, 7], *documents])
    kept = ragged.offsets[1:]
    for stream in (Stream(ragged[1:], end), Stream(Ragged(ragged.flat, kept), end)):
        assert len(stream) == len(whole)
        edge = st.integers(0, len(whole))
        spans = [sorted(s) for s in data.draw(st.lists(st.tuples(edge, edge), max_size=6))]
        starts = np.asarray([a for a, _ in spans], dtype=np.int64)
        lengths = np.asarray([b - a for a, b in spans], dtype=np.int64)
        expected = [i for a, b in spans for i in whole[a:b]]
        found = stream.take(starts, lengths)
        assert found.tolist() == expected
        assert found.dtype == np.int64
        bounds = stream.bounds.tolist()
        assert [whole[a:b] for a, b in pairwise(bounds)] == [
            joined([ids], end) for ids in documents
        ]


@pytest.mark.parametrize("end", [None, END])
def test_of_a_file(tmp_path, end):
    documents = [[1, 2, 3], [], [4], [5, 6, 7, 8]]
    ragged = Ragged.of(documents)
    write_ids(tmp_path / "ids.arrow", [ragged.flat.astype(np.uint8)])
    stream = Stream(Ragged(MappedIds(tmp_path / "ids.arrow"), ragged.offsets), end)
    whole = joined(documents, end)
    for width in range(1, len(whole) + 1):
        starts = np.arange(len(whole) - width + 1)
        assert stream.cut(starts, width).tolist() == [whole[a : a + width] for a in starts]
