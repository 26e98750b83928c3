import functools
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from howfar.core.errors import UsageError
from howfar.cost.clock import measure_cost
from howfar.cost.passes import Job, read_point
from howfar.cost.server import Server, Unmeasured

MIB = 2**20
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs fork and address-space limits")


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import cost_modules

    return cost_modules


def known(modules, name):
    return functools.partial(modules.Known, getattr(modules, name))


def measure(build, *, lengths=(4,), **settings):
    return measure_cost(build, vocabulary=8, lengths=lengths, seconds_per_point=0.05, **settings)


@pytest.mark.parametrize("name", ["one_block", "many_pieces"])
def test_64_mib_held_for_a_moment_are_seen(modules, name):
    cost = measure(known(modules, name))
    (point,) = cost.points
    assert cost.notes == ()
    assert point.forward_peak_bytes == pytest.approx(64 * MIB, rel=0.05)
    assert point.peak_bytes == pytest.approx(64 * MIB, rel=0.05)


def test_what_training_keeps_is_seen(modules):
    # L x L floats: forward holds them once; training once more, for the square in the loss,
    # and its gradient: L = 2048 gives 16 MiB each.
    (point,) = measure(modules.Square, lengths=(2048,)).points
    assert point.forward_peak_bytes == pytest.approx(16 * MIB, rel=0.05)
    assert point.peak_bytes >= 2 * 16 * MIB * 0.95


def test_seconds_are_cpu_seconds_a_token_and_flops_are_passed_on(modules):
    cost = measure(
        known(modules, "burn"), lengths=(1024, 256, 256), flops=lambda length: 10 * length
    )
    assert [p.length for p in cost.points] == [256, 1024]
    for point in cost.points:
        assert point.forward_us_per_token == pytest.approx(20, rel=0.2)
        assert point.train_us_per_token == pytest.approx(20, rel=0.2)
        assert point.flops_per_token == 10.0


def test_lengths_stop_where_the_next_takes_too_long(modules):
    # 8 -> 1.3 ms, 16 -> 5 ms, 32 -> 20 ms, then 64 -> 82 ms a pass: 0.33 s for four passes.
    cost = measure(known(modules, "burn_square"), lengths=(8, 16, 32, 64, 128), max_seconds=0.2)
    assert [p.length for p in cost.points] == [8, 16, 32]
    (note,) = cost.notes
    assert "length 64, 128 was not measured" in note
    assert "more than 0.2 s" in note


def test_lengths_stop_where_the_next_needs_too_much_memory(modules):
    cost = measure(known(modules, "mebibyte_a_token"), lengths=(8, 16, 32, 64), max_bytes=40 * MIB)
    assert [p.length for p in cost.points] == [8, 16, 32]
    assert "64 MiB, more than 40 MiB" in cost.notes[0]


@linux
def test_an_unforeseen_need_of_memory_costs_one_point_only(modules):
    cost = measure(known(modules, "sudden_gibibyte"), lengths=(4, 8), max_bytes=64 * MIB)
    assert [p.length for p in cost.points] == [4]
    assert cost.notes == ("Cost at length 8 was not measured: it needs more memory than 64 MiB.",)


@linux
def test_a_dead_process_costs_one_point_only(modules):
    cost = measure(known(modules, "die"), lengths=(4, 8))
    assert [p.length for p in cost.points] == [4]
    assert "ended with status -6" in cost.notes[0]


def test_a_process_that_hangs_is_ended(modules):
    job = Job(length=8, vocabulary=8, threads=1, seconds=0.01, max_bytes=MIB, seed=0)
    with Server(known(modules, "hang")) as server:
        process = server._process
        with pytest.raises(Unmeasured, match="no answer within"):
            server.ask(job, deadline=0.5)
    assert process.poll() is not None


def test_what_a_model_prints_disturbs_nothing(modules, capfd):
    assert len(measure(known(modules, "chatter"), lengths=(4, 8)).points) == 2
    assert capfd.readouterr().out == ""


def test_a_factory_that_fails_is_a_note(modules):
    cost = measure(modules.broken_build)
    assert cost.points == ()
    assert cost.notes == ("Cost was not measured: ValueError: no such family.",)


def test_a_factory_that_cannot_travel_is_timed_here(modules):
    threads = torch.get_num_threads()
    cost = measure(lambda: modules.Known(modules.burn), lengths=(64, 256), threads=threads + 1)
    assert torch.get_num_threads() == threads
    assert [p.peak_bytes for p in cost.points] == [None, None]
    # More than one thread: wall seconds, so the sleep counts.
    assert cost.points[1].forward_us_per_token > 35
    assert "Peak memory was not measured" in cost.notes[0]


@pytest.mark.parametrize("way", ["script", "stdin"])
def test_a_script_without_a_guard_is_not_run_again(way, tmp_path):
    code = textwrap.dedent(
        """
        import functools, sys
        sys.path.insert(0, FOLDER)
        import cost_modules
        from torch import nn
        from howfar.cost.clock import measure_cost
        print("main")
        class Mine(nn.Module):
            def __init__(self):
                super().__init__()
                self.table = nn.Embedding(8, 8)
            def forward(self, tokens_BL, lengths_B):
                return self.table(tokens_BL)
        def report(build):
            cost = measure_cost(build, vocabulary=8, lengths=(4, 8), seconds_per_point=0.01)
            print([(p.length, p.peak_bytes is not None) for p in cost.points], len(cost.notes))
        report(Mine)
        report(functools.partial(cost_modules.Known, cost_modules.one_block))
        """
    ).replace("FOLDER", repr(str(Path(__file__).parent)))
    script = tmp_path / "script.py"
    script.write_text(code, encoding="utf-8")
    arguments = [str(script)] if way == "script" else ["-"]
    done = subprocess.run(
        [sys.executable, *arguments],
        input=code if way == "stdin" else "",
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
    )
    assert done.stdout.splitlines() == [
        "main",  # once
        "[(4, False), (8, False)] 1",  # a class of the main module cannot be built elsewhere
        "[(4, True), (8, True)] 0",
    ]
    assert done.stderr == ""


@pytest.mark.parametrize(
    "wrong",
    [{"lengths": ()}, {"lengths": (0, 4)}, {"threads": 0}, {"max_seconds": 0}, {"max_bytes": -1}],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(UsageError):
        measure_cost(nn.Identity, vocabulary=8, **wrong)
    with pytest.raises(UsageError):
        measure_cost(nn.Identity, vocabulary=0)


def test_the_first_pass_of_each_kind_is_not_timed(modules):
    calls = []

    def slow_at_first(length):
        end = time.perf_counter() + (0.05 if len(calls) in (0, 2) else 0.0)
        calls.append(length)
        while time.perf_counter() < end:
            pass

    threads = torch.get_num_threads()
    job = Job(length=8, vocabulary=8, threads=threads, seconds=0, max_bytes=MIB, seed=0)
    reading = read_point(modules.Known(slow_at_first), job)
    assert len(calls) == 4
    assert reading.forward_seconds < 0.04
    assert reading.train_seconds < 0.04
