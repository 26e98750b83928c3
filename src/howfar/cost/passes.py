"""Time and peak memory of one forward and one training pass, in the process that calls.

Idea     run each pass once to load code and caches, once for its peak, then on for its time
Clock    CPU seconds of the process with one thread, which other programs barely disturb;
         wall seconds with more threads, where CPU seconds would add the threads up
Memory   highest resident size during a pass, less the resident size before it; the freed memory
         of the warm-up is given back first, since it would be taken again unseen
"""

import ctypes
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

if sys.platform != "win32":
    import resource

MAX_REPEATS = 30  # the median moves little after that


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One length to measure."""

    length: int
    vocabulary: int  # of ids; not looked at where there are channels
    threads: int
    seconds: float  # for the timed passes together
    max_bytes: int
    seed: int
    channels: int = 0  # real numbers a position in place of ids; 0: ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Seconds of one pass and bytes above model and input. `train` is forward + backward."""

    forward_seconds: float
    train_seconds: float
    forward_peak_bytes: int
    train_peak_bytes: int


def read_point(model: nn.Module, job: Job) -> Reading:
    """Measure one length, one sequence a batch. Sets the threads of this process and keeps them.

    Raises:
        Whatever the model raises, and TypeError where it does not return a tensor.
    """
    torch.set_num_threads(job.threads)
    clock = time.process_time if job.threads == 1 else time.perf_counter
    draws = torch.Generator().manual_seed(job.seed)
    if job.channels:
        tokens_BL = torch.randn(1, job.length, job.channels, generator=draws)
    else:
        tokens_BL = torch.randint(job.vocabulary, (1, job.length), generator=draws)
    forward_seconds, forward_peak = _read(lambda: forward_pass(model, tokens_BL), clock, job)
    train_seconds, train_peak = _read(lambda: train_pass(model, tokens_BL), clock, job)
    return Reading(
        forward_seconds=forward_seconds,
        train_seconds=train_seconds,
        forward_peak_bytes=forward_peak,
        train_peak_bytes=train_peak,
    )


def forward_pass(model: nn.Module, tokens_BL: Tensor) -> None:
    """One pass as in use: evaluation mode, no gradients."""
    model.eval()
    with torch.no_grad():
        _outputs(model, tokens_BL)


def train_pass(model: nn.Module, tokens_BL: Tensor) -> None:
    """One forward and backward pass in training mode; the gradients are made anew each time."""
    model.train()
    _outputs(model, tokens_BL).float().pow(2).mean().backward()  # type: ignore[no-untyped-call]
    model.zero_grad(set_to_none=True)


def _outputs(model: nn.Module, tokens_BL: Tensor) -> Tensor:
    outputs = model(tokens_BL, torch.tensor([tokens_BL.shape[1]]))
    if not isinstance(outputs, Tensor):
        raise TypeError(f"the model returned a {type(outputs).__name__}, not a tensor")
    return outputs


def _read(run: Callable[[], None], clock: Callable[[], float], job: Job) -> tuple[float, int]:
    """Median seconds and peak bytes of `run`, after one call that loads code and caches."""
    run()
    _give_back_freed_memory()
    _forget_peak()
    before = psutil.Process().memory_info().rss
    first = _seconds(run, clock)
    peak_bytes = max(0, _highest_rss() - int(before))
    samples: list[float] = []
    spent = first
    while len(samples) < MAX_REPEATS and spent + (samples or [first])[-1] <= job.seconds / 2:
        samples.append(_seconds(run, clock))
        spent += samples[-1]
    # The first one also paid for getting its memory anew, a tenth more at most in trials; it
    # counts only where it is alone.
    return statistics.median(samples or [first]), peak_bytes


def _seconds(run: Callable[[], None], clock: Callable[[], float]) -> float:
    begin = clock()
    run()
    return clock() - begin


def _give_back_freed_memory() -> None:
    """Return what the heap keeps after the warm-up; glibc only, elsewhere it is a small bias."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _forget_peak() -> None:
    """Let the highest resident size start from here (Linux, `man 5 proc`, clear_refs)."""
    if sys.platform == "linux":
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        except OSError:
            # Then the peak of the warm-up stays in view, which is as high as what follows.
            return


def _highest_rss() -> int:
    """Highest resident bytes of this process so far."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024
