"""Where jobs run: here one after the other, or in worker processes side by side.

Idea     `submit` a function with arguments, then take results as they come; a job that raises, or
         whose process dies, becomes a result too, so that one failure never ends the others
Stops    Ctrl-C reaches the caller as KeyboardInterrupt; workers ignore it and are ended on `close`,
         and end themselves, with all they started, when the process that made them is gone
"""

import math
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from typing import Any, Protocol

import psutil

from howfar.core.errors import EnvironmentFault, HowfarError

Event = tuple[str, float, float]  # job name, share done, loss in nats; (1, nan): over
Listener = Callable[[Event], None]
Job = tuple[str, Callable[..., Any], tuple[Any, ...]]
GRACE_SECONDS = 3.0
LEAST_SHARE = 0.02  # of a job between two events


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished job: its name, and its result or what went wrong in one line."""

    name: str
    result: Any = None
    error: str | None = None


class Engine(Protocol):
    """Runs jobs `function(run, *args, progress)`; `run` is what all jobs share."""

    def submit(self, name: str, function: Callable[..., Any], *args: Any) -> None:  # noqa: ANN401
        """Queue a job."""
        ...

    def outcomes(self) -> Iterator[Outcome]:
        """Finished jobs as they come, until none is left; more may be submitted meanwhile."""
        ...

    def close(self) -> None:
        """End whatever still runs."""
        ...


def engine(run: object, listen: Listener, workers: int) -> Engine:
    """The engine for this many processes."""
    return Here(run, listen) if workers == 1 else Workers(run, listen, workers)


def said(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, HowfarError):
        return str(error)
    first = str(error).strip().partition("\n")[0]
    if isinstance(error, MemoryError) or "allocate memory" in first:
        return "memory ran out (a smaller batch, length or number of workers needs less)"
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


class Here:
    """One job after the other in this process."""

    def __init__(self, run: object, listen: Listener) -> None:
        self.run, self.listen = run, listen
        self.jobs: deque[Job] = deque()

    def submit(self, name: str, function: Callable[..., Any], *args: Any) -> None:  # noqa: ANN401
        """Queue a job."""
        self.jobs.append((name, function, args))

    def outcomes(self) -> Iterator[Outcome]:
        """Run the queue."""
        while self.jobs:
            name, function, args = self.jobs.popleft()

            def progress(share: float, nats: float, name: str = name) -> None:
                self.listen((name, share, nats))

            progress(0.0, math.nan)
            try:
                outcome = Outcome(name, function(self.run, *args, progress))
            except Exception as error:  # a job's failure is a result
                outcome = Outcome(name, error=said(error))
            progress(1.0, math.nan)
            yield outcome

    def close(self) -> None:
        """Nothing runs between jobs."""


class _Worker:
    """The caller's end of one process: a wire to it, and the name of the job it works on."""

    def __init__(self, context: Any, run: object) -> None:  # noqa: ANN401 - a start method
        self.wire, far = context.Pipe()
        self.job: str | None = None
        self.process = context.Process(target=_serve, args=(run, far), daemon=True)
        self.process.start()
        far.close()  # so that the end of the process is the end of the wire

    def end(self) -> None:
        """Ask the process to go, at once; it takes what it started along."""
        self.process.terminate()

    def gone(self) -> int | None:
        """Wait until the process is gone and return its exit code."""
        self.process.join(GRACE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.wire.close()
        code: int | None = self.process.exitcode
        return code


class Workers:
    """Jobs in at most `count` processes; what they share is sent to each process once."""

    def __init__(self, run: object, listen: Listener, count: int) -> None:
        self.run, self.listen, self.count = run, listen, count
        self.context = _context()
        self.jobs: deque[Job] = deque()
        self.workers: list[_Worker] = []
        self.any_began = False

    def submit(self, name: str, function: Callable[..., Any], *args: Any) -> None:  # noqa: ANN401
        """Queue a job."""
        self.jobs.append((name, function, args))

    def outcomes(self) -> Iterator[Outcome]:
        """Jobs in the order they finish.

        Raises:
            EnvironmentFault: E-WORKERS, where not even the first process could begin.
        """
        while True:
            yield from self._hand_out()
            busy = {worker.wire: worker for worker in self.workers if worker.job is not None}
            if not busy:
                return
            for wire in connection.wait(list(busy)):
                outcome = self._hear(busy[wire])
                if outcome is not None:
                    self.listen((outcome.name, 1.0, math.nan))
                    yield outcome

    def close(self) -> None:
        """End running jobs at once and wait for the processes to go."""
        for worker in self.workers:
            worker.end()
        for worker in self.workers:
            worker.gone()
        self.workers.clear()

    def _hand_out(self) -> Iterator[Outcome]:
        """Give queued jobs to idle processes, starting new ones up to `count`."""
        while self.jobs:
            worker = next((w for w in self.workers if w.job is None), None)
            if worker is None and len(self.workers) == self.count:
                return
            if worker is None:
                worker = _Worker(self.context, self.run)
                self.workers.append(worker)
            job = self.jobs.popleft()
            worker.job = job[0]
            self.listen((job[0], 0.0, math.nan))
            try:
                worker.wire.send(job)
            except OSError:  # it died meanwhile
                yield self._died(worker)

    def _hear(self, worker: _Worker) -> Outcome | None:
        """Take one message; an outcome if it ends the job."""
        assert worker.job is not None
        try:
            kind, value = worker.wire.recv()
        except (EOFError, OSError):
            return self._died(worker)
        if kind == "began":
            self.any_began = True
            return None
        if kind == "event":
            self.listen((worker.job, *value))
            return None
        name, worker.job = worker.job, None
        return Outcome(name, value) if kind == "done" else Outcome(name, error=value)

    def _died(self, worker: _Worker) -> Outcome:
        """Let go of a process that ended by itself; the job it worked on has failed."""
        assert worker.job is not None
        self.workers.remove(worker)
        code = worker.gone()
        if not self.any_began:
            raise EnvironmentFault(
                "E-WORKERS",
                f"A worker process ended before it began (exit code {code}).",
                "in a script, call it below `if __name__ == '__main__':`; or use workers=1",
            )
        how = f"exit code {code}"
        if code is not None and code < 0:
            how = f"signal {-code}" + (", perhaps for want of memory" if code == -9 else "")
        return Outcome(worker.job, error=f"its process was ended ({how})")


def _context() -> Any:  # noqa: ANN401 - the start methods have no common type
    """A way to start processes that inherit neither threads nor Ctrl-C."""
    methods = multiprocessing.get_all_start_methods()
    if "forkserver" not in methods:
        return multiprocessing.get_context("spawn")
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["howfar.study.jobs"])
    from multiprocessing import forkserver  # noqa: PLC0415 - absent where there is no fork

    # The server and all it forks inherit the mask: a Ctrl-C during their imports cannot reach them.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _serve(run: object, wire: connection.Connection) -> None:
    """A worker process: do one job after the other until the wire or the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: _end())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    last = -1.0

    def progress(share: float, nats: float) -> None:
        nonlocal last
        if share - last >= LEAST_SHARE or share >= 1:
            last = share
            wire.send(("event", (share, nats)))

    wire.send(("began", None))
    while True:
        try:
            _, function, args = wire.recv()
        except EOFError:
            return
        last = -1.0
        try:
            answer = ("done", function(run, *args, progress))
        except Exception as error:  # a job's failure is a result
            answer = ("error", said(error))
        try:
            wire.send(answer)
        except OSError:  # nobody listens any more
            return


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        _end()


def _end() -> None:
    """End this process at once, and whatever it started."""
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(143)
