"""Time and peak memory a token at several lengths, one sequence a batch.

Idea     measure the lengths from short to long, each in a fresh process, and stop in good time:
         where the next one would take too long or too much memory, as the last two foretell
Clock    CPU seconds of the process with one thread, wall seconds with more (see `passes`)
Memory   above model and input; training includes the gradients of the parameters, not the
         optimiser's state. Differences below about 1 MB are not resolved
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil
import torch
from torch import nn

from howfar.core.errors import UsageError
from howfar.cost.passes import Job, Reading, read_point
from howfar.cost.server import ForeignFactory, Server, Unmeasured
from howfar.record.comparison import CostPoint

Flops = Callable[[int], int | float]
Measure = Callable[[Job], Reading]


@dataclass(frozen=True, slots=True)
class Cost:
    """What each measured length costs, and why a length is missing."""

    points: tuple[CostPoint, ...]
    notes: tuple[str, ...] = ()


def measure_cost(  # noqa: PLR0913 - each is a setting of its own
    build: Callable[[], nn.Module],
    *,
    vocabulary: int,
    channels: int = 0,
    lengths: Sequence[int] = (128, 512, 2048, 8192),
    threads: int = 1,
    seconds_per_point: float = 0.5,
    max_seconds: float = 10.0,
    max_bytes: int = 2**32,
    flops: Flops | None = None,
    seed: int = 0,
) -> Cost:
    """Measure what each length costs, forward and forward + backward.

    The module is built in another process, which never imports the caller's main module. A
    factory that other processes cannot rebuild (a lambda, a class in a notebook) is timed in this
    process; its peak memory then stays unknown and a note says so.

    Args:
        build: makes the module; called as `model(tokens_BL, lengths_B)`, returns one tensor.
        vocabulary: the tokens are drawn evenly from 0 .. vocabulary - 1.
        channels: the model reads this many real numbers a position, not ids.
        lengths: in tokens; measured in increasing order, repeated ones once.
        threads: of torch. With one, CPU seconds count; with more, wall seconds.
        seconds_per_point: for the timed passes of one length: at most 30, and at least one, of
            each kind, after one of each kind to warm up.
        max_seconds: a length that would need more for all its passes is left out.
        max_bytes: a length whose peak would be higher is left out; half of the memory that is
            free now is never exceeded.
        flops: the declared operations of one forward pass at a length; multiply-add = 2.
        seed: of the tokens.

    Returns:
        One point for each length measured, and a note for what is missing.

    Raises:
        UsageError: E-OPTION, for a vocabulary, length, number of threads or limit below 1.
    """
    grid = sorted(set(lengths))
    _check(grid, vocabulary or channels, threads, min(max_seconds, max_bytes))
    limit = min(max_bytes, int(psutil.virtual_memory().available) // 2)
    jobs = [
        Job(
            length=length,
            vocabulary=vocabulary,
            channels=channels,
            threads=threads,
            seconds=seconds_per_point,
            max_bytes=limit,
            seed=seed,
        )
        for length in grid
    ]
    try:
        with Server(build) as server:
            deadline = 4 * max_seconds + 30
            readings, notes = _climb(jobs, max_seconds, lambda job: server.ask(job, deadline))
        return Cost(_points(readings, flops), notes)
    except Unmeasured as error:
        return Cost((), (f"Cost was not measured: {error}.",))
    except ForeignFactory as error:
        readings, notes = _climb_here(build, jobs, max_seconds)
        why = f"Peak memory was not measured: the model cannot be built elsewhere ({error})."
        return Cost(_points(readings, flops, peaks=False), (why, *notes))


def _check(grid: list[int], vocabulary: int, threads: int, least_limit: float) -> None:
    if not grid or grid[0] < 1:
        raise UsageError("E-OPTION", f"Lengths {grid} are not all 1 or more.", "--lengths 128,512")
    if vocabulary < 1 or threads < 1 or not least_limit > 0:
        raise UsageError("E-OPTION", "Vocabulary, threads and limits must be 1 or more.")


def _climb(
    jobs: list[Job], max_seconds: float, measure: Measure
) -> tuple[dict[int, Reading], tuple[str, ...]]:
    """Measure from short to long until one is refused; say why."""
    readings: dict[int, Reading] = {}
    for job in jobs:
        why = _refusal(readings, job, max_seconds)
        if not why:
            try:
                readings[job.length] = measure(job)
                continue
            except Unmeasured as error:
                why = str(error)
        rest = ", ".join(str(later.length) for later in jobs if later.length >= job.length)
        return readings, (f"Cost at length {rest} was not measured: {why}.",)
    return readings, ()


def _climb_here(
    build: Callable[[], nn.Module], jobs: list[Job], max_seconds: float
) -> tuple[dict[int, Reading], tuple[str, ...]]:
    def measure(job: Job) -> Reading:
        try:
            return read_point(model, job)
        except Exception as error:  # a stranger's model may raise anything
            raise Unmeasured(f"{type(error).__name__}: {error}") from error

    threads = torch.get_num_threads()
    try:
        model = build()
        return _climb(jobs, max_seconds, measure)
    finally:
        torch.set_num_threads(threads)


def _refusal(readings: dict[int, Reading], job: Job, max_seconds: float) -> str:
    if not readings:
        return ""
    # One pass to warm up and at least one for time and memory, each forward and training.
    seconds = {n: 2 * (r.forward_seconds + r.train_seconds) for n, r in readings.items()}
    peaks = {n: float(r.train_peak_bytes) for n, r in readings.items()}
    foretold = _extrapolate(seconds, job.length)
    if foretold > max_seconds:
        return f"it would take about {foretold:.0f} s, more than {max_seconds:g} s"
    foretold = _extrapolate(peaks, job.length)
    if foretold > job.max_bytes:
        return f"it would need about {_mib(foretold)}, more than {_mib(job.max_bytes)}"
    return ""


def _extrapolate(values: dict[int, float], length: int) -> float:
    """Value at `length` by the power law through the last two points; linear through one."""
    last, power = max(values), 1.0
    if len(values) > 1:
        before = sorted(values)[-2]
        if values[before] > 0 and values[last] > 0:
            power = math.log(values[last] / values[before]) / math.log(last / before)
    return values[last] * math.pow(length / last, max(power, 1.0))


def _mib(count: float) -> str:
    return f"{count / 2**20:.0f} MiB"


def _points(
    readings: dict[int, Reading], flops: Flops | None, *, peaks: bool = True
) -> tuple[CostPoint, ...]:
    return tuple(
        CostPoint(
            length=length,
            forward_us_per_token=reading.forward_seconds * 1e6 / length,
            train_us_per_token=reading.train_seconds * 1e6 / length,
            forward_peak_bytes=reading.forward_peak_bytes if peaks else None,
            peak_bytes=reading.train_peak_bytes if peaks else None,
            flops_per_token=flops(length) / length if flops is not None else None,
        )
        for length, reading in readings.items()
    )
