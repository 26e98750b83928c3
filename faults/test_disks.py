"""A disk that is too small, and one that is made read-only."""

import subprocess
import sys

import pytest
from faults.traced import ROOT


@pytest.mark.parametrize("megabytes", [1, 2, 4, 8])
def test_a_small_disk(tmp_path, megabytes):
    program = [sys.executable, "-m", "faults.small_disk", str(tmp_path), str(megabytes)]
    command = ["unshare", "-Urm", *program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
