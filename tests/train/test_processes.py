"""Two processes give what one gives, are cut and go on, and go on as one."""

import os
import subprocess
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
NEVER = 10_000
AT = 5


def run(folder, processes, *, stop=NEVER, way="ddp", family="gru", seconds=()):
    """The weights at the end, or None where the run was stopped."""
    folder.mkdir(exist_ok=True)
    many = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    start = [sys.executable, *(many if processes > 1 else [])]
    line = [
        *start,
        str(HERE / "several.py"),
        str(folder),
        str(stop),
        way,
        family,
        *map(str, seconds),
    ]
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


def test_a_budget_of_seconds_is_spent_by_one_clock(tmp_path):
    run(tmp_path / "whole", 2, seconds=[1.2])
    one, other = told = [torch.load(tmp_path / "whole" / f"{rank}.pt") for rank in (0, 1)]
    assert equal(one, other)
    assert one["points"] == other["points"]
    assert [each["how"] for each in told] == ["done", "done"]
    assert [each["steps"] for each in told] == [10, 10]  # of 1/8 s by the first one's clock
    assert [step for step, *_ in one["points"]] == [4, 7, 10]  # after a third of 1.2 s, two and all
    assert run(tmp_path / "cut", 2, stop=AT, seconds=[1.2]) is None
    for rank in (0, 1):  # only the second was asked
        assert torch.load(tmp_path / "cut" / f"{rank}.pt")["how"] == "stopped"
    run(tmp_path / "cut", 2, seconds=[1.2])
    for rank in (0, 1):
        again = torch.load(tmp_path / "cut" / f"{rank}.pt")
        assert equal(again, one)
        assert (again["points"], again["steps"]) == (one["points"], 10)
