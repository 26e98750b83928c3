"""Failpoints: nothing without the switch, the n-th time with it, and every name in use."""

import errno
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from howfar.core import failpoints, store
from howfar.core.errors import UsageError
from howfar.core.failpoints import FAILPOINTS, reached

SOURCE = Path(failpoints.__file__).parents[1]


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.setenv("HOWFAR_TESTING", "1")
    monkeypatch.delenv("HOWFAR_FAULT", raising=False)
    failpoints.forget()
    yield
    failpoints.forget()


def reaching(name, times):
    """How often `name` was passed before it raised."""
    for number in range(times):
        try:
            reached(name)
        except OSError as error:
            return number if error.errno == errno.ENOSPC else -1
    return times


@pytest.mark.parametrize(
    ("fault", "passed"), [("raise@step", 0), ("raise@step:1", 0), ("raise@step:3", 2)]
)
def test_the_nth_time(monkeypatch, fault, passed):
    monkeypatch.setenv("HOWFAR_FAULT", fault)
    reached("evaluate")
    assert reaching("step", 9) == passed
    assert reaching("step", 9) == 9  # once only


def test_a_name_with_a_colon(monkeypatch):
    monkeypatch.setenv("HOWFAR_FAULT", "raise@save:after_fsync:2")
    assert reaching("save:after_fsync", 5) == 1
    assert reaching("save:after_write", 5) == 5


def test_another_fault_counts_anew(monkeypatch):
    monkeypatch.setenv("HOWFAR_FAULT", "raise@step:3")
    reached("step")
    monkeypatch.setenv("HOWFAR_FAULT", "raise@step:2")
    assert reaching("step", 5) == 1


@pytest.mark.parametrize("value", [None, "0", "yes"])
def test_nothing_without_the_switch(monkeypatch, value):
    monkeypatch.setenv("HOWFAR_FAULT", "raise@step")
    if value is None:
        monkeypatch.delenv("HOWFAR_TESTING")
    else:
        monkeypatch.setenv("HOWFAR_TESTING", value)
    assert reaching("step", 3) == 3
    assert failpoints.hit() == set()


def test_nothing_without_a_fault():
    assert reaching("step", 3) == 3
    assert failpoints.hit() == {"step"}


def test_sleep(monkeypatch):
    monkeypatch.setenv("HOWFAR_FAULT", "sleep@step:0.05")
    start = time.monotonic()
    reached("step")
    reached("step")
    assert time.monotonic() - start >= 0.1


@pytest.mark.parametrize("fault", ["kill", "raise@", "raise@nowhere", "bang@step", "raise@step:x"])
def test_a_fault_that_cannot_be_read(monkeypatch, fault):
    monkeypatch.setenv("HOWFAR_FAULT", fault)
    with pytest.raises(UsageError, match="HOWFAR_FAULT"):
        reached("step")


def test_an_unknown_place():
    with pytest.raises(KeyError, match="table"):
        reached("nowhere")


def test_kill():
    code = """
from howfar.core.failpoints import reached
for n in range(9):
    print(n, flush=True)
    reached("step")
"""
    environment = {"HOWFAR_TESTING": "1", "HOWFAR_FAULT": "kill@step:3"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == ["0", "1", "2"]


def test_every_name_is_used_and_every_use_is_named():
    """Names are literals, or a prefix that `write_new` completes."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        found |= set(re.findall(r'reached\("([a-z_:]+)"\)', path.read_text("utf-8")))
    parts = {
        f"{prefix}:{rest}" for prefix in ("save", "file") for rest in ("after_write", "after_fsync")
    }
    assert found | parts >= set(FAILPOINTS) - {"step", "evaluate"}
    assert found <= set(FAILPOINTS)


def test_a_save_passes_all_its_places(tmp_path):
    for mark in (b"1", b"2"):
        store.write_folder(tmp_path / "m", {"x": mark}, replace=True)
    store.write_file(tmp_path / "r", b"")
    expected = {name for name in FAILPOINTS if name.startswith(("save:", "file:"))}
    assert failpoints.hit() == expected
