"""Keep freed memory in the process while a model trains.

Idea     every step frees large tensors and asks for the same again. glibc gives a block above its
         threshold (32 MiB at most by default) back to the system at once, and each new page then
         costs a fault: a quarter of the time of an LSTM's step. Within this context it keeps them
Price    the process holds its peak until it needs the room, and scattered blocks can raise the
         peak itself: 1.0 to 2.0 times were seen, the latter for an LSTM on rows of all lengths
Scope    the allocator is the process's own: other threads are served alike. Nothing is done
         without glibc, or where the environment already tunes its allocator
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TRIM, MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
KEPT = {MMAP: 2**30, TRIM: 2**31 - 1}  # bytes
# an explicit threshold ends glibc's own adjustment: these are the ends that it moves towards
USUAL = {MMAP: 2**25, TRIM: 2**26}
TUNED = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


@contextmanager
def kept_memory() -> Iterator[None]:
    """Within: freed blocks up to 1 GiB stay in the process. After: all are given back."""
    if sys.platform != "linux" or any(name in os.environ for name in TUNED):
        yield
        return
    _set(KEPT)
    try:
        yield
    finally:
        _set(USUAL)
        _give_back()


def _set(thresholds: dict[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # None: not glibc
    if mallopt is not None:
        for name, value in thresholds.items():
            mallopt(name, value)


def _give_back() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
