"""A run for `torchrun`: python several.py FOLDER STOP_AT WAY FAMILY [SECONDS] -> FOLDER/weights.pt

With SECONDS as its budget every process writes FOLDER/RANK.pt. Their clocks run apart: a step takes
1/8 s by the first one's and a second by the other's, which alone is asked to stop.
"""

import itertools
import sys
import time
from pathlib import Path

import torch
from test_resume import Stream, model, options, stopping

from howfar.train import Budget, fit
from howfar.train.checkpoint import Checkpoints
from howfar.train.processes import joined, whole


def main():
    folder, stop_at, way, family, *seconds = sys.argv[1:]
    carry = family == "gru"
    plan = options(slots=2, carry=carry, budget=Budget(8, "steps"), evaluations=2)
    if seconds:
        plan = options(slots=2, carry=carry, budget=Budget(float(seconds[0]), "seconds"))
    with joined(way) as world:
        if seconds:
            ticks = itertools.count()
            time.perf_counter = lambda: next(ticks) * (0.125, 1.0)[world.rank]
        net = model(family)
        done = fit(
            net,
            Stream(slots=2, carry=carry, period=3),
            plan,
            checkpoints=Checkpoints(Path(folder) / "checkpoints", {"family": family}),
            stop=stopping(int(stop_at)) if world.rank or not seconds else lambda: False,
            world=world,
        )
        weights = whole(net.state_dict())
        if world.first and done.status == "done":
            told = {"weights": weights, "curve": done.curve, "tokens": done.tokens}
            torch.save(told, Path(folder) / "weights.pt")
        if seconds:
            points = [(p.step, p.seconds, p.learning_rate, p.validation) for p in done.points]
            told = {"weights": weights, "points": points, "steps": done.steps, "how": done.status}
            torch.save(told, Path(folder) / f"{world.rank}.pt")


if __name__ == "__main__":
    main()
