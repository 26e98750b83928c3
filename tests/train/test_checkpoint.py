"""Checkpoints: the same run back bit for bit, damage passed over and said, nothing lost."""

import errno
import itertools
import json
import math
import os
import random
import shutil

import pytest
import torch
from tests.core.faulty import Watched, failing, watch
from tests.train.runs import IDENTITY, Tiny, run

from howfar.core import failpoints, leftovers, store
from howfar.core.errors import EnvironmentFault, HowfarError, StoreError, UsageError
from howfar.core.failpoints import FAILPOINTS
from howfar.train.checkpoint import Checkpoints, RunState
from howfar.train.nested import join, split


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A true fsync takes milliseconds and changes nothing that these tests can see."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def equal(one, two):
    """Equal in value, in type and in every bit."""
    if isinstance(one, torch.Tensor):
        return (
            isinstance(two, torch.Tensor)
            and one.dtype == two.dtype
            and one.shape == two.shape
            and torch.equal(one.reshape(-1).view(torch.uint8), two.reshape(-1).view(torch.uint8))
        )
    if type(one) is not type(two):
        return False
    if isinstance(one, dict):
        return list(one) == list(two) and all(equal(one[k], two[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(map(equal, one, two))
    return one == two or (one != one and two != two)


def state(step, value=1.0):
    weights = {"w": torch.full((3,), value + step), "b": torch.zeros((), dtype=torch.bfloat16)}
    return RunState(step, weights, {}, {"state": {}, "param_groups": []}, {}, {"step": step})


def fresh(folder, **more):
    return Checkpoints(folder, IDENTITY, **more)


def three(folder, keep=3):
    """Checkpoints at steps 10, 20 and 30."""
    checkpoints = fresh(folder, keep=keep)
    for step in (10, 20, 30):
        checkpoints.save(state(step))
    return checkpoints


def flip(path, bit):
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class TestNested:
    @pytest.mark.parametrize(
        "value",
        [
            None,
            True,
            0,
            -(10**30),
            0.1,
            -0.0,
            math.inf,
            math.nan,
            "",
            "wörd\n",
            (),
            [],
            {},
            ((), [(), {}], {"a": (1,), 3: [None]}),
            {"betas": (0.9, 0.95), "lr": 1e-3, "foreach": None, "params": [0, 1]},
            {"tensor": "x", "tuple": [1], "table": {"real": "nan"}},
            {1: "int", "1": "text"},
            (torch.ones(2), (None, torch.tensor(3, dtype=torch.int64)), ()),
        ],
        ids=range(18),
    )
    def test_back_unchanged(self, value):
        tensors = {}
        text = json.dumps(split(value, "x", tensors), allow_nan=False)
        assert equal(join(json.loads(text), tensors), value)
        assert str(join(json.loads(text), tensors)) == str(value)  # also the sign of zero

    @pytest.mark.parametrize("value", [{1.5: 0}, {True: 0}, {None: 0}, {1, 2}, b"x", object()])
    def test_what_cannot_be_stored(self, value):
        with pytest.raises(TypeError):
            split([value], "x", {})

    @pytest.mark.parametrize(
        "value",
        [
            {},
            {"a": 1},
            {"tensor": "x"},
            {"tensor": [1]},
            {"tuple": 3},
            {"table": [1]},
            {"real": "x"},
        ],
        ids=range(7),
    )
    def test_json_from_elsewhere(self, value):
        with pytest.raises(StoreError) as caught:
            join([value], {})
        assert caught.value.code == "E-CKPT"


class TestRoundTrip:
    def test_a_real_optimiser(self, tmp_path):
        tiny = Tiny()
        for _ in range(5):
            tiny.advance()
        saved = tiny.state()
        fresh(tmp_path).save(saved)
        back = fresh(tmp_path).newest()
        for name in ("step", "optimiser", "carried", "counters"):
            assert equal(getattr(back, name), getattr(saved, name)), name
        for name in ("weights", "best"):
            one, two = getattr(back, name), dict(getattr(saved, name))
            assert equal(dict(sorted(one.items())), dict(sorted(two.items()))), name
        assert type(back.optimiser["param_groups"][0]["betas"]) is tuple
        assert back.optimiser["state"][0]["step"].shape == ()

    def test_it_goes_on_with_the_same_bits(self, tmp_path):
        straight, broken = Tiny(), Tiny()
        for _ in range(9):
            straight.advance()
        checkpoints = fresh(tmp_path)
        for _ in range(9):
            checkpoints.save(broken.state())
            broken = Tiny()
            broken.restore(checkpoints.newest())
            broken.advance()
        assert broken.digest() == straight.digest()
        # and the comparison can fail
        broken.hidden = broken.hidden + 1e-7
        broken.advance()
        straight.advance()
        assert broken.digest() != straight.digest()

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.int64, torch.bool])
    def test_types_of_numbers(self, tmp_path, dtype):
        given = state(1)
        given.weights = {"w": torch.tensor([0, 1, 1]).to(dtype)}
        given.carried = {7: (given.weights["w"], None), 2: given.weights["w"]}
        fresh(tmp_path).save(given)
        back = fresh(tmp_path).newest()
        assert equal(back.weights, given.weights)
        assert equal(back.carried, given.carried)

    def test_nothing_in_it(self, tmp_path):
        fresh(tmp_path).save(RunState(0, {}, {}, {}, {}, {}))
        back = fresh(tmp_path).newest()
        assert (back.step, back.weights, back.best, back.optimiser) == (0, {}, {}, {})
        assert (back.carried, back.counters) == ({}, {})

    def test_equal_runs_give_equal_files(self, tmp_path):
        for name in ("a", "b"):
            fresh(tmp_path / name).save(state(5))
        for path in (tmp_path / "a" / "ckpt-000000005").iterdir():
            other = tmp_path / "b" / "ckpt-000000005" / path.name
            assert path.read_bytes() == other.read_bytes()

    def test_no_pickle_anywhere(self, tmp_path):
        path = fresh(tmp_path).save(state(5))
        tables = ["best", "carried", "optimiser", "weights"]
        expected = [store.MANIFEST, *(f"{name}.safetensors" for name in tables), "state.json"]
        assert names(path) == sorted(expected)


class TestKeeping:
    def test_there_never_was_one(self, tmp_path):
        checkpoints = fresh(tmp_path / "a" / "b")
        assert checkpoints.newest() is None
        assert checkpoints.notes == []

    def test_the_oldest_go(self, tmp_path):
        checkpoints = three(tmp_path, keep=2)
        assert names(tmp_path) == ["checkpoints.json", "ckpt-000000020", "ckpt-000000030"]
        record = json.loads((tmp_path / "checkpoints.json").read_bytes())
        assert record["steps"] == [20, 30]
        assert record["identity"] == IDENTITY
        assert checkpoints.newest().step == 30

    def test_after_the_record(self, tmp_path, monkeypatch):
        three(tmp_path, keep=2)
        checkpoints = fresh(tmp_path)
        checkpoints.newest()
        monkeypatch.setenv("HOWFAR_TESTING", "1")
        for place, steps in (("checkpoint:saved", [20, 30]), ("checkpoint:recorded", [30, 40])):
            monkeypatch.setenv("HOWFAR_FAULT", f"raise@{place}")
            with pytest.raises(OSError, match="asked for"):
                checkpoints.save(state(40))
            assert json.loads((tmp_path / "checkpoints.json").read_bytes())["steps"] == steps
            assert names(tmp_path)[1:] == [f"ckpt-0000000{step}" for step in (20, 30, 40)]

    @pytest.mark.parametrize("keep", [1, 0, -1])
    def test_one_is_not_enough(self, tmp_path, keep):
        with pytest.raises(UsageError):
            fresh(tmp_path, keep=keep)

    def test_the_same_step_again(self, tmp_path):
        checkpoints = three(tmp_path)
        checkpoints.save(state(30, value=7.0))
        assert checkpoints.newest().weights["w"].tolist() == [37.0] * 3
        assert len(names(tmp_path)) == 4

    def test_checkpoints_nobody_asked_for_are_not_thrown_away(self, tmp_path):
        three(tmp_path)
        with pytest.raises(StoreError) as caught:
            fresh(tmp_path).save(state(1))
        assert caught.value.code == "E-EXISTS"
        assert "step 30" in caught.value.message
        assert fresh(tmp_path).newest().step == 30

    def test_other_files_are_left_alone(self, tmp_path):
        (tmp_path / "ckpt-notes").mkdir(parents=True)
        (tmp_path / "log.txt").write_text("mine")
        three(tmp_path, keep=2)
        assert {"ckpt-notes", "log.txt"} < set(names(tmp_path))


class TestDamage:
    def test_a_damaged_one_is_passed_over_and_said(self, tmp_path):
        three(tmp_path)
        flip(tmp_path / "ckpt-000000030" / "weights.safetensors", 700)
        checkpoints = fresh(tmp_path)
        assert checkpoints.newest().step == 20
        (note,) = checkpoints.notes
        assert "step 30" in note
        assert "weights.safetensors" in note
        assert "10 steps are done again" in note

    def test_it_goes_when_the_run_has_gone_on(self, tmp_path):
        three(tmp_path)
        for step in (20, 30):
            flip(tmp_path / f"ckpt-0000000{step}" / "state.json", 77)
        checkpoints = fresh(tmp_path, keep=2)
        assert checkpoints.newest().step == 10
        checkpoints.save(state(20))  # where a damaged one lies
        assert names(tmp_path)[1:] == ["ckpt-000000010", "ckpt-000000020"]
        assert fresh(tmp_path).newest().step == 20

    def test_a_damaged_one_does_not_count_among_the_kept(self, tmp_path):
        three(tmp_path)
        flip(tmp_path / "ckpt-000000020" / "state.json", 77)
        flip(tmp_path / "ckpt-000000030" / "state.json", 77)
        checkpoints = fresh(tmp_path, keep=2)
        checkpoints.newest()
        checkpoints.save(state(35))
        assert names(tmp_path)[1:] == ["ckpt-000000010", "ckpt-000000035"]

    def test_none_left(self, tmp_path):
        three(tmp_path)
        for step in (10, 20, 30):
            (tmp_path / f"ckpt-0000000{step}" / store.MANIFEST).unlink()
        with pytest.raises(StoreError) as caught:
            fresh(tmp_path).newest()
        assert caught.value.code == "E-CKPT"
        assert caught.value.exit_code == 5
        assert "step 30" in caught.value.message

    @pytest.mark.parametrize("record", [None, b"", b"{", b"[]", b'{"steps": 3}'])
    def test_all_deleted_but_the_record(self, tmp_path, record):
        three(tmp_path)
        for step in (10, 20, 30):
            shutil.rmtree(tmp_path / f"ckpt-0000000{step}")
        if record is not None:
            (tmp_path / "checkpoints.json").write_bytes(record)
        with pytest.raises(StoreError) as caught:
            fresh(tmp_path).newest()
        assert caught.value.code == "E-CKPT"

    def test_the_newest_deleted_is_said(self, tmp_path):
        three(tmp_path)
        shutil.rmtree(tmp_path / "ckpt-000000030")
        checkpoints = fresh(tmp_path)
        assert checkpoints.newest().step == 20
        assert "it is gone" in checkpoints.notes[0]

    @pytest.mark.parametrize("record", [None, b"", b"{", b"[" * 100_000])
    def test_a_record_that_is_lost_is_made_anew(self, tmp_path, record):
        three(tmp_path)
        path = tmp_path / "checkpoints.json"
        path.unlink() if record is None else path.write_bytes(record)
        checkpoints = fresh(tmp_path, keep=3)
        assert checkpoints.newest().step == 30
        checkpoints.save(state(40))
        assert json.loads(path.read_bytes())["steps"] == [20, 30, 40]

    def test_each_file_deleted_or_swapped_with_another_run(self, tmp_path):
        three(tmp_path / "a")
        other = Checkpoints(tmp_path / "b", IDENTITY)
        other.save(state(30, value=9.0))
        good, foreign = (tmp_path / name / "ckpt-000000030" for name in "ab")
        for name in names(good):
            whole = (good / name).read_bytes()
            (good / name).unlink()
            assert fresh(tmp_path / "a").newest().step == 20
            data = (foreign / name).read_bytes()
            if data != whole:
                (good / name).write_bytes(data)
                assert fresh(tmp_path / "a").newest().step == 20, name
            (good / name).write_bytes(whole)
        assert fresh(tmp_path / "a").newest().step == 30

    def test_a_folder_under_the_name_of_another_step(self, tmp_path):
        three(tmp_path)
        shutil.copytree(tmp_path / "ckpt-000000010", tmp_path / "ckpt-000000099")
        checkpoints = fresh(tmp_path)
        assert checkpoints.newest().step == 30
        assert "another step" in checkpoints.notes[0]

    def test_cut_anywhere(self, tmp_path):
        three(tmp_path)
        rng = random.Random(0)
        newest = tmp_path / "ckpt-000000030"
        for name in names(newest):
            path, whole = newest / name, (newest / name).read_bytes()
            lengths = {0, 1, 7, 8, 9, *(rng.randrange(len(whole)) for _ in range(17))}
            for length in sorted(n for n in lengths if n < len(whole)):
                path.write_bytes(whole[:length])
                assert fresh(tmp_path).newest().step == 20
            path.write_bytes(whole)

    def test_a_thousand_flipped_bits(self, tmp_path):
        checkpoints = fresh(tmp_path)
        tiny = Tiny()
        tiny.advance()
        path = checkpoints.save(tiny.state())
        paths = sorted(path.iterdir())
        sizes = [file.stat().st_size for file in paths]
        rng = random.Random(2)
        for _ in range(1_000):
            (file,) = rng.choices(paths, sizes)
            bit = rng.randrange(8 * file.stat().st_size)
            flip(file, bit)
            with pytest.raises(StoreError) as caught:
                checkpoints.newest()
            assert caught.value.code == "E-CKPT"
            flip(file, bit)
        assert equal(checkpoints.newest().optimiser, tiny.state().optimiser)

    def test_a_disk_that_cannot_be_read_is_no_damage(self, tmp_path, monkeypatch):
        checkpoints = three(tmp_path)
        watch(Watched(4, failing(errno.EIO), ("open",)), monkeypatch.setattr)
        with pytest.raises(EnvironmentFault) as caught:
            checkpoints.newest()
        assert caught.value.code == "E-READ"


class TestIdentity:
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"seed": 1}, "seed is '0' there, '1' here"),
            ({"seed": 0.0}, "seed is '0' there, '0.0' here"),
            ({"seed": False}, "seed is '0' there, 'False' here"),
            ({"model": {"width": 5, "rates": [0.1, 0.2]}}, "model.width is '4' there, '5' here"),
            ({"model": {"width": 4, "rates": [0.1]}}, "model.rates is"),
            ({"model": None}, "model is"),
            ({"data": "abc"}, "data is absent there, 'abc' here"),
        ],
        ids=range(7),
    )
    def test_the_fields_that_differ_are_listed(self, tmp_path, change, said):
        three(tmp_path)
        other = Checkpoints(tmp_path, {**IDENTITY, **change})
        with pytest.raises(StoreError) as caught:
            other.newest()
        assert caught.value.code == "E-OTHER-RUN"
        assert said in caught.value.message
        with pytest.raises(StoreError):
            other.save(state(40))

    def test_tuples_are_lists(self, tmp_path):
        Checkpoints(tmp_path, {"rates": (1, 2)}).save(state(1))
        assert Checkpoints(tmp_path, {"rates": [1, 2]}).newest().step == 1

    def test_many_fields(self, tmp_path):
        Checkpoints(tmp_path, {str(n): n for n in range(9)}).save(state(1))
        with pytest.raises(StoreError, match="and 4 more"):
            Checkpoints(tmp_path, {}).newest()

    def test_a_checkpoint_copied_from_another_run(self, tmp_path):
        three(tmp_path / "a")
        Checkpoints(tmp_path / "b", {"seed": 5}).save(state(40))
        shutil.copytree(tmp_path / "b" / "ckpt-000000040", tmp_path / "a" / "ckpt-000000040")
        with pytest.raises(StoreError, match="belongs to another run: family is absent"):
            fresh(tmp_path / "a").newest()


class TestFaults:
    def test_every_failing_call_leaves_a_checkpoint_and_the_next_save_works(
        self, tmp_path, monkeypatch
    ):
        first = fresh(tmp_path / "first")
        for step in (10, 20):
            first.save(state(step))
        for at in range(1, 500):
            folder = tmp_path / str(at)
            shutil.copytree(first.folder, folder)
            checkpoints = fresh(folder)
            checkpoints.newest()
            number = (errno.EIO, errno.ENOSPC, errno.EROFS)[at % 3]
            with monkeypatch.context() as patch:
                watched = watch(Watched(at, failing(number)), patch.setattr)
                try:
                    checkpoints.save(state(30))
                    failed = False
                except (EnvironmentFault, StoreError) as error:
                    failed = error.exit_code in (4, 5)
            if len(watched.calls) < at:
                assert not failed
                break
            assert fresh(folder).newest().step in ((20, 30) if failed else (30,)), at
            checkpoints.save(state(40))
            assert fresh(folder).newest().step == 40
            assert not [name for name in names(folder) if name.startswith(".")]
        assert at > 40

    def test_each_failpoint_of_a_run(self, tmp_path, monkeypatch):
        straight = run(tmp_path / "straight", 10)
        monkeypatch.setenv("HOWFAR_TESTING", "1")
        failpoints.forget()
        count = 0
        for name, at in itertools.product(FAILPOINTS, (1, 2)):
            monkeypatch.setenv("HOWFAR_FAULT", f"raise@{name}:{at}")
            folder = tmp_path / f"{name}-{at}"
            try:
                run(folder, 10)
            except (OSError, HowfarError):
                count += 1
            monkeypatch.setenv("HOWFAR_FAULT", "")
            assert run(folder, 10) == straight, (name, at)
        assert failpoints.hit() == set(FAILPOINTS)
        assert count == 2 * len(FAILPOINTS) - 1  # the one replacement in a run

    def test_a_folder_that_is_moved_away(self, tmp_path):
        checkpoints = three(tmp_path / "run")
        (tmp_path / "run").rename(tmp_path / "elsewhere")
        with pytest.raises(EnvironmentFault, match=str(tmp_path / "run")):
            checkpoints.save(state(40))
        assert names(tmp_path) == ["elsewhere"]

    def test_a_folder_that_cannot_be(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(EnvironmentFault):
            fresh(tmp_path / "file")

    def test_leftovers_go_at_the_start(self, tmp_path):
        three(tmp_path)
        left = tmp_path / f".ckpt-000000040.tmp-{os.getpid()}-{leftovers._host()}00000000"
        left.mkdir()
        (left / "weights.safetensors").write_bytes(b"half")
        fresh(tmp_path)
        assert not left.exists()
