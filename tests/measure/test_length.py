"""16,384 tokens a row on a CPU, within 2 GB above the loaded model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "measures.py"
LENGTH, ROWS, SYMBOLS = 16_384, 2, 256


@pytest.mark.slow
@pytest.mark.parametrize("measure", ["swap", "influence"])
@pytest.mark.parametrize("model", ["gru", "transformer", "torch", "plain"])
def test_long_rows_take_little_memory(model, measure):
    command = [sys.executable, BENCH, "--long", model, measure, str(LENGTH), str(ROWS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["bytes"] <= 2e9
    # all outputs of the clean and the changed rows in float64 would take this much four times
    assert found["bytes"] <= 0.6e9
    assert found["window"] >= LENGTH // 2 - 1
