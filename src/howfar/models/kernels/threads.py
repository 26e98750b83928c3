"""Rows of a compiled kernel on several threads.

Idea     a compiled loop holds no interpreter lock, so rows that do not need each other run on
         threads of one process. Numba's own parallel loops are not used: their pool does not
         survive a fork. This one is made anew in a child, and when the number of threads changes
Limits   as many threads as torch has been given (`torch.set_num_threads`), one part each
Source   https://docs.python.org/3/library/concurrent.futures.html
"""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import pairwise
from threading import Lock, local

import torch

Work = Callable[[int, int], None]


class Pool:
    """At most one executor a process, made when first needed."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """What a forked child does: the threads of its parent are not there."""
        self.lock, self.inside, self.size = Lock(), local(), 0
        self.executor: ThreadPoolExecutor | None = None

    def submit(self, work: Work, ranges: list[tuple[int, int]]) -> list[Future[None]]:
        """Start all ranges, each on a thread."""
        with self.lock:
            if self.executor is None or self.size < len(ranges):
                if self.executor is not None:
                    self.executor.shutdown(wait=False)
                self.executor = ThreadPoolExecutor(len(ranges), thread_name_prefix="howfar-kernel")
                self.size = len(ranges)
            return [self.executor.submit(self.run, work, *part) for part in ranges]

    def run(self, work: Work, first: int, last: int) -> None:
        """One part, on a thread of the pool; work split further in there stays on that thread."""
        self.inside.yes = True
        work(first, last)


_pool = Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.forget)


def in_parts(rows: int, work: Work, least: int = 1) -> None:
    """Call work(first, last) for parts that make up range(rows), on torch's number of threads.

    The calling thread takes the first part; all parts have ended when this returns or raises, and
    an exception of any part is raised here. No row, no call.

    least: rows a part must have to be worth a thread (starting one costs tens of microseconds).
    """
    inside = getattr(_pool.inside, "yes", False)
    parts = 1 if inside else min(torch.get_num_threads(), rows // max(least, 1))
    if parts <= 1:
        if rows > 0:
            work(0, rows)
        return
    borders = [rows * part // parts for part in range(parts + 1)]
    ranges = list(pairwise(borders))
    started = _pool.submit(work, ranges[1:])
    try:
        work(*ranges[0])
    finally:
        wait(started)
    for part in started:
        part.result()
