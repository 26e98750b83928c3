"""A run for `torchrun`: python several.py FOLDER STOP_AT WAY FAMILY -> FOLDER/weights.pt"""

import sys
from pathlib import Path

import torch
from test_resume import Stream, model, options, stopping

from howfar.train import Budget, fit
from howfar.train.checkpoint import Checkpoints
from howfar.train.processes import joined, whole


def main():
    folder, stop_at, way, family = sys.argv[1:]
    carry = family == "gru"
    plan = options(slots=2, carry=carry, budget=Budget(8, "steps"), evaluations=2)
    with joined(way) as world:
        net = model(family)
        done = fit(
            net,
            Stream(slots=2, carry=carry, period=3),
            plan,
            checkpoints=Checkpoints(Path(folder) / "checkpoints", {"family": family}),
            stop=stopping(int(stop_at)),
            world=world,
        )
        weights = whole(net.state_dict())
        if world.first and done.status == "done":
            told = {"weights": weights, "curve": done.curve, "tokens": done.tokens}
            torch.save(told, Path(folder) / "weights.pt")


if __name__ == "__main__":
    main()
