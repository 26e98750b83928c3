"""Train on a disk of a few megabytes: `python -m faults.small_disk FOLDER MEGABYTES`, as its root.

The checkpoints outgrow the disk; then room is made, the run goes on, and the disk is made
read-only.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

import torch

from howfar.core import store
from howfar.core.errors import EnvironmentFault
from howfar.train.checkpoint import Checkpoints, RunState

IDENTITY = {"family": "tiny"}


def state(step, numbers):
    """A checkpoint of so many numbers, and as many again in the optimiser."""
    weights = {"w": torch.full((numbers,), float(step))}
    return RunState(step, weights, {}, {"m": torch.zeros(numbers)}, {}, {})


def digests(folder):
    """SHA-256 of every file that is there."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refused(act, code):
    """The message of an EnvironmentFault with this code."""
    try:
        act()
    except EnvironmentFault as error:
        found, message = (error.code, error.exit_code), error.message
    else:
        found, message = (None, 0), ""
    assert found == (code, 4), (found, message)
    return message


def main(parent, megabytes):
    """Fill it, look, make room, go on, make it read-only."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(parent)]
    subprocess.run(mount, check=True)
    ballast, folder = parent / "ballast", parent / "run"
    ballast.write_bytes(b"x" * (megabytes * 500_000))
    numbers = megabytes * 40_000  # 320 kB of each megabyte
    checkpoints = Checkpoints(folder, IDENTITY)
    checkpoints.save(state(1, numbers))
    before = digests(folder)
    message = refused(lambda: checkpoints.save(state(2, numbers)), "E-DISK")
    assert f"{folder / 'ckpt-000000002'}" in message, message
    assert "needed " in message, message
    assert digests(folder) == before
    assert not list(parent.rglob(".*"))
    assert Checkpoints(folder, IDENTITY).newest().step == 1
    refused(lambda: store.check_writable(parent / "other", megabytes << 20), "E-DISK")
    hidden = [b"y" * 50_000] * 20 * megabytes

    def unforeseen(file):
        file.writelines(hidden)

    refused(lambda: store.write_folder(parent / "large", {"x": unforeseen}), "E-DISK")
    assert sorted(path.name for path in parent.iterdir()) == ["ballast", "other", "run"]
    ballast.unlink()
    checkpoints.save(state(2, numbers))
    assert Checkpoints(folder, IDENTITY).newest().step == 2
    subprocess.run(["mount", "-o", "remount,ro", str(parent)], check=True)
    refused(lambda: checkpoints.save(state(3, 1)), "E-PERMISSION")
    refused(lambda: Checkpoints(folder, IDENTITY), "E-PERMISSION")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
