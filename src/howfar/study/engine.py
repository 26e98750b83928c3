"""Where jobs run: here one after the other, or in worker processes side by side.

Idea     `submit` a function with arguments, then take results as they come; a job that raises
         becomes a result too, so that one failure never ends the others
Stops    Ctrl-C reaches the caller as KeyboardInterrupt; workers ignore it and are ended on `close`
"""

import math
import multiprocessing
import queue
import signal
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Protocol

Event = tuple[str, float, float]  # job name, share done, loss in nats; (1, nan): over
Listener = Callable[[Event], None]
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished job: its name, and its result or what it raised."""

    name: str
    result: Any = None
    error: BaseException | None = None


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


class Here:
    """One job after the other in this process."""

    def __init__(self, run: object, listen: Listener) -> None:
        self.run, self.listen = run, listen
        self.jobs: deque[tuple[str, Callable[..., Any], tuple[Any, ...]]] = deque()

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
                outcome = Outcome(name, error=error)
            progress(1.0, math.nan)
            yield outcome

    def close(self) -> None:
        """Nothing runs between jobs."""


class Workers:
    """Jobs in `count` processes; what they share is sent to each process once."""

    def __init__(self, run: object, listen: Listener, count: int) -> None:
        context = multiprocessing.get_context(
            "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        )
        if hasattr(context, "set_forkserver_preload"):
            context.set_forkserver_preload(["howfar.study.jobs"])
        self.listen = listen
        self.events: Any = context.Queue()
        self.pool = ProcessPoolExecutor(
            count, mp_context=context, initializer=_begin, initargs=(run, self.events)
        )
        self.names: dict[Future[Any], str] = {}

    def submit(self, name: str, function: Callable[..., Any], *args: Any) -> None:  # noqa: ANN401
        """Queue a job."""
        self.names[self.pool.submit(_work, name, function, args)] = name

    def outcomes(self) -> Iterator[Outcome]:
        """Jobs in the order they finish."""
        while self.names:
            done, _ = wait(self.names, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            self._hear()
            for future in done:
                name, error = self.names.pop(future), future.exception()
                if error is None:
                    yield Outcome(name, future.result())
                else:
                    yield Outcome(name, error=error)

    def close(self) -> None:
        """End running jobs at once and wait for the processes to go."""
        processes = list((getattr(self.pool, "_processes", None) or {}).values())
        self.pool.shutdown(wait=not self.names, cancel_futures=True)
        if self.names:
            for process in processes:
                process.terminate()
            for process in processes:
                process.join(5)
        self.events.close()
        self.events.cancel_join_thread()

    def _hear(self) -> None:
        while True:
            try:
                self.listen(self.events.get_nowait())
            except queue.Empty:
                return


_shared: dict[str, Any] = {}  # of one worker process: what `_begin` was given


def _begin(run: object, events: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _shared.update(run=run, events=events, last=-1.0)


def _work(name: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:  # noqa: ANN401
    _shared["last"] = -1.0

    def progress(share: float, nats: float) -> None:
        if share - _shared["last"] >= 0.02 or share >= 1:
            _shared["last"] = share
            _shared["events"].put((name, share, nats))

    _shared["events"].put((name, 0.0, math.nan))
    try:
        return function(_shared["run"], *args, progress)
    finally:
        _shared["events"].put((name, 1.0, math.nan))


def engine(run: object, listen: Listener, workers: int) -> Engine:
    """The engine for this many processes."""
    return Here(run, listen) if workers == 1 else Workers(run, listen, workers)
