"""A ledger: each cell handed out once, no stale word kept, damage noticed, no lock shown."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from howfar.core.errors import EnvironmentFault, HowfarError, StoreError, UsageError
from howfar.study import owner as owners
from howfar.study.ledger import Ledger, Lost
from howfar.study.owner import me

ROOT = Path(__file__).parents[2]
STUDY = {"name": "small", "axes": {"family": ["lstm", "tcn"]}}
REPEATS = int(os.environ.get("HOWFAR_REPEATS", "3"))
GONE = me().replace(f" {os.getpid()} ", f" {2**22 + 1} ")  # above the largest process number
REUSED = me().rpartition(" ")[0] + " 1"  # this number, another start
ELSEWHERE = "elsewhere/1/1 7 99"


def grid(count):
    return [(f"run{n:03}", {"family": "lstm", "rate": n / 7, "seed": n}) for n in range(count)]


def made(folder, count=3, **options):
    Ledger.create(folder / "ledger.db", STUDY, grid(count))
    return Ledger(folder / "ledger.db", **options)


def states(ledger):
    return [cell.state for cell in ledger.cells()]


def counted(**some):
    return {"waiting": 0, "running": 0, "done": 0, "failed": 0, "diverged": 0} | some


def worker(path, deed):
    command = [sys.executable, "-m", "tests.study.ledger_worker", str(path), deed]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


@pytest.fixture
def child():
    """Starts workers, and ends them."""
    started = []

    def start(path, deed):
        started.append(worker(path, deed))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_life(tmp_path):
    ledger = made(tmp_path)
    with ledger as same:
        assert same is ledger
    assert ledger.counts() == counted(waiting=3)
    first, second, third = (ledger.claim(me()) for _ in range(3))
    assert (first.run, first.settings, first.attempt, first.token) == (*grid(3)[0], 1, 1)
    assert [second.run, second.token, third.run, third.token] == ["run001", 2, "run002", 3]
    assert ledger.claim(me()) is None
    ledger.beat(first)
    ledger.finish(first, "done", {"score": 0.5, "note": "a\n\u2028😀"})
    ledger.finish(second, "diverged", reason="nan at \udcff step\0 3")
    ledger.release(third)
    assert ledger.counts() == counted(waiting=1, done=1, diverged=1)
    done, diverged, waiting = ledger.cells()
    assert (done.order, done.result, done.reason, done.owner) == (
        0, {"score": 0.5, "note": "a\n\u2028😀"}, None, me()
    )  # fmt: skip
    assert (diverged.reason, diverged.result) == ("nan at \\udcff step\0 3", None)
    assert (waiting.state, waiting.owner, waiting.attempt) == ("waiting", None, 1)
    again = ledger.claim(me())
    assert (again.run, again.attempt, again.token) == ("run002", 2, 4)
    assert [cell.run for cell in ledger.cells("running")] == ["run002"]
    ledger.check()


def test_create_again_adds_only_what_is_new(tmp_path):
    ledger = made(tmp_path)
    ledger.finish(ledger.claim(me()), "done", {"score": 1})
    before = list(ledger.cells())
    Ledger.create(ledger.path, dict(reversed(STUDY.items())), grid(3))
    assert list(ledger.cells()) == before
    Ledger.create(ledger.path, STUDY, [*grid(5)[3:], *grid(2)])
    assert list(ledger.cells())[:3] == before
    assert [(c.run, c.order, c.state) for c in ledger.cells()][3:] == [
        ("run003", 3, "waiting"), ("run004", 4, "waiting")
    ]  # fmt: skip
    ledger.check()


def test_create_refuses_another_study(tmp_path):
    ledger = made(tmp_path)
    with pytest.raises(StoreError, match="another study"):
        Ledger.create(ledger.path, {"name": "other"}, grid(3))
    with pytest.raises(StoreError, match="run001"):
        Ledger.create(ledger.path, STUDY, [("run001", {"seed": 9}), ("new", {})])
    assert len(list(ledger.cells())) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.db"]


def test_no_cells(tmp_path):
    with made(tmp_path, 0) as ledger:
        assert ledger.claim(me()) is None
        assert list(ledger.cells()) == []


def test_what_json_does_not_have_is_refused(tmp_path):
    ledger = made(tmp_path)
    claim = ledger.claim(me())
    with pytest.raises(ValueError, match="JSON"):
        ledger.finish(claim, "done", {"loss": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        Ledger.create(ledger.path, STUDY, [("new", {"rate": float("inf")})])
    with pytest.raises(ValueError, match="JSON"):
        Ledger.create(tmp_path / "other.db", {"rate": float("inf")}, [])
    assert states(ledger) == ["running", "waiting", "waiting"]
    assert not (tmp_path / "other.db").exists()


@pytest.mark.parametrize("state", ["waiting", "running", "absent", "Done", ""])
def test_a_cell_ends_in_three_states_only(tmp_path, state):
    ledger = made(tmp_path)
    with pytest.raises(UsageError, match="state"):
        ledger.finish(ledger.claim(me()), state)
    with pytest.raises(UsageError, match="state"):
        Ledger.rebuild(ledger.path, STUDY, grid(3), {"run000": (state, {})})
    if state not in ("waiting", "running"):
        with pytest.raises(UsageError, match="state"):
            ledger.cells(state)
    assert states(ledger) == ["running", "waiting", "waiting"]


def test_retry(tmp_path):
    ledger = made(tmp_path)
    for state in ("failed", "diverged", "done"):
        ledger.finish(ledger.claim(me()), state, {"a": 1}, "why")
    for run in ("run002", "none"):
        with pytest.raises(UsageError, match=run):
            ledger.retry(run)
    for run in ("run000", "run001"):
        ledger.retry(run)
    assert states(ledger) == ["waiting", "waiting", "done"]
    again = ledger.claim(me())
    cell = next(ledger.cells())
    assert (again.run, again.attempt, cell.result, cell.reason) == ("run000", 2, None, None)


@pytest.mark.parametrize("owner", [GONE, REUSED], ids=["gone", "reused"])
def test_the_cell_of_a_dead_process_is_taken_and_its_result_refused(tmp_path, owner):
    first, second = made(tmp_path, 1), Ledger(tmp_path / "ledger.db")
    old = first.claim(owner)
    new = second.claim(me())
    assert (new.run, new.attempt, new.token) == (old.run, 2, 2)
    for deed in (first.beat, first.release, lambda claim: first.finish(claim, "done", {"by": 1})):
        with pytest.raises(Lost):
            deed(old)
    second.finish(new, "done", {"by": 2})
    for claim in (old, new, replace(new, owner="x"), replace(new, run="none")):
        with pytest.raises(Lost):
            first.finish(claim, "failed")
    assert next(first.cells()).result == {"by": 2}
    assert first.claim(me()) is None


def test_what_was_given_back_is_no_longer_mine(tmp_path):
    ledger = made(tmp_path, 1)
    claim = ledger.claim(me())
    ledger.release(claim)
    with pytest.raises(Lost):
        ledger.finish(claim, "done")
    ledger.claim(me())
    with pytest.raises(Lost):
        ledger.finish(claim, "done")
    assert states(ledger) == ["running"]


def test_a_process_of_another_machine_is_judged_by_its_beats(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("howfar.study.ledger.time", SimpleNamespace(monotonic=lambda: now[0]))
    jumps = iter([86_400.0, -86_400.0, 0.0] * 1000)
    monkeypatch.setattr(time, "time", lambda: 1e9 + next(jumps))
    ledger = made(tmp_path, 1, lease=60)
    far = ledger.claim(ELSEWHERE)
    for _ in range(5):  # it beats, seldom
        for step in (0, 59.9):
            now[0] += step
            assert ledger.claim(me()) is None
        ledger.beat(far)
    assert Ledger(ledger.path, lease=0.001).claim(me()) is None  # seen once is not still
    assert ledger.claim(me()) is None
    now[0] += 60
    taken = ledger.claim(ELSEWHERE)
    assert taken.attempt == 2
    with pytest.raises(Lost):
        ledger.beat(far)
    assert ledger.claim(me()) is None  # the new owner starts anew
    now[0] += 59.9
    assert ledger.claim(me()) is None


def test_a_living_process_of_this_machine_is_never_dead(tmp_path, child):
    ledger = made(tmp_path, 1, lease=0.01, steal_stopped=True)
    holder = child(ledger.path, "hold")
    assert holder.stdout.readline() == "run000 1\n"
    patient = Ledger(ledger.path, lease=0.01)
    for _ in range(5):
        assert ledger.claim(me()) is None
        time.sleep(0.02)
    holder.send_signal(signal.SIGSTOP)
    for _ in range(5):
        assert patient.claim(me()) is None
        time.sleep(0.02)
    holder.send_signal(signal.SIGCONT)
    assert holder.communicate("\n")[0] == "kept\nkept\n"
    assert next(ledger.cells()).result == {"by": "old"}


def until_claimed(ledger, seconds=20.0):
    patience = time.monotonic() + seconds
    while time.monotonic() < patience:
        if claim := ledger.claim(me()):
            return claim
        time.sleep(0.02)
    raise AssertionError("nothing to claim")


def test_a_stopped_process_loses_its_cell(tmp_path, child):
    ledger = made(tmp_path, 1, lease=0.5, steal_stopped=True)
    holder = child(ledger.path, "hold")
    assert holder.stdout.readline() == "run000 1\n"
    holder.send_signal(signal.SIGSTOP)
    start = time.monotonic()
    claim = until_claimed(ledger)
    assert time.monotonic() - start >= 0.5
    ledger.finish(claim, "done", {"by": "new"})
    holder.send_signal(signal.SIGCONT)
    assert holder.communicate("\n")[0] == "lost\nlost\n"
    assert next(ledger.cells()).result == {"by": "new"}


def test_a_killed_process_loses_its_cell_at_once(tmp_path, child):
    ledger = made(tmp_path, 1)
    holder = child(ledger.path, "hold")
    assert holder.stdout.readline() == "run000 1\n"
    holder.kill()
    assert until_claimed(ledger).attempt == 2  # dead, though nobody has waited for it yet


def test_killed_in_the_middle_of_a_claim(tmp_path, child):
    ledger, draw = made(tmp_path, 1), random.Random(7)
    for _ in range(6):
        busy = child(ledger.path, "churn")
        assert busy.stdout.readline() == "ready\n"
        time.sleep(draw.uniform(0.01, 0.1))
        busy.kill()
        ledger.release(until_claimed(ledger))
        ledger.check()
    assert ledger.claim(me()).attempt > 6


@pytest.mark.parametrize("repeat", range(REPEATS))
def test_four_workers_do_each_cell_once(tmp_path, child, repeat):
    ledger = made(tmp_path, 24)
    workers = [child(ledger.path, "work") for _ in range(4)]
    assert [one.stdout.readline() for one in workers] == ["ready\n"] * 4
    for one in workers:
        one.stdin.write("\n")
        one.stdin.flush()
    said = {one.pid: one.communicate(timeout=60) for one in workers}
    assert [(said[one.pid][1], one.returncode) for one in workers] == [("", 0)] * 4
    did = sorted((run, pid) for pid, (out, _) in said.items() for run in out.split())
    assert [run for run, _ in did] == [run for run, _ in grid(24)]
    assert len({pid for _, pid in did}) > 1
    assert [(cell.run, cell.result["pid"]) for cell in ledger.cells("done")] == did
    cells = list(ledger.cells())
    assert [cell.attempt for cell in cells] == [1] * 24
    assert sorted(cell.token for cell in cells) == list(range(1, 25))


def test_a_held_lock_is_said(tmp_path):
    ledger = made(tmp_path, busy=0.1)
    claim = ledger.claim(me())
    holder = sqlite3.connect(ledger.path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    deeds = (
        ledger.counts, ledger.cells, ledger.check, lambda: ledger.claim(me()),
        lambda: ledger.beat(claim), lambda: ledger.finish(claim, "done"),
        lambda: Ledger.create(ledger.path, STUDY, grid(9), busy=0.1),
    )  # fmt: skip
    for deed in deeds:
        with pytest.raises(EnvironmentFault, match="locked by another") as caught:
            deed()
        assert (caught.value.code, str(ledger.path) in caught.value.message) == ("E-LOCKED", True)
        assert caught.value.hint
    holder.execute("ROLLBACK")
    holder.close()
    ledger.finish(claim, "done")


def lived(folder):
    """A ledger with cells in all states, and its rows."""
    ledger = made(folder, 14)
    for n, state in enumerate(("done", "failed", "diverged") * 3):
        ledger.finish(ledger.claim(me()), state, {"score": n / 3}, f"because {n}")
    ledger.claim(ELSEWHERE)
    return ledger


def verdict(folder, data, rows):
    """Whether a changed ledger is noticed; if not, its rows must be as they were."""
    folder.mkdir()
    path = folder / "ledger.db"
    path.write_bytes(data)
    try:
        with Ledger(path, busy=0.1) as ledger:
            found = list(ledger.cells())
            counts = ledger.counts()
        claim = ledger.claim(me())
        ledger.finish(claim, "done")
    except StoreError as error:
        return error.code in ("E-STORE", "E-VERSION") and bool(error.hint)
    assert found == rows
    assert counts == counted(waiting=4, running=1, done=3, failed=3, diverged=3)
    assert claim.run == "run010"
    return False


def test_changed_bytes_are_noticed_or_harmless(tmp_path):
    ledger = lived(tmp_path)
    data, rows, draw = ledger.path.read_bytes(), list(ledger.cells()), random.Random(3)
    assert not verdict(tmp_path / "same", data, rows)
    used = [place for place in range(100, len(data)) if data[place]]
    places = [*range(0, 100, 3), *draw.sample(used, 150), *draw.sample(range(len(data)), 40)]
    noticed = 0
    for number, place in enumerate(places):
        other = data[place] ^ (255 if number % 2 else 1 << draw.randrange(8))
        changed = data[:place] + bytes([other]) + data[place + 1 :]
        noticed += verdict(tmp_path / f"{number}", changed, rows)
    assert noticed > 150


def test_a_cut_ledger_is_noticed(tmp_path):
    ledger = lived(tmp_path)
    data, rows, draw = ledger.path.read_bytes(), list(ledger.cells()), random.Random(4)
    for size in (0, 1, 7, 8, 9, 100, 4096, *draw.sample(range(len(data)), 30)):
        assert verdict(tmp_path / f"{size}", data[:size], rows)


def half_done(path):
    """The journal of a process that died while it wrote to the ledger."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA cache_size = 1")
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE cells SET reason = hex(randomblob(5000))")
    journal = path.with_name("ledger.db-journal").read_bytes()
    db.execute("ROLLBACK")
    db.close()
    return journal


@pytest.mark.parametrize("what", [b"", b"no ledger at all", None])
def test_rebuild(tmp_path, what):
    ledger = lived(tmp_path)
    before, data = list(ledger.cells()), ledger.path.read_bytes()
    journal = half_done(ledger.path)
    ledger.path.write_bytes(data[:5000] if what is None else what)
    with pytest.raises(StoreError, match="cannot be used") as caught:
        ledger.check()
    assert f"howfar study repair {tmp_path}" in caught.value.hint
    (tmp_path / "ledger.db-journal").write_bytes(journal)
    results = {c.run: (c.state, c.result) for c in before if c.result}
    with Ledger.rebuild(ledger.path, STUDY, grid(14), results) as rebuilt:
        after = list(rebuilt.cells())
    kept = [(c.run, c.order, c.settings, c.result) for c in before]
    assert [(c.run, c.order, c.settings, c.result) for c in after] == kept
    assert [c.state for c in after] == [c.state if c.result else "waiting" for c in before]
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.db"]
    Ledger.create(ledger.path, STUDY, grid(14))
    with pytest.raises(UsageError, match="stray"):
        Ledger.rebuild(ledger.path, STUDY, grid(14), {"stray": ("done", {})})


def test_a_worker_from_before_the_rebuild_is_lost(tmp_path):
    ledger = made(tmp_path, 1)
    old = ledger.claim("a/1/1 1 1")
    Ledger.rebuild(ledger.path, STUDY, grid(1), {})
    assert ledger.claim(me()).token == old.token
    with pytest.raises(Lost):
        ledger.finish(old, "done")


def test_lost_files(tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    ledger = made(folder)
    (folder / "ledger.db-journal").touch()
    ledger.path.unlink()
    with pytest.raises(StoreError, match="missing"):
        ledger.counts()
    with pytest.raises(StoreError, match="journal"):
        Ledger.create(ledger.path, STUDY, grid(3))
    ledger.path.mkdir()
    with pytest.raises(StoreError, match="no file"):
        ledger.counts()
    folder.rename(tmp_path / "moved")
    with pytest.raises(EnvironmentFault, match="folder is gone"):
        ledger.claim(me())
    assert not folder.exists()


def test_a_newer_version_and_another_database(tmp_path):
    ledger = made(tmp_path)
    with sqlite3.connect(ledger.path) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(StoreError, match="version 9") as caught:
        ledger.counts()
    assert caught.value.code == "E-VERSION"
    with sqlite3.connect(tmp_path / "other") as db:
        db.execute("CREATE TABLE cells (x)")
    db.close()
    with pytest.raises(StoreError, match="cannot be used"):
        Ledger(tmp_path / "other").check()


def test_no_room(tmp_path, monkeypatch):
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    broken = sqlite3.OperationalError("disk I/O error")
    broken.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    ledger = made(tmp_path)

    def failing(error):
        def work(*_):
            raise error

        return work

    for error, code in ((full, "E-DISK"), (broken, "E-WRITE")):
        monkeypatch.setattr("howfar.study.ledger.Head.read", failing(error))
        with pytest.raises(EnvironmentFault, match=r"ledger\.db") as caught:
            ledger.claim(me())
        assert caught.value.code == code
    monkeypatch.undo()
    assert states(ledger) == ["waiting"] * 3


def test_a_file_system_without_links(tmp_path, monkeypatch):
    def absent(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", absent)
    with made(tmp_path) as ledger:
        assert len(list(ledger.cells())) == 3


def test_strange_names_of_folders(tmp_path):
    for name in ("a b?c#d%41", "é\u2028", "file:x?mode=memory", os.fsdecode(b"\xff")):
        (tmp_path / name).mkdir()
        assert made(tmp_path / name).claim(me()).run == "run000"


def test_owners():
    assert owners.condition(me()) == "alive"
    assert owners.condition(GONE) == "gone"
    assert owners.condition(REUSED) == "gone"
    for text in (ELSEWHERE, "", "x", f"{me()} 1", me().replace(" ", "  ")):
        assert owners.condition(text) == "elsewhere"


def test_lost_is_said_plainly():
    assert issubclass(Lost, HowfarError)
