"""Saved folders: whole or absent, every changed bit noticed, every failure said plainly."""

import errno
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.core.faulty import Watched, content, failing, files, short, watch

from howfar.core import disk, leftovers, store
from howfar.core.errors import EnvironmentFault, StoreError

ROOT = Path(__file__).parents[2]
OPENED = 7  # the manifest, and two files for their size, their hash and their bytes
DEAD = 2**22 + 1  # above the largest process number of Linux


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A true fsync takes milliseconds and changes nothing that these tests can see."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def put(folder, mark="one", **more):
    return store.write_folder(folder, files(mark), about={"mark": mark}, **more)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def python(code, *arguments, before=(), **more):
    command = [*before, sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, **more)


def code_of(caught):
    return caught.value.code


def flip(path, bit):
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def reseal(folder, change):
    """Change the manifest as somebody would who knows how it is sealed."""
    path = folder / store.MANIFEST
    document = json.loads(path.read_bytes())
    del document["seal"]
    change(document)
    text = json.dumps(document, indent=1, sort_keys=True) + "\n"
    document["seal"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


def test_what_is_written_is_read(tmp_path):
    manifest = put(tmp_path / "model")
    folder = store.verify(tmp_path / "model")
    assert content(folder) == "one"
    assert folder.path == tmp_path / "model"
    assert folder.extra == ()
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == [store.MANIFEST, "a.bin", "b.bin"]
    data = (tmp_path / "model" / store.MANIFEST).read_bytes()
    assert manifest == hashlib.sha256(data).hexdigest()


def test_the_manifest_by_hand(tmp_path):
    store.write_folder(tmp_path / "m", {"x": b"abc"}, about={"n": 1})
    document = json.loads((tmp_path / "m" / store.MANIFEST).read_bytes())
    seal = document.pop("seal")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert document == {
        "schema": 1,
        "about": {"n": 1},
        "files": {"x": {"size": 3, "sha256": abc}},
    }
    text = json.dumps(document, indent=1, sort_keys=True) + "\n"
    assert seal == hashlib.sha256(text.encode()).hexdigest()


def test_equal_content_gives_equal_bytes(tmp_path):
    first = store.write_folder(tmp_path / "a", {"x": b"1", "y": b""}, about={"b": 1, "a": "ж"})
    second = store.write_folder(tmp_path / "b", {"y": b"", "x": b"1"}, about={"a": "ж", "b": 1})
    assert first == second


def test_an_empty_folder_and_an_empty_file(tmp_path):
    store.write_folder(tmp_path / "none", {})
    assert store.verify(tmp_path / "none").files == {}
    store.write_folder(tmp_path / "one", {"x": b""})
    assert store.verify(tmp_path / "one").read("x") == b""


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", store.MANIFEST, "x\n", "a" * 101])
def test_a_name_that_cannot_be(tmp_path, name):
    with pytest.raises(ValueError, match="cannot be the name"):
        store.write_folder(tmp_path / "m", {name: b""})
    assert names(tmp_path) == []


def test_the_folder_above_is_not_made_anew(tmp_path):
    with pytest.raises(EnvironmentFault) as caught:
        put(tmp_path / "moved" / "m")
    assert code_of(caught) == "E-WRITE"
    assert str(tmp_path / "moved" / "m") in caught.value.message
    assert names(tmp_path) == []


class TestReplacing:
    def test_only_when_asked(self, tmp_path):
        put(tmp_path / "m", "one")
        with pytest.raises(StoreError) as caught:
            put(tmp_path / "m", "two")
        assert code_of(caught) == "E-EXISTS"
        assert content(store.verify(tmp_path / "m")) == "one"
        put(tmp_path / "m", "two", replace=True)
        assert content(store.verify(tmp_path / "m")) == "two"
        assert names(tmp_path) == ["m"]

    def test_an_empty_folder_is_no_obstacle(self, tmp_path):
        (tmp_path / "m").mkdir()
        put(tmp_path / "m")
        assert content(store.verify(tmp_path / "m")) == "one"

    @pytest.mark.parametrize("replace", [False, True])
    def test_what_is_not_ours_is_never_replaced(self, tmp_path, replace):
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "chapter.txt").write_text("years")
        (tmp_path / "file").write_text("x")
        for name in ("thesis", "file"):
            with pytest.raises(StoreError) as caught:
                put(tmp_path / name, replace=replace)
            assert code_of(caught) == "E-EXISTS"
        assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years"
        assert names(tmp_path) == ["file", "thesis"]

    def test_a_file_put_beside_ours_is_not_deleted(self, tmp_path):
        put(tmp_path / "m")
        (tmp_path / "m" / "notes.txt").write_text("mine")
        with pytest.raises(StoreError, match=r"notes\.txt"):
            put(tmp_path / "m", "two", replace=True)
        assert content(store.verify(tmp_path / "m")) == "one"

    def test_what_is_said_to_be_ours_goes_with_it(self, tmp_path):
        (tmp_path / "m" / "checkpoints").mkdir(parents=True)
        with pytest.raises(StoreError, match="checkpoints"):
            put(tmp_path / "m", replace=True)
        put(tmp_path / "m", replace=True, own=("checkpoints",))
        assert content(store.verify(tmp_path / "m")) == "one"
        assert store.verify(tmp_path / "m").extra == ()
        assert names(tmp_path) == ["m"]

    def test_what_made_way_without_a_manifest_is_not_lost(self, tmp_path):
        aside = tmp_path / f".m.old-{DEAD}-{leftovers._host()}01234567"
        (aside / "checkpoints").mkdir(parents=True)
        store.sweep(tmp_path)
        assert names(tmp_path / "m") == ["checkpoints"]

    def test_a_link_stays_a_link(self, tmp_path):
        (tmp_path / "large").mkdir()
        put(tmp_path / "large" / "m", "one")
        (tmp_path / "link").symlink_to(tmp_path / "large" / "m")
        put(tmp_path / "link", "two", replace=True)
        assert (tmp_path / "link").is_symlink()
        assert content(store.verify(tmp_path / "large" / "m")) == "two"
        assert names(tmp_path) == ["large", "link"]


class TestOrder:
    def test_files_then_manifest_then_folder_then_name(self, tmp_path, monkeypatch):
        watched = watch(Watched(), monkeypatch.setattr)
        at = {}
        real = os.fsync

        def fsync(descriptor):
            at.setdefault("synced", []).append(Path(f"/proc/self/fd/{descriptor}").readlink())
            at.setdefault("sizes", []).append(os.fstat(descriptor).st_size)
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)
        put(tmp_path / "m")
        renames = [args for name, args in watched.calls if name == "rename"]
        ((temporary, target),) = renames
        assert target == tmp_path / "m"
        inside = [temporary / name for name in ("a.bin", "b.bin", store.MANIFEST)]
        assert at["synced"] == [*inside, temporary, tmp_path]
        assert at["sizes"][:2] == [150, 3009]  # whole when fsynced
        kinds = [name for name, _ in watched.calls if name in ("fsync", "rename", "write")]
        assert kinds[-3:] == ["fsync", "rename", "fsync"]
        last_write = max(i for i, (name, _) in enumerate(watched.calls) if name == "write")
        first_folder = watched.calls.index(("rename", renames[0]))
        assert last_write < first_folder

    def test_a_single_file(self, tmp_path, monkeypatch):
        watched = watch(Watched(), monkeypatch.setattr)
        store.write_file(tmp_path / "record.json", b"{}")
        kinds = [name for name, _ in watched.calls if name in ("fsync", "replace", "write")]
        assert kinds == ["write", "fsync", "replace", "fsync"]

    def test_a_new_folder_has_a_lasting_name(self, tmp_path, monkeypatch):
        watched = watch(Watched(), monkeypatch.setattr)
        store.check_writable(tmp_path / "a" / "b", 0)
        made = [args[0] for name, args in watched.calls if name == "mkdir"]
        opened = [args[0] for name, args in watched.calls if name == "open"]
        assert made == [tmp_path / "a", tmp_path / "a" / "b"]
        assert opened[:2] == [tmp_path, tmp_path / "a"]


def sweep_calls(tmp_path, monkeypatch, act, before):
    """Let every call fail in turn; yields (number, error or None) until a save is left alone."""
    for at in range(1, 200):
        shutil.rmtree(tmp_path / "m", ignore_errors=True)
        if before:
            put(tmp_path / "m", "old")
        with monkeypatch.context() as patch:
            watched = watch(Watched(at, act), patch.setattr)
            try:
                put(tmp_path / "m", "new", replace=True)
                error = None
            except EnvironmentFault as caught:
                error = caught
        yield at, error
        if len(watched.calls) < at:
            return
    pytest.fail("no end of calls")


class TestEveryCallFails:
    @pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS])
    @pytest.mark.parametrize("before", [False, True])
    def test_one_fails(self, tmp_path, monkeypatch, number, before):
        code = {errno.EIO: "E-WRITE", errno.ENOSPC: "E-DISK", errno.EROFS: "E-PERMISSION"}[number]
        count = 0
        for at, error in sweep_calls(tmp_path, monkeypatch, failing(number), before):
            count += error is not None
            reading = before and at <= 5  # of the manifest that is there
            assert error is None or error.code == ("E-READ" if reading else code)
            if before or (tmp_path / "m").exists():
                assert content(store.verify(tmp_path / "m")) in ("old", "new"), at
            assert not [n for n in names(tmp_path) if ".tmp-" in n], at
            store.sweep(tmp_path)
            assert names(tmp_path) in ([], ["m"])
        assert count == (26 if before else 20)

    def test_a_short_write_goes_on(self, tmp_path, monkeypatch):
        for at, error in sweep_calls(tmp_path, monkeypatch, short, False):
            assert error is None, at
            assert content(store.verify(tmp_path / "m")) == "new"

    def test_the_second_rename_fails_and_the_first_is_undone(self, tmp_path, monkeypatch):
        put(tmp_path / "m", "old")
        watch(Watched(2, failing(errno.EIO), ("rename",)), monkeypatch.setattr)
        with pytest.raises(EnvironmentFault):
            put(tmp_path / "m", "new", replace=True)
        assert names(tmp_path) == ["m"]
        assert content(store.verify(tmp_path / "m")) == "old"

    def test_the_second_rename_fails_and_cannot_be_undone(self, tmp_path, monkeypatch):
        put(tmp_path / "m", "old")

        def only_the_first(real, name, args):
            if len(watched.calls) > 1:
                raise OSError(errno.EIO, "gone")
            return real(*args)

        with monkeypatch.context() as patch:
            watched = watch(Watched(range(1, 9), only_the_first, ("rename",)), patch.setattr)
            with pytest.raises(EnvironmentFault):
                put(tmp_path / "m", "new", replace=True)
        assert not (tmp_path / "m").exists()
        found = store.verify(tmp_path / "m")  # reads the one that made way
        assert content(found) == "old"
        assert found.path != tmp_path / "m"
        assert len(store.sweep(tmp_path)) == 1
        assert content(store.verify(tmp_path / "m")) == "old"
        assert names(tmp_path) == ["m"]

    def test_killed_at_every_call(self, tmp_path):
        command = [sys.executable, "-m", "tests.core.faulty", str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == [20, 26]

    def test_an_error_of_the_writer_itself(self, tmp_path):
        def half(file):
            file.write(b"x" * 10)
            raise RuntimeError("the model is odd")

        with pytest.raises(RuntimeError, match="odd"):
            store.write_folder(tmp_path / "m", {"x": half})
        assert names(tmp_path) == []

    def test_a_writer_may_close_its_file(self, tmp_path):
        def closing(file):
            assert file.tell() == 0
            file.write(b"abc")
            file.close()

        store.write_folder(tmp_path / "m", {"x": closing})
        assert store.verify(tmp_path / "m").read("x") == b"abc"


class TestFullDisk:
    def test_sizes_are_said_before_anything_is_written(self, tmp_path, monkeypatch):
        monkeypatch.setattr(disk, "free_bytes", lambda path: 1_000)
        with pytest.raises(EnvironmentFault) as caught:
            store.write_folder(tmp_path / "m", {"x": b"a" * 800, "y": b"b" * 400})
        assert code_of(caught) == "E-DISK"
        assert caught.value.exit_code == 4
        assert "needed 1,200 bytes, free 1,000 bytes" in caught.value.message
        assert str(tmp_path / "m") in caught.value.message
        assert names(tmp_path) == []

    def test_a_limit_on_the_size_of_files(self, tmp_path):
        put(tmp_path / "m", "old")
        before = {name: (tmp_path / "m" / name).read_bytes() for name in names(tmp_path / "m")}
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))
        try:
            with pytest.raises(EnvironmentFault) as caught:
                put(tmp_path / "m", "new", replace=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert code_of(caught) == "E-DISK"
        assert "b.bin" in caught.value.message
        assert "needed 3,009 bytes" in caught.value.message
        assert before == {name: (tmp_path / "m" / name).read_bytes() for name in before}
        assert names(tmp_path) == ["m"]
        put(tmp_path / "m", "new", replace=True)
        assert content(store.verify(tmp_path / "m")) == "new"

    def test_a_device_that_is_always_full(self):
        raw = disk._Hashed(os.open("/dev/full", os.O_WRONLY))
        with pytest.raises(OSError, match="No space left") as caught:
            disk._pour(raw, b"x")  # all writing goes through this
        os.close(raw.descriptor)
        assert disk.fault(caught.value, Path("/x"), 1).code == "E-DISK"


class TestReadOnly:
    def test_before_anything_else(self, tmp_path):
        code = """
import os, sys
from pathlib import Path
from howfar.core import store
from howfar.core.errors import EnvironmentFault, StoreError
os.setgroups([]); os.setgid(65534); os.setuid(65534)
parent = Path(sys.argv[1])
def attempt(act, *arguments):
    try:
        act(*arguments)
        print("done")
    except (EnvironmentFault, StoreError) as error:
        print(error.exit_code, error.code, error.message)
attempt(store.check_writable, parent / "closed", 0)
attempt(store.check_writable, parent / "closed" / "new", 0)
attempt(store.write_folder, parent / "closed" / "new", {})
attempt(store.write_file, parent / "closed" / "new", b"")
attempt(store.verify, parent / "hidden")
attempt(store.verify, parent / "closed" / "m")
attempt(store.verify, parent / "shut" / "m")
attempt(store.remove_folder, parent / "closed" / "m")
"""
        if os.getuid():
            code = code.replace("os.setgroups([]); os.setgid(65534); os.setuid(65534)", "")
        base = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True).stdout.strip())
        try:
            base.chmod(0o755)
            for name in ("closed", "shut"):
                (base / name).mkdir()
                put(base / name / "m")
            put(base / "hidden")
            (base / "hidden" / "b.bin").chmod(0)
            (base / "closed").chmod(0o555)
            (base / "shut").chmod(0)
            done = python(code, base)
        finally:
            for name in ("closed", "shut"):
                (base / name).chmod(0o755)
            shutil.rmtree(base)
        lines = done.stdout.splitlines()
        assert [line.split()[:2] for line in lines[:5]] == [["4", "E-PERMISSION"]] * 5, done.stderr
        assert str(base / "closed") in lines[0]
        assert lines[5] == "done"
        assert [line.split()[:2] for line in lines[6:]] == [["4", "E-PERMISSION"]] * 2
        assert done.stderr == ""

    def test_a_file_where_a_folder_should_be(self, tmp_path):
        (tmp_path / "x").write_text("")
        for path in (tmp_path / "x", tmp_path / "x" / "y"):
            with pytest.raises(EnvironmentFault) as caught:
                store.check_writable(path, 0)
            assert code_of(caught) == "E-WRITE"

    def test_the_probe_leaves_nothing(self, tmp_path):
        store.check_writable(tmp_path / "a" / "b", 1_000)
        assert names(tmp_path / "a" / "b") == []


class TestDamage:
    def test_cut_anywhere(self, tmp_path):
        put(tmp_path / "m")
        rng = random.Random(0)
        for name in names(tmp_path / "m"):
            path = tmp_path / "m" / name
            whole = path.read_bytes()
            for cut in {
                0,
                1,
                7,
                8,
                9,
                len(whole) - 1,
                *(rng.randrange(len(whole)) for _ in "x" * 30),
            }:
                path.write_bytes(whole[:cut])
                with pytest.raises(StoreError) as caught:
                    store.verify(tmp_path / "m")
                assert code_of(caught) == "E-DAMAGED"
            path.write_bytes(whole + b" ")
            with pytest.raises(StoreError, match="damaged"):
                store.open_folder(tmp_path / "m")
            path.write_bytes(whole)
        assert content(store.verify(tmp_path / "m")) == "one"

    def test_a_thousand_flipped_bits(self, tmp_path):
        put(tmp_path / "m")
        rng = random.Random(1)
        paths = [tmp_path / "m" / name for name in names(tmp_path / "m")]
        for _ in range(1_000):
            path = rng.choice(paths)
            bit = rng.randrange(8 * path.stat().st_size)
            flip(path, bit)
            with pytest.raises(StoreError) as caught:
                store.verify(tmp_path / "m")
            assert code_of(caught) == "E-DAMAGED"
            flip(path, bit)
        assert content(store.verify(tmp_path / "m")) == "one"

    @pytest.mark.parametrize("gone", ["a.bin", "b.bin", store.MANIFEST])
    def test_a_missing_file(self, tmp_path, gone):
        put(tmp_path / "m")
        (tmp_path / "m" / gone).unlink()
        with pytest.raises(StoreError) as caught:
            store.open_folder(tmp_path / "m")
        assert code_of(caught) == ("E-NO-MANIFEST" if gone == store.MANIFEST else "E-DAMAGED")
        assert gone in caught.value.message
        assert caught.value.exit_code == 5

    def test_swapped_files_of_equal_size(self, tmp_path):
        for mark in ("one", "two"):
            put(tmp_path / mark, mark)
        one, two = (tmp_path / mark / "b.bin" for mark in ("one", "two"))
        data = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(data)
        for mark in ("one", "two"):
            folder = store.open_folder(tmp_path / mark)
            assert folder.read("a.bin")
            with pytest.raises(StoreError, match=r"b\.bin"):
                folder.read("b.bin")

    def test_an_extra_file_is_seen_and_not_read(self, tmp_path):
        put(tmp_path / "m")
        (tmp_path / "m" / "weights.pkl").write_bytes(b"\x80\x04")
        folder = store.verify(tmp_path / "m")
        assert folder.extra == ("weights.pkl",)
        with pytest.raises(StoreError, match=r"has no 'weights\.pkl'"):
            folder.read("weights.pkl")

    def test_nothing_there(self, tmp_path):
        (tmp_path / "file").write_text("")
        (tmp_path / "empty").mkdir()
        for name in ("absent", "file", "empty"):
            with pytest.raises(StoreError) as caught:
                store.open_folder(tmp_path / name)
            assert code_of(caught) == "E-NO-MANIFEST"
            assert str(tmp_path / name) in caught.value.message

    def test_links_are_followed_to_ordinary_files_only(self, tmp_path):
        put(tmp_path / "m")
        blob = tmp_path / "blob"
        (tmp_path / "m" / "a.bin").rename(blob)
        (tmp_path / "m" / "a.bin").symlink_to(blob)
        assert content(store.verify(tmp_path / "m")) == "one"
        for target in ("/dev/zero", tmp_path, "a.bin", tmp_path / "absent"):
            (tmp_path / "m" / "a.bin").unlink()
            (tmp_path / "m" / "a.bin").symlink_to(target)
            with pytest.raises(StoreError) as caught:
                store.open_folder(tmp_path / "m")
            assert code_of(caught) == "E-DAMAGED"

    def test_a_pipe_does_not_make_it_wait(self, tmp_path):
        put(tmp_path / "m")
        for name in ("a.bin", store.MANIFEST):
            (tmp_path / "m" / name).unlink()
            os.mkfifo(tmp_path / "m" / name)
            with pytest.raises(StoreError, match="not an ordinary file"):
                store.verify(tmp_path / "m")


HOSTILE = {
    "climbs": lambda d: d["files"].update({"../x": {"size": 0, "sha256": "0" * 64}}),
    "absolute": lambda d: d["files"].update({"/etc/passwd": {"size": 0, "sha256": "0" * 64}}),
    "newline": lambda d: d["files"].update({"a\nb": {"size": 0, "sha256": "0" * 64}}),
    "no table": lambda d: d["files"].update({"a.bin": 3}),
    "negative": lambda d: d["files"]["a.bin"].update(size=-1),
    "truth": lambda d: d["files"]["a.bin"].update(size=True),
    "huge": lambda d: d["files"]["a.bin"].update(size=2**62),
    "real": lambda d: d["files"]["a.bin"].update(size=1e3),
    "no hash": lambda d: d["files"]["a.bin"].update(sha256=None),
    "odd hash": lambda d: d["files"]["a.bin"].update(sha256="zz"),
    "list": lambda d: d.update(files=[]),
    "none": lambda d: d.pop("files"),
    "about": lambda d: d.update(about=3),
}


class TestHostileManifest:
    @pytest.mark.parametrize(
        "change",
        HOSTILE.values(),
        ids=HOSTILE.keys(),
    )
    def test_sealed_anew(self, tmp_path, change):
        put(tmp_path / "m")
        reseal(tmp_path / "m", change)
        with pytest.raises(StoreError) as caught:
            store.open_folder(tmp_path / "m")
        assert code_of(caught) == "E-DAMAGED"

    def test_sealed_anew_without_change_is_the_same(self, tmp_path):
        put(tmp_path / "m")
        before = (tmp_path / "m" / store.MANIFEST).read_bytes()
        reseal(tmp_path / "m", lambda document: None)
        assert (tmp_path / "m" / store.MANIFEST).read_bytes() == before

    def test_a_later_version(self, tmp_path):
        put(tmp_path / "m")
        reseal(tmp_path / "m", lambda document: document.update(schema=2))
        with pytest.raises(StoreError) as caught:
            store.open_folder(tmp_path / "m")
        assert code_of(caught) == "E-VERSION"

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"null",
            b"[]",
            b"\x00" * 100,
            b"[" * 100_000,
            b'{"seal": 1e999}',
            b'{"about": {"n": ' + b"9" * 5_000 + b"}}",
            b'{"files": {}, "files": {}}',
            "{}".encode("utf-16"),
            b" " * ((16 << 20) + 1),
        ],
        ids=range(10),
    )
    def test_no_manifest_at_all(self, tmp_path, data):
        put(tmp_path / "m")
        (tmp_path / "m" / store.MANIFEST).write_bytes(data)
        with pytest.raises(StoreError) as caught:
            store.open_folder(tmp_path / "m")
        assert code_of(caught) == "E-DAMAGED"


class TestReading:
    @pytest.mark.parametrize("at", range(1, OPENED + 2))
    def test_an_error_of_the_disk_is_no_damage(self, tmp_path, monkeypatch, at):
        put(tmp_path / "m")
        watched = watch(Watched(at, failing(errno.EIO), kinds=("open",)), monkeypatch.setattr)
        if at <= OPENED:
            with pytest.raises(EnvironmentFault) as caught:
                content(store.verify(tmp_path / "m"))
            assert code_of(caught) == "E-READ"
            assert str(tmp_path / "m") in caught.value.message
        else:
            assert content(store.verify(tmp_path / "m")) == "one"
        assert len(watched.calls) == min(at, OPENED)


class TestSweep:
    def leave(self, parent, kind, pid=DEAD, host=None, name="m"):
        path = parent / f".{name}.{kind}-{pid}-{host or leftovers._host()}01234567"
        put(path)
        return path

    def test_the_dead_are_cleared_away(self, tmp_path):
        left = self.leave(tmp_path, "tmp")
        own = self.leave(tmp_path, "tmp", pid=os.getpid())  # of an earlier process of this number
        file = tmp_path / f".record.json.tmp-{DEAD}-{leftovers._host()}01234567"
        file.write_text("half")
        assert sorted(store.sweep(tmp_path)) == sorted([left, own, file])
        assert names(tmp_path) == []

    def test_the_living_and_strangers_are_left_alone(self, tmp_path):
        put(tmp_path / "m")
        self.leave(tmp_path, "tmp", pid=os.getppid())
        self.leave(tmp_path, "tmp", pid=1)
        self.leave(tmp_path, "tmp", host="abcdef")
        (tmp_path / ".hidden").write_text("")
        (tmp_path / ".m.tmp-12").write_text("")
        before = names(tmp_path)
        assert store.sweep(tmp_path) == []
        assert names(tmp_path) == before

    def test_after_a_day_also_those_of_other_machines(self, tmp_path):
        left = self.leave(tmp_path, "tmp", host="abcdef")
        yesterday = time.time() - 2 * leftovers.STALE_SECONDS
        os.utime(left, (yesterday, yesterday))
        assert store.sweep(tmp_path) == [left]
        assert names(tmp_path) == []

    def test_a_save_in_progress_is_left_alone(self, tmp_path):
        def sweeping(file):
            assert store.sweep(tmp_path) == []
            file.write(b"x")

        store.write_folder(tmp_path / "m", {"x": sweeping})
        assert store.verify(tmp_path / "m").read("x") == b"x"

    def test_what_made_way_is_read_and_comes_back(self, tmp_path):
        self.leave(tmp_path, "old")
        assert content(store.verify(tmp_path / "m")) == "one"
        store.sweep(tmp_path)
        assert names(tmp_path) == ["m"]
        assert content(store.verify(tmp_path / "m")) == "one"

    def test_what_made_way_goes_when_the_new_one_is_there(self, tmp_path):
        put(tmp_path / "m", "two")
        self.leave(tmp_path, "old")
        store.sweep(tmp_path)
        assert names(tmp_path) == ["m"]
        assert content(store.verify(tmp_path / "m")) == "two"

    def test_the_next_write_puts_it_back_first(self, tmp_path):
        self.leave(tmp_path, "old")
        with pytest.raises(StoreError, match="exists"):
            put(tmp_path / "m", "two")
        assert content(store.verify(tmp_path / "m")) == "one"

    def test_a_folder_that_is_missing(self, tmp_path):
        assert store.sweep(tmp_path / "absent") == []

    def test_names_of_others_that_begin_alike(self, tmp_path):
        self.leave(tmp_path, "tmp", name="m.b")
        put(tmp_path / "m")
        assert len(names(tmp_path)) == 2  # a write clears away only what bears its own name


class TestWriteFile:
    def test_old_or_new_at_every_failing_call(self, tmp_path, monkeypatch):
        path = tmp_path / "record.json"
        for at in range(1, 50):
            path.write_bytes(b"old")
            with monkeypatch.context() as patch:
                watched = watch(Watched(at, failing(errno.ENOSPC)), patch.setattr)
                try:
                    store.write_file(path, b"new")
                    failed = False
                except EnvironmentFault as error:
                    failed = error.code == "E-DISK"
            assert path.read_bytes() in ((b"old", b"new") if failed else (b"new",))
            assert names(tmp_path) == ["record.json"]
            if len(watched.calls) < at:
                assert not failed
                return
        pytest.fail("no end of calls")


def test_the_store_needs_no_torch():
    code = (
        "import sys, howfar.core.store as s; print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    assert python(code).stdout.split() == ["False", "False"]
