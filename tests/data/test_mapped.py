"""Token files: what is written is read, damage is said, and a long read stays out of memory."""

import contextlib
import copy
import subprocess
import sys
import threading

import numpy as np
import pyarrow as pa
import pytest

from howfar.core.errors import EnvironmentFault, StoreError
from howfar.data import mapped
from howfar.data.mapped import MappedIds, narrowest, write_ids
from howfar.data.ragged import Ragged


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(mapped, "ROWS", 100)


def test_the_narrowest_type():
    asked = {1: "uint8", 256: "uint8", 257: "uint16", 65536: "uint16", 65537: "uint32"}
    assert {n: narrowest(n).name for n in asked} == asked


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 200, 1234])
def test_slices_and_windows_equal_numpy(tmp_path, small_batches, count):
    draws = np.random.default_rng(count)
    ids = draws.integers(0, 300, count).astype(np.int32)
    cuts = np.sort(draws.integers(0, count + 1, 5))
    written = write_ids(tmp_path / "ids.arrow", np.split(ids, cuts), vocabulary=300)
    assert written.count == count
    assert written.entry.size == (tmp_path / "ids.arrow").stat().st_size
    read = MappedIds(tmp_path / "ids.arrow")
    assert (len(read), read.dtype) == (count, np.uint16)
    for a, b in [(0, count), (3, 150), (-7, None), (50, 20), (0, 10**9), (99, 101)]:
        np.testing.assert_array_equal(read[a:b], ids[a:b])
    if count >= 100:
        starts = np.array([0, min(95, count - 10), count - 10, 1], dtype=np.int64)
        want = np.stack([ids[s : s + 10] for s in starts]).astype(np.int64)
        got = read.cut(starts, 10)
        assert got.dtype == np.int64
        np.testing.assert_array_equal(got, want)
    assert read.cut(np.empty(0, dtype=np.int64), 4).shape == (0, 4)


def test_any_arrow_reader_opens_it(tmp_path, small_batches):
    write_ids(tmp_path / "ids.arrow", [np.arange(250, dtype=np.uint8)])
    with pa.memory_map(str(tmp_path / "ids.arrow")) as file:
        table = pa.ipc.open_file(file).read_all()
    assert table.column("ids").to_pylist() == list(range(250))
    assert [len(chunk) for chunk in table.column("ids").chunks] == [100, 100, 50]


def test_types_without_a_vocabulary(tmp_path):
    path = tmp_path / "ids.arrow"
    write_ids(path, [np.array([1, 2], dtype=np.uint16)])
    assert MappedIds(path).dtype == np.uint16
    write_ids(path, [np.array([1, 2**31])])
    assert MappedIds(path)[:].tolist() == [1, 2**31]
    assert MappedIds(path).dtype == np.uint32


@pytest.mark.parametrize("ids", [[-1], [5]])
def test_ids_outside_are_refused_and_nothing_is_left(tmp_path, ids):
    write_ids(tmp_path / "ids.arrow", [np.array([4])], vocabulary=5)
    with pytest.raises(ValueError, match="outside 0 to 4"):
        write_ids(tmp_path / "ids.arrow", [np.array([1]), np.array(ids)], vocabulary=5)
    assert MappedIds(tmp_path / "ids.arrow")[:].tolist() == [4]
    assert [path.name for path in tmp_path.iterdir()] == ["ids.arrow"]


def test_windows_outside_are_refused(tmp_path):
    write_ids(tmp_path / "ids.arrow", [np.arange(10)])
    read = MappedIds(tmp_path / "ids.arrow")
    for start in (-1, 8):
        with pytest.raises(IndexError, match="outside 0 to 10"):
            read.cut(np.array([start]), 3)
    with pytest.raises(ValueError, match="step 1"):
        read[::2]
    with pytest.raises(TypeError, match="in slices"):
        np.asarray(read)


def test_rows_of_a_ragged_lie_in_the_file(tmp_path):
    write_ids(tmp_path / "ids.arrow", [np.arange(10)])
    rows = Ragged(MappedIds(tmp_path / "ids.arrow"), np.array([0, 3, 10]))
    assert [row.tolist() for row in rows] == [[0, 1, 2], [3, 4, 5, 6, 7, 8, 9]]
    assert rows[1].dtype == np.int32


def test_damage_is_said_with_the_path(tmp_path, small_batches):
    path = tmp_path / "ids.arrow"
    write_ids(path, [np.arange(1000, dtype=np.uint16)])
    whole = path.read_bytes()
    schema = pa.schema([("ids", pa.uint16())])
    other = [
        pa.table({"ids": pa.array([1.5])}),
        pa.table({"no": pa.array([1], pa.uint8())}),
        pa.table({"ids": pa.array([1, None], pa.uint8())}),
    ]
    files = [b"", b"x", whole[:-1], whole[: len(whole) // 2], whole[8:]]
    for table in other:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        files.append(sink.getvalue().to_pybytes())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:  # a short batch before a long one
        for size in (3, 100):
            writer.write_batch(pa.record_batch([pa.array(range(size), pa.uint16())], schema=schema))
    files.append(sink.getvalue().to_pybytes())
    for data in files:
        path.write_bytes(data)
        with pytest.raises(StoreError, match=r"ids\.arrow") as caught:
            MappedIds(path)
        assert caught.value.code == "E-DAMAGED"
    path.unlink()
    with pytest.raises(StoreError, match=r"ids\.arrow"):
        MappedIds(path)


def test_flipped_bytes_are_an_error_or_ids(tmp_path, small_batches):
    path = tmp_path / "ids.arrow"
    write_ids(path, [np.arange(200, dtype=np.uint8)])
    whole = bytearray(path.read_bytes())
    for at in range(0, len(whole), 3):
        changed = whole.copy()
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        with contextlib.suppress(StoreError):
            assert len(MappedIds(path)[:]) <= 200


def test_a_file_that_takes_the_name_is_not_read(tmp_path, monkeypatch):
    write_ids(tmp_path / "ids.arrow", [np.zeros(100, dtype=np.uint8)])
    read = MappedIds(tmp_path / "ids.arrow")
    write_ids(tmp_path / "ids.arrow", [np.ones(5, dtype=np.uint8)])
    monkeypatch.setattr(mapped, "_TOUCHED", 0)  # a new map after each read
    assert [int(read[:].sum()) for _ in range(3)] == [0, 0, 0]
    assert read.cut(np.array([90]), 10).sum() == 0


def test_threads_may_share_it(tmp_path, monkeypatch, small_batches):
    ids = np.arange(5000, dtype=np.uint16)
    write_ids(tmp_path / "ids.arrow", [ids])
    monkeypatch.setattr(mapped, "_TOUCHED", 0)
    read = MappedIds(tmp_path / "ids.arrow")
    wrong = []

    def look(seed):
        draws = np.random.default_rng(seed)
        for start in draws.integers(0, 4000, 300):
            if not np.array_equal(read[start : start + 900], ids[start : start + 900]):
                wrong.append(start)

    threads = [threading.Thread(target=look, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_other_processes_open_it_again(tmp_path):
    write_ids(tmp_path / "ids.arrow", [np.arange(9)])
    again = copy.copy(MappedIds(tmp_path / "ids.arrow"))  # by the door that pickle takes
    assert again[2:4].tolist() == [2, 3]
    again.close()


_FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from howfar.core.errors import EnvironmentFault
from howfar.data.mapped import write_ids
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
try:
    write_ids(Path(sys.argv[1]), [np.zeros(5_000_000, dtype=np.uint8)] * 2)
except EnvironmentFault as fault:
    print(fault.code, fault)
"""


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    path = tmp_path / "ids.arrow"
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("E-DISK")
    assert "ids.arrow" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(EnvironmentFault, match=r"none/ids\.arrow"):
        write_ids(tmp_path / "none" / "ids.arrow", [np.zeros(1, dtype=np.uint8)])


_READ = """
import sys
import numpy as np
import psutil
from howfar.data import mapped
from howfar.data.mapped import MappedIds
mapped._TOUCHED = 32 << 20
def resident():
    return psutil.Process().memory_info().rss
ids = MappedIds(sys.argv[1])
starts = np.arange(0, len(ids) - 4096, 1 << 19)
np.random.default_rng(0).shuffle(starts)
ids.cut(starts[:2], 64)
begin, most = resident(), 0
for at in range(0, len(starts), 8):
    ids.cut(starts[at : at + 8], 4096)
    most = max(most, resident())
print((most - begin) >> 20)
"""


def test_resident_memory_stays_below_the_file(tmp_path):
    path = tmp_path / "ids.arrow"
    block = np.zeros(1 << 24, dtype=np.uint8)
    write_ids(path, (block for _ in range(16)))  # 268 MB
    done = subprocess.run(
        [sys.executable, "-c", _READ, str(path)], capture_output=True, text=True, check=True
    )
    path.unlink()
    assert int(done.stdout) < 100
