"""A signal in the first moments: one line and the right code, whatever was being imported."""

import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from tests.cli.conftest import reviews, write_csv

from howfar.cli.signals import stoppable

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

# An exception in a callback of a weak reference is printed and forgotten.
MODULE = """
import os, signal, weakref

class Kept: pass

def gone(_):
    os.kill(os.getpid(), signal.{name})

kept = Kept()
watched = weakref.ref(kept, gone)
del kept
"""
SCRIPT = """
import sys
from howfar.cli.signals import stoppable

sys.modules.pop("torch", None)
with stoppable({arguments!r}):
    import meets_a_signal
print("went on")
"""


def run(folder, name, arguments=()):
    (folder / "meets_a_signal.py").write_text(MODULE.format(name=name))
    script = textwrap.dedent(SCRIPT.format(arguments=list(arguments)))
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_in_a_callback_of_an_import(name, code, tmp_path):
    ended = run(tmp_path, name)
    assert ended.returncode == code
    assert ended.stderr == "howfar: error[E-STOPPED]: Stopped before there was a result.\n"
    assert ended.stdout == ""
    told = run(tmp_path, name, ["data", "--json"])
    assert told.returncode == code
    assert json.loads(told.stdout)["error"]["code"] == "E-STOPPED"


def test_where_torch_is_there_a_command_may_end_well():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    for number in (signal.SIGTERM, signal.SIGINT):
        with stoppable([]) as terminated, pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert terminated == ([number] if number == signal.SIGTERM else [])
    assert before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))


def test_an_ignored_ctrl_c_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stoppable([]):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads /proc")
@pytest.mark.parametrize("wait", [0.0, 0.1, 0.2, 0.4])
def test_sigterm_while_torch_is_imported(wait, tmp_path):
    write_csv(tmp_path / "reviews.csv", reviews())
    command = ["train", "reviews.csv", "--out", "model", "--budget", "1 minutes"]
    process = subprocess.Popen(
        [sys.executable, "-m", "howfar", *command],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    maps = Path(f"/proc/{process.pid}/maps")
    while "libtorch" not in maps.read_text():
        assert process.poll() is None
        time.sleep(0.005)
    time.sleep(wait)
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143, err
    assert "Traceback" not in err
    assert "terminate called" not in err
    assert err.count("howfar: ") == 1
