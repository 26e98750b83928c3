"""Two processes give what one gives, are cut and go on, and go on as one."""

import os
import subprocess
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
NEVER = 10_000
AT = 5


def run(folder, processes, *, stop=NEVER, way="ddp", family="gru"):
    """The weights at the end, or None where the run was stopped."""
    folder.mkdir(exist_ok=True)
    many = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    start = [sys.executable, *(many if processes > 1 else [])]
    line = [*start, str(HERE / "several.py"), str(folder), str(stop), way, family]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    path = folder / "weights.pt"
    return torch.load(path, weights_only=True) if path.exists() else None


def equal(one, other):
    return all(torch.equal(one["weights"][n], other["weights"][n]) for n in one["weights"])


def test_two_processes_give_the_bits_of_one_and_go_on_as_one(tmp_path):
    alone = run(tmp_path / "one", 1)
    assert equal(run(tmp_path / "two", 2), alone)
    assert run(tmp_path / "cut", 2, stop=AT) is None
    assert equal(run(tmp_path / "cut", 1), alone)
