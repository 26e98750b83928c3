"""Two processes give what one gives, are cut and go on as two and as one, whole or in shares."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TRAIN = Path(__file__).parents[1] / "tests" / "train"
NEVER = 10_000
AT = 5


def run(folder, processes, *, stop=NEVER, way="ddp", family="gru"):
    """The weights at the end, or None where the run was stopped."""
    folder.mkdir(exist_ok=True)
    many = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    start = [sys.executable, *(many if processes > 1 else [])]
    line = [*start, str(TRAIN / "several.py"), str(folder), str(stop), way, family]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TRAIN)}
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    path = folder / "weights.pt"
    return torch.load(path, weights_only=True) if path.exists() else None


def equal(one, other):
    return all(torch.equal(one["weights"][n], other["weights"][n]) for n in one["weights"])


@pytest.mark.parametrize("family", ["gru", "transformer"])
def test_two_processes_are_cut_and_go_on_as_two_and_as_one(tmp_path, family):
    alone = run(tmp_path / "one", 1, family=family)
    both = run(tmp_path / "two", 2, family=family)
    assert equal(alone, both)
    assert alone["curve"] == both["curve"]
    assert alone["tokens"] == both["tokens"]
    assert run(tmp_path / "cut", 2, stop=AT, family=family) is None
    assert equal(run(tmp_path / "cut", 1, family=family), alone)
    assert run(tmp_path / "again", 2, stop=AT, family=family) is None
    assert equal(run(tmp_path / "again", 2, family=family), alone)


def test_shared_parameters_are_cut_and_go_on(tmp_path):
    whole = run(tmp_path / "two", 2, way="fsdp", family="transformer")
    assert run(tmp_path / "cut", 2, stop=AT, way="fsdp", family="transformer") is None
    assert equal(run(tmp_path / "cut", 2, way="fsdp", family="transformer"), whole)
    assert run(tmp_path / "again", 2, stop=AT, way="fsdp", family="transformer") is None
    as_one = run(tmp_path / "again", 1, family="transformer")
    for name, value in whole["weights"].items():
        torch.testing.assert_close(as_one["weights"][name], value, rtol=1e-4, atol=1e-5)
