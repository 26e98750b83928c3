"""Kill a training run at every place in turn and let it go on: `python -m faults.forked FOLDER`.

A process that has imported torch forks a child for each attempt, which saves the seconds of
importing it anew. Prints the number of kills.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

from tests.core.faulty import Watched, kill, watch
from tests.train.runs import Tiny, run

from howfar.core.failpoints import FAILPOINTS

STEPS = 7


def attempt(folder, fault="", at=None):
    """The digest at the end of a run in a child, or None where it was killed."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        os.environ.update(HOWFAR_TESTING="1", HOWFAR_FAULT=fault)
        if at is not None:
            watch(Watched(at, kill))
        os.write(into, run(folder, STEPS).encode())
        os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as file:
        digest = file.read().decode()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return None
    assert os.waitstatus_to_exitcode(status) == 0
    return digest


def sweep(parent, straight, spoil):
    """Kill at the first, second, ... place until a run is not killed; returns the kills."""
    at = 0
    while True:
        at += 1
        folder = parent / "run"
        shutil.rmtree(folder, ignore_errors=True)
        digest = attempt(folder, **spoil(at))
        if digest is not None:
            assert digest == straight
            return at - 1
        assert attempt(folder) == straight, (spoil(at), "went on to other weights")
        left = [path.name for path in folder.iterdir() if path.name.startswith(".")]
        assert not left, left


def main(parent):
    """All failpoints, then all calls on the disk, then kills in a row."""
    Tiny().advance()  # what torch imports on first use, once for all children
    straight = attempt(parent / "straight")
    kills = {}
    for name in FAILPOINTS:
        kills[name] = sweep(parent, straight, lambda at, name=name: {"fault": f"kill@{name}:{at}"})
        assert kills[name], name
    kills["calls"] = sweep(parent, straight, lambda at: {"at": at})
    folder, at, kills["in a row"] = parent / "again", 30, 0
    while (digest := attempt(folder, at=at)) is None:
        at, kills["in a row"] = at + 7, kills["in a row"] + 1
    assert digest == straight
    return kills


if __name__ == "__main__":
    os.fsync = lambda descriptor: None  # a killed process loses nothing that it wrote
    found = main(Path(sys.argv[1]))
    sys.stdout.write(f"{sum(found.values())} {found}\n")
