"""The kernel fails or kills at every n-th call: what was saved is there, old or new."""

import re
import shutil
import signal

import pytest
from faults.traced import CALLS, spoiled, traced
from tests.core.faulty import content, files
from tests.train.runs import run

from howfar.core import store

STEPS = 4  # a checkpoint at 3, one at 4, and the one at 4 replaced
WHATS = ("error=EIO", "error=ENOSPC", "signal=SIGKILL")


def old(path):
    store.write_folder(path, files("old"), about={"mark": "old"})


@pytest.mark.parametrize("what", WHATS)
@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize("before", [False, True], ids=["new", "replaced"])
def test_every_call_of_a_save(tmp_path, kind, what, before):
    for at in range(1, 200):
        parent = tmp_path / str(at)
        parent.mkdir()
        path = parent / "m"
        if before:
            old(path)
        log = tmp_path / "log"
        done = traced(["-m", "faults.saving", path, "new"], log, inject=f"{kind}:{what}:when={at}")
        killed = done.returncode == -signal.SIGKILL
        if not killed and not spoiled(log):
            assert done.returncode == 0, done.stderr
            assert content(store.verify(path)) == "new"
            assert at > 1 or (kind == "unlink" and not before)
            return
        assert killed or done.returncode in (0, 4), done.stderr
        if done.returncode == 4:
            assert str(path) in done.stderr
            assert "Traceback" not in done.stderr
        if done.returncode == 0:
            assert content(store.verify(path)) == "new"
        elif before or path.exists():
            assert content(store.verify(path)) in ("old", "new")
        store.sweep(parent)
        assert {p.name for p in parent.iterdir()} <= {"m"}
        shutil.rmtree(parent)
    pytest.fail("no end of calls")


@pytest.mark.timeout(3_000)
@pytest.mark.parametrize("what", ["error=ENOSPC", "signal=SIGKILL"])
@pytest.mark.parametrize("kind", ["fsync", "rename", "write"])
def test_calls_of_a_run(tmp_path, kind, what):
    straight = run(tmp_path / "straight", STEPS)
    spoilt = 0
    for at in range(1, 400, 1 if kind == "rename" else 3):
        folder, log = tmp_path / str(at), tmp_path / "log"
        arguments = ["-m", "tests.train.runs", folder, STEPS]
        done = traced(arguments, log, inject=f"{kind}:{what}:when={at}")
        assert run(folder, STEPS) == straight, (kind, what, at)
        if done.returncode == 0 and not spoiled(log):
            break
        spoilt += 1
        shutil.rmtree(folder)
    assert spoilt > 5


def test_the_order_of_the_calls(tmp_path):
    """write < fsync of each file < fsync of the folder < rename < fsync of the parent."""
    log = tmp_path / "log"
    (tmp_path / "p").mkdir()
    path = tmp_path / "p" / "m"
    traced(["-m", "faults.saving", path, "new"], log, trace=("write", "fsync", "rename"))
    found = []
    for line in log.read_text().splitlines():
        match = re.search(
            r"(write|fsync|rename\w*)\((?:\d+<|(?:AT_FDCWD<[^>]*>, )?\")([^>\"]*)", line
        )
        if match and str(path.parent) in match[2]:
            found.append((match[1], match[2].removeprefix(str(path.parent)).split("/")[1:]))
    at = {}
    for number, (call, parts) in enumerate(found):
        at[call, parts[-1] if parts else "parent"] = number
    (rename,) = [number for (call, _), number in at.items() if call.startswith("rename")]
    written = ("a.bin", "b.bin", store.MANIFEST)
    folder = next(
        number for (call, name), number in at.items() if call == "fsync" and ".tmp-" in name
    )
    for name in written:
        assert at["write", name] < at["fsync", name] < folder
    assert max(at["fsync", name] for name in written[:2]) < at["write", store.MANIFEST]
    assert folder < rename < at["fsync", "parent"]
