"""Delayed recall: a cue stands d tokens before the final question; name it.

Idea      one of `cues` symbols, then noise from an alphabet of its own, then the question

              noise noise CUE noise noise noise noise ASK
                          |<---------- d ------------>|
              targets      -     -    -   ...          cue

Distance  d = position of the question - position of the cue, log-uniform in 1 .. length - 1:
          P(d) = log((d + 1) / d) / log(length), so that every octave is trained equally
Chance    1 / cues
Shortcut  answer only where the cue stands within the last w tokens, guess otherwise
Source    delayed recall as in Hochreiter & Schmidhuber 1997 (latching), with distances spread
          log-uniformly; a T-maze with two cues is Bakker 2001
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from howfar.core.batch import IGNORED, Batch
from howfar.core.errors import UsageError
from howfar.tasks.base import Rule, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall(Task):
    """The task.

    Args:
        length: tokens a sequence, the question included (at least 2).
        cues: number of cue symbols (at least 2); noise: number of noise symbols (at least 1).
    """

    name: ClassVar[str] = "recall"
    idea: ClassVar[str] = "name the cue that stood d tokens before the question"
    informative: ClassVar[str] = "the cue is the only one there: it has to be kept, not found"

    length: int = 128
    cues: int = 8
    noise: int = 24

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Task.__post_init__(self)
        self.require(self.length >= 2, "length >= 2")
        self.require(self.cues >= 2, "cues >= 2")
        self.require(self.noise >= 1, "noise >= 1")

    @property
    def vocabulary(self) -> int:
        """Symbols: padding 0, cues 1 .. cues, the noise, and last the question."""
        return 1 + self.cues + self.noise + 1

    @property
    def outputs(self) -> int:
        """Classes to choose from: the cues."""
        return self.cues

    @property
    def chance(self) -> float:
        """Accuracy of a guess."""
        return 1 / self.cues

    @property
    def symbols(self) -> tuple[str, ...]:
        """Cues are numbers, noise a dot with its number."""
        cues = (str(cue) for cue in range(self.cues))
        return ("_", *cues, *(f".{number}" for number in range(self.noise)), "?")

    @property
    def state_bits(self) -> float:
        """Which cue it was, and nothing else."""
        return math.log2(self.cues + 1)  # or none yet

    def batch(self, indices: Sequence[int], *, split: str = "train", distance: int = 0) -> Batch:
        """Items `indices` of a split: tokens (B, L), one scored target a row, at the question.

        distance: put every cue exactly this far back; 0 draws it log-uniformly.
        """
        if not 0 <= distance < self.length:
            message = f"A distance must lie in 1 .. {self.length - 1}, got {distance}."
            raise UsageError("E-OPTION", message, "a smaller distance or a greater length.")
        draws = self.draws(split, indices)
        cue_B = 1 + draws.below(self.cues, 1)[:, 0]
        drawn_B = draws.words(1)[:, 0] >> np.uint64(32)
        back_B = np.searchsorted(_octaves(self.length), drawn_B, side="right") + 1
        back_B = np.full_like(back_B, distance) if distance else back_B
        tokens_BL = 1 + self.cues + draws.below(self.noise, self.length)
        tokens_BL[:, -1] = self.vocabulary - 1
        tokens_BL[np.arange(len(draws)), self.length - 1 - back_B] = cue_B
        targets_BL, distance_BL = np.full_like(tokens_BL, IGNORED), np.zeros_like(tokens_BL)
        targets_BL[:, -1], distance_BL[:, -1] = cue_B - 1, back_B
        lengths_B = torch.full((len(draws),), self.length)
        made = (torch.from_numpy(array) for array in (tokens_BL, targets_BL, distance_BL))
        tokens, targets, distances = made
        return Batch(tokens, lengths_B, targets, distances)

    def oracle(self, batch: Batch) -> Tensor:
        """The right class at the question, read off the tokens: (B,)."""
        return self._within(batch, batch.tokens.shape[1])

    @property
    def shortcuts(self) -> dict[str, Rule]:
        """Rules that need less than the task asks, each (B,) classes: the ladder of scores."""
        ladder: dict[str, Rule] = {"always the same cue": partial(self._within, window=0)}
        for window in (8, 32):
            if window < self.length:
                ladder[f"sees the last {window} tokens"] = partial(self._within, window=window)
        return ladder

    def _within(self, batch: Batch, window: int) -> Tensor:
        """The cue where it stands in the last `window` tokens, class 0 otherwise: (B,)."""
        recent_BW = batch.tokens[:, max(0, batch.tokens.shape[1] - window) :]
        is_cue_BW = (recent_BW >= 1) & (recent_BW <= self.cues)
        return ((recent_BW * is_cue_BW).sum(1) - 1).clamp(min=0)


@lru_cache  # every batch asks
def _octaves(length: int) -> np.ndarray:
    """Upper thresholds, in 2**-32, of d = 1, 2, .. length - 2 under the log-uniform law."""
    shares = [math.log(d + 1) / math.log(length) for d in range(1, length - 1)]
    thresholds = np.array([round(share * 2**32) for share in shares], dtype=np.uint64)
    thresholds.setflags(write=False)
    return thresholds
