"""SIGKILL at every failpoint and every call on the disk: a run goes on to the same weights."""

import os
import subprocess
import sys

import pytest
from faults.traced import ROOT


@pytest.mark.timeout(1_500)
def test_killed_everywhere(tmp_path):
    command = [sys.executable, "-m", "faults.forked", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 150
