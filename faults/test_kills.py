"""A run that is killed at any moment goes on and ends in the same bits.

Idea     `howfar train --resume` in a process of its own, killed by SIGKILL at places drawn from a
         seed: before a step, before an evaluation, and between any two calls that save. Each
         family is killed ten times in one run; then it may finish, and is compared with a run that
         nobody disturbed: weights, every validation, tokens and steps
Prints   the seed and every kill
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys

import pytest

SEED = 20261123
KILLS = 10
FAMILIES = ("textcnn", "lstm", "gru", "transformer", "mamba")
SAVING = (
    *("save:start", "save:after_write", "save:after_fsync", "save:after_folder_fsync"),
    *("save:after_rename", "save:after_parent_fsync"),
    *("file:after_write", "file:after_fsync", "file:after_rename"),
    *("checkpoint:saved", "checkpoint:recorded", "checkpoint:pruned"),
)
WORDS = ["red", "green", "blue", "dog", "cat", "fish", "runs", "eats", "sleeps", "big", "small"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    draws = random.Random(SEED)
    path = tmp_path_factory.mktemp("data") / "rows.csv"
    rows = ["text,label"]
    for _ in range(300):
        words = draws.choices(WORDS, k=draws.randint(3, 12))
        rows.append(f"{' '.join(words)},{'yes' if 'dog' in words else 'no'}")
    path.write_text("\n".join(rows) + "\n")
    return path


def train(data, out, family, fault=None):
    """The exit code of one process."""
    line = [
        *(sys.executable, "-m", "howfar", "train", str(data), "--out", str(out)),
        *("--family", family, "--width", "16", "--embedding", "8", "--seed", "3"),
        *("--budget", "70 steps", "--batch", "8", "--evaluations", "9", "--no-baselines"),
        *("--checkpoint-every", "3", "--resume"),
    ]
    env = os.environ | {"HOWFAR_TESTING": "1", "OMP_NUM_THREADS": "1"}
    if fault:
        env["HOWFAR_FAULT"] = fault
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=120)
    if done.returncode not in (0, -signal.SIGKILL):
        pytest.fail(f"{fault}: exit {done.returncode}\n{done.stderr[-2000:]}")
    assert "Traceback" not in done.stderr
    return done.returncode


def fingerprint(out):
    """What must be equal: weights, and all that was measured but the seconds."""
    weights = hashlib.sha256((out / "weights.safetensors").read_bytes()).hexdigest()
    record = json.loads((out / "training.json").read_text())
    points = [{k: v for k, v in p.items() if k != "seconds"} for p in record["points"]]
    return weights, points, record["steps"], record["tokens"], record["flops"]


def reached(out):
    """The step of the newest checkpoint."""
    path = out / "checkpoints"
    found = sorted(path.glob("ckpt-*/MANIFEST.json")) if path.is_dir() else []
    return int(found[-1].parent.name[5:]) if found else 0


def a_fault(draws):
    """A place, and how often it is reached before the kill."""
    kind = draws.choice(("step", "step", "evaluate", "save"))
    if kind == "step":
        return f"kill@step:{draws.randint(1, 9)}"
    if kind == "evaluate":
        return "kill@evaluate:1"
    place = draws.choice(SAVING)
    return f"kill@{place}:{draws.randint(1, 2)}"


@pytest.mark.parametrize("family", FAMILIES)
def test_killed_ten_times_it_ends_in_the_same_bits(data, tmp_path, family):
    train(data, tmp_path / "whole", family)
    want = fingerprint(tmp_path / "whole")
    draws, out, kills, before = random.Random(f"{SEED} {family}"), tmp_path / "cut", 0, 0
    while kills < KILLS:
        fault = a_fault(draws)
        code = train(data, out, family, fault)
        print(f"seed {SEED} {family}: {fault} -> exit {code}")
        if code == 0:
            break
        kills += 1
        now = reached(out)
        assert now >= before - 3, "lost more than the steps since the last checkpoint"
        before = max(now, before)
    assert train(data, out, family) == 0
    assert kills == KILLS, f"the run ended after {kills} kills"
    assert fingerprint(out) == want
    assert not list(tmp_path.glob(".*")), "something was left behind"
