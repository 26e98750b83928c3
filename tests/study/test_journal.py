"""A journal: whole records come back, a torn end is cut, everything else is damage."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from howfar.core.errors import EnvironmentFault, StoreError
from howfar.study import journal

ROOT = Path(__file__).parents[2]
RECORDS = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": None}, {"step": 3, "note": "a\nb\u2028c"}]


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(journal, "SETTLE_SECONDS", 0.0)
    for record in RECORDS:
        journal.append(tmp_path / "j", record)
    return tmp_path / "j"


def test_a_line_by_hand(path):
    text = b'{"step": 1, "loss": 0.5}'
    expected = b"00000018 " + format(zlib.crc32(text), "08x").encode() + b" " + text
    assert path.read_bytes().split(b"\n")[0] == expected


def test_records_come_back(path):
    assert journal.read(path) == (RECORDS, 0)
    assert journal.mend(path) == 0
    assert len(path.read_bytes().splitlines()) == 3


@pytest.mark.parametrize("value", ["\n", "\r\n", "\u2028\u2029\x85", "\0", "\udcff", "😀", "", {}])
def test_any_text_survives(path, value):
    journal.append(path, {"value": value, "é\n": [value]})
    assert journal.read(path) == ([*RECORDS, {"value": value, "é\n": [value]}], 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_no_number_is_refused(path, value):
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        journal.append(path, {"loss": [value]})
    assert path.read_bytes() == before


def test_no_file_holds_no_records(tmp_path):
    assert journal.read(tmp_path / "none") == ([], 0)


def start_of_last(data):
    return data.rindex(b"\n", 0, -1) + 1


def test_a_cut_at_every_byte_of_the_last_record(path):
    data = path.read_bytes()
    start = start_of_last(data)
    for end in range(start, len(data)):
        for zeros in (0, 1, 700):
            path.write_bytes(data[:end] + b"\0" * zeros)
            if end == len(data) - 1 and zeros:
                continue  # a whole record whose line feed was changed: see below
            assert journal.read(path) == (RECORDS[:2], end - start + zeros)
            assert journal.mend(path) == end - start + zeros
            path.write_bytes(data[:end] + b"\0" * zeros)
            journal.append(path, {"next": 4})
            assert journal.read(path) == ([*RECORDS[:2], {"next": 4}], 0)


def test_every_changed_byte_is_noticed(path):
    data = path.read_bytes()
    first = data.index(b"\n") + 1
    for place in range(len(data)):
        for other in {data[place] ^ 1 << bit for bit in range(8)} | {0, 10, 255 ^ data[place]}:
            if other == data[place]:
                continue
            path.write_bytes(data[:place] + bytes([other]) + data[place + 1 :])
            with pytest.raises(StoreError, match="byte") as caught:
                journal.read(path)
            start = 0 if place < first else first if place < start_of_last(data) else None
            assert start is None or f"byte {start:,} " in caught.value.message
    assert caught.value.code == "E-STORE"
    assert str(path) in caught.value.message


def test_a_damaged_end_is_not_cut(path):
    data = path.read_bytes()[:-1] + b"x"
    path.write_bytes(data)
    for deed in (journal.mend, lambda where: journal.append(where, {})):
        with pytest.raises(StoreError, match="byte"):
            deed(path)
    assert path.read_bytes() == data


def test_sealed_but_no_record(path):
    text = b"[1]"
    path.write_bytes(b"%08x %08x %s\n" % (len(text), zlib.crc32(text), text))
    with pytest.raises(StoreError, match="byte 0 "):
        journal.read(path)


def test_a_torn_end_longer_than_a_piece(path):
    journal.append(path, {"text": "x" * 300_000})
    data = path.read_bytes()
    path.write_bytes(data[:-5])
    assert journal.mend(path) == 300_000 + len('{"text": ""}') + 19 - 5
    assert journal.read(path) == (RECORDS, 0)


def test_an_end_that_grows_is_not_cut(path, monkeypatch):
    """Where locks do nothing another process may be in the middle of its write."""
    data = path.read_bytes()
    path.write_bytes(data[:-5])
    monkeypatch.setattr(journal.time, "sleep", lambda seconds: path.write_bytes(data))
    assert journal.mend(path) == 0
    assert journal.read(path) == (RECORDS, 0)


@pytest.mark.parametrize("deed", ["append", "append_unlocked"])
def test_two_processes(tmp_path, deed):
    place = tmp_path / "j"
    command = [sys.executable, "-m", "tests.study.ledger_worker", str(place), deed]
    children = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert [child.wait(60) for child in children] == [0, 0]
    records, torn = journal.read(place)
    assert (len(records), torn) == (400, 0)
    for child in children:
        assert [r["number"] for r in records if r["pid"] == child.pid] == list(range(200))


def test_a_full_disk_leaves_what_was_there(path):
    before = path.read_bytes()
    old, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 50, old[1]))
    try:
        with pytest.raises(EnvironmentFault, match="needed 1,0") as caught:
            journal.append(path, {"text": "x" * 1000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.code == "E-DISK"
    assert str(path) in caught.value.message
    assert path.read_bytes() == before
    journal.append(path, {"again": 1})
    assert journal.read(path) == ([*RECORDS, {"again": 1}], 0)


def test_a_record_that_did_not_reach_the_disk_is_not_kept(path, monkeypatch):
    def broken(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(EnvironmentFault, match="Cannot write"):
        journal.append(path, {"lost": 1})
    assert journal.read(path) == (RECORDS, 0)


def test_a_folder_in_its_place(tmp_path):
    with pytest.raises(EnvironmentFault, match="Cannot read") as caught:
        journal.read(tmp_path)
    assert caught.value.code == "E-READ"
    with pytest.raises(EnvironmentFault):
        journal.append(tmp_path / "none" / "j", {})


def test_held_for_too_long(path, monkeypatch):
    monkeypatch.setattr(journal, "LOCK_SECONDS", 0.05)
    with path.open("rb") as holder:
        journal.fcntl.flock(holder, journal.fcntl.LOCK_EX)
        with pytest.raises(EnvironmentFault, match="locked") as caught:
            journal.append(path, {})
    assert caught.value.code == "E-LOCKED"
    assert journal.read(path) == (RECORDS, 0)


def test_no_locks_at_all(path, monkeypatch):
    def absent(descriptor, operation):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(journal.fcntl, "flock", absent)
    journal.append(path, {"more": json.dumps({})})
    assert len(journal.read(path)[0]) == 4
