"""Ctrl-C, SIGTERM, a killed worker, a closed pipe: a report is written, nothing stays behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tests.cli.conftest import QUICK, reviews, write_csv

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
LONG = (*QUICK, "--length", "16", "--families", "textcnn,gru,elman", "--sequences", "8")


class Running:
    """The command in a process group of its own, with its stderr in a file."""

    def __init__(self, folder, *arguments):
        self.errors = folder / "stderr.txt"
        self.output = folder / "stdout.txt"
        with self.errors.open("wb") as errors, self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "howfar", *map(str, arguments)],
                cwd=folder,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        self.known = psutil.Process(self.process.pid)

    def wait_for(self, words, times=1):
        """Wait until stderr holds these words, and return all processes of the command then."""
        until = time.monotonic() + 60
        while self.errors.read_text().count(words) < times:
            assert self.process.poll() is None, self.errors.read_text()
            assert time.monotonic() < until, self.errors.read_text()
            time.sleep(0.05)
        return [self.known, *self.known.children(recursive=True)]

    def ended(self, family, within=10):
        """Wait for the end; every process of `family` must be gone soon after."""
        code = self.process.wait(within)
        _, alive = psutil.wait_procs(family, timeout=5)
        left = [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
        for process in left:
            process.kill()
        assert not left
        assert "Traceback" not in self.errors.read_text()
        return code

    def rows(self):
        """Family -> status, of the JSON document on stdout."""
        return {row["family"]: row["status"] for row in json.loads(self.output.read_text())["rows"]}


@pytest.fixture
def start(tmp_path):
    write_csv(tmp_path / "reviews.csv", reviews())
    begun = []

    def begin(*arguments):
        begun.append(Running(tmp_path, "compare", "reviews.csv", *LONG, "--json", *arguments))
        return begun[-1]

    yield begin
    for running in begun:
        if running.process.poll() is None:
            os.killpg(running.process.pid, signal.SIGKILL)
            running.process.wait()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_writes_what_was_finished(start, tmp_path, workers):
    running = start("--workers", workers, "--budget", "1 minutes")
    family = running.wait_for("baselines")
    time.sleep(0.5)
    os.killpg(running.process.pid, signal.SIGINT)
    assert running.ended(family) == 130
    assert set(running.rows().values()) == {"stopped"}
    assert "what was finished is in the report" in running.errors.read_text()
    assert "stopped before a run was finished" in (
        tmp_path / "howfar-report" / "report.html"
    ).read_text(encoding="utf-8")


def test_ctrl_c_before_the_comparison_starts(start, tmp_path):
    running = start("--workers", "2")
    running.wait_for("", 0)
    maps = Path(f"/proc/{running.process.pid}/maps")
    for _ in range(200):
        if "libtorch" in maps.read_text():
            break
        time.sleep(0.05)
    time.sleep(0.2)  # torch is being imported
    os.killpg(running.process.pid, signal.SIGINT)
    code = running.ended([running.known])
    assert code == 130
    assert running.errors.read_text().count("howfar: ") == 1


def test_sigterm_ends_every_process(start):
    running = start("--workers", "2", "--budget", "1 minutes")
    family = running.wait_for("baselines")
    workers = [p for p in family[1:] if p.ppid() != running.process.pid]
    assert len(workers) == 2
    for worker in workers:  # a Ctrl-C reaches the whole group; stopping is the command's to do
        worker.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert all(worker.is_running() for worker in workers)
    assert running.process.poll() is None
    running.process.terminate()
    assert running.ended(family) == 143
    assert set(running.rows().values()) == {"stopped"}


def test_workers_do_not_outlive_a_killed_command(start):
    running = start("--workers", "2", "--budget", "1 minutes")
    family = running.wait_for("baselines")
    running.process.kill()
    assert running.ended(family) == -signal.SIGKILL


def test_a_killed_worker_costs_one_family(start, tmp_path):
    running = start("--workers", "2", "--budget", "3 seconds")
    family = running.wait_for("baselines")
    time.sleep(0.5)
    workers = [p for p in family[1:] if p.ppid() != running.process.pid]
    assert len(workers) == 2
    workers[0].kill()
    assert running.ended(family, within=40) == 1
    statuses = sorted(running.rows().values())
    assert statuses == ["done", "done", "failed"]
    assert "signal 9, perhaps for want of memory" in running.output.read_text()
    assert (tmp_path / "howfar-report" / "report.html").exists()


@pytest.mark.parametrize("arguments", [["models"], ["--help"], ["compare", "x.csv", "--json"]])
def test_a_closed_pipe_is_no_error(tmp_path, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-m", "howfar", *arguments],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert "Traceback" not in ended.stderr
    assert "BrokenPipe" not in ended.stderr
    assert "Broken pipe" not in ended.stderr
