"""A tiny run that saves checkpoints: AdamW, a carried state, dropout drawn by the step.

As a program: `python -m tests.train.runs FOLDER STEPS`. It goes on from the newest checkpoint,
prints each step it does, and in the end the SHA-256 of the weights and of the carried state.
"""

import hashlib
import sys
from pathlib import Path

import torch
from torch import nn

from howfar.core.failpoints import reached
from howfar.core.seeds import Seeds
from howfar.core.weights import pack
from howfar.train.checkpoint import Checkpoints, RunState

EVERY = 3
IDENTITY = {"family": "tiny", "model": {"width": 4, "rates": [0.1, 0.2]}, "seed": 0}


class Tiny:
    """A recurrent cell that carries its state from step to step."""

    def __init__(self):
        generator = Seeds(0).torch("init")
        self.model = nn.GRUCell(3, 4)
        for value in self.model.parameters():
            nn.init.normal_(value, generator=generator)
        groups = [{"params": [p]} for p in self.model.parameters()]
        self.optimiser = torch.optim.AdamW(groups, lr=0.1, betas=(0.8, 0.95), fused=True)
        self.step, self.hidden, self.best = 0, torch.zeros(2, 4), {}

    def advance(self):
        generator = Seeds(1).torch(f"step {self.step}")
        x, keep = (
            torch.randn(2, 3, generator=generator),
            torch.rand(2, 4, generator=generator) > 0.1,
        )
        self.hidden = self.model(x, self.hidden.detach()) * keep
        self.optimiser.zero_grad()
        (self.hidden - x.sum()).square().mean().backward()
        self.optimiser.step()
        self.step += 1
        if self.step % 4 == 0:
            self.best = {k: v.clone() for k, v in self.model.state_dict().items()}

    def state(self):
        carried = {0: (self.hidden.detach(), (None, torch.tensor(self.step)))}
        counters = {"tokens": 6 * self.step, "losses": [0.1 * self.step, float("inf")]}
        weights, optimiser = self.model.state_dict(), self.optimiser.state_dict()
        return RunState(self.step, weights, self.best, optimiser, carried, counters)

    def restore(self, state):
        self.step, self.best, self.hidden = state.step, state.best, state.carried[0][0]
        self.model.load_state_dict(state.weights)
        self.optimiser.load_state_dict(state.optimiser)

    def digest(self):
        state = self.state()
        tables = (state.weights, state.best, {"hidden": self.hidden.detach()})
        return hashlib.sha256(b"".join(pack(table) for table in tables)).hexdigest()


def run(folder, steps, *, say=lambda text: None):
    """Train to the end, from the newest checkpoint on; returns the digest of what came out."""
    tiny, checkpoints = Tiny(), Checkpoints(folder, IDENTITY)
    if (state := checkpoints.newest()) is not None:
        tiny.restore(state)
    say(f"from {tiny.step}")
    while tiny.step < steps:
        reached("step")
        tiny.advance()
        if tiny.step % EVERY == 0 or tiny.step == steps:
            checkpoints.save(tiny.state())
            say(f"saved {tiny.step}")
        if tiny.step % 4 == 0:
            reached("evaluate")
    checkpoints.save(tiny.state())  # once more at the end, in the place of the last
    return tiny.digest()


if __name__ == "__main__":

    def _say(text):
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    torch.set_num_threads(1)
    _say(run(Path(sys.argv[1]), int(sys.argv[2]), say=_say))
