"""The measuring process: builds the model once, then forks one child a length.

Idea     a forked child starts with an untouched copy of the parent's memory, so every peak is
         measured from the same ground, and a child that dies takes only its own length along
Talk     stdin: the pickled factory, then one JSON job a line; stdout: one JSON answer a line:
         {"ready": true}, {"foreign": why}, {"reading": {...}}, {"failed": why} or {"died": why}
Note     started as `python -m howfar.cost.child`, never imported by the user's main module
"""

import dataclasses
import json
import os
import pickle
import sys
from typing import IO, Any

import psutil
import torch
from torch import nn

from howfar.cost.passes import Job, read_point

# macOS forks too, but its libraries may abort in the child.
CAN_FORK = sys.platform == "linux"

if sys.platform == "linux":
    import resource


def serve(requests: IO[bytes], answers: IO[str]) -> None:
    """Answer jobs until `requests` ends. Without fork one job only: a fresh process for each."""
    try:
        build = pickle.load(requests)  # noqa: S301 - from the process that started this one
    except Exception as error:
        _say(answers, {"foreign": _why(error)})
        return
    try:
        torch.set_num_threads(1)  # no pool of threads may exist when it forks
        model: nn.Module = build()
    except Exception as error:
        _say(answers, {"failed": _why(error)})
        return
    _say(answers, {"ready": True})
    for line in requests:
        job = Job(**json.loads(line))
        if not CAN_FORK:
            _say(answers, _answer(model, job))
            return
        _fork_and_answer(model, job, answers)


def _fork_and_answer(model: nn.Module, job: Job, answers: IO[str]) -> None:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _limit_memory(job.max_bytes)
            _say(answers, _answer(model, job))
            status = 0
        finally:
            # Neither the buffers nor the exit handlers of the parent are the child's to run.
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if status != 0:
        code = os.waitstatus_to_exitcode(status)
        _say(answers, {"died": f"its process ended with status {code}"})


def _answer(model: nn.Module, job: Job) -> dict[str, Any]:
    try:
        return {"reading": dataclasses.asdict(read_point(model, job))}
    except Exception as error:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            return {"failed": f"it needs more memory than {job.max_bytes / 2**20:.0f} MiB"}
        return {"failed": _why(error)}


def _limit_memory(max_bytes: int) -> None:
    """Make an allocation far beyond the cap fail here, before the machine runs out of memory."""
    if sys.platform == "linux":
        slack = max_bytes // 4 + 2**28  # address space that threads reserve and never touch
        limit = psutil.Process().memory_info().vms + max_bytes + slack
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _why(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _say(answers: IO[str], answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def main() -> None:
    """Talk over the standard streams, and let nothing else write to the answers."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
