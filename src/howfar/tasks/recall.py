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

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor

from howfar.core.batch import IGNORED, Batch
from howfar.core.errors import UsageError

VERSION = 1  # part of the key of every item: raise it when the items change


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """The task. Items are counter-based: item i is the same on every machine and in every shard.

    Args:
        length: tokens a sequence, the question included (at least 2).
        cues: number of cue symbols (at least 2); noise: number of noise symbols (at least 1).
        seed: another seed is another set of items.
    """

    length: int = 128
    cues: int = 8
    noise: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("length", 2), ("cues", 2), ("noise", 1), ("seed", 0)):
            if getattr(self, name) < least:
                message = f"recall needs {name} >= {least}, got {getattr(self, name)}."
                raise UsageError("E-OPTION", message, f"{name}={least} or more.")

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

    def batch(self, indices: Sequence[int], *, split: str = "train", distance: int = 0) -> Batch:
        """Items `indices` of a split: tokens (B, L), one scored target a row, at the question.

        distance: put every cue exactly this far back; 0 draws it log-uniformly.
        """
        if not 0 <= distance < self.length:
            message = f"A distance must lie in 1 .. {self.length - 1}, got {distance}."
            raise UsageError("E-OPTION", message, "a smaller distance or a greater length.")
        rows = [self._item(int(index), split, distance) for index in indices]
        tokens_BL = torch.from_numpy(np.stack([tokens for tokens, _ in rows]))
        distance_B = torch.tensor([d for _, d in rows])
        cue_B = tokens_BL[torch.arange(len(rows)), self.length - 1 - distance_B]
        targets_BL = torch.full_like(tokens_BL, IGNORED)
        targets_BL[:, -1] = cue_B - 1
        distance_BL = torch.zeros_like(tokens_BL)
        distance_BL[:, -1] = distance_B
        lengths_B = torch.full((len(rows),), self.length)
        return Batch(tokens_BL, lengths_B, targets_BL, distance_BL)

    def oracle(self, batch: Batch) -> Tensor:
        """The right class at the question, read off the tokens: (B,)."""
        return self._within(batch, self.length)

    @property
    def shortcuts(self) -> dict[str, Callable[[Batch], Tensor]]:
        """Rules that need less than the task asks, each (B,) classes: the ladder of scores."""
        ladder: dict[str, Callable[[Batch], Tensor]] = {
            "always the same cue": partial(self._within, window=0)
        }
        for window in (8, 32):
            if window < self.length:
                ladder[f"sees the last {window} tokens"] = partial(self._within, window=window)
        return ladder

    def _within(self, batch: Batch, window: int) -> Tensor:
        """The cue where it stands in the last `window` tokens, class 0 otherwise: (B,)."""
        recent_BW = batch.tokens[:, self.length - window :]
        is_cue_BW = (recent_BW >= 1) & (recent_BW <= self.cues)
        return ((recent_BW * is_cue_BW).sum(1) - 1).clamp(min=0)

    def _item(self, index: int, split: str, distance: int) -> tuple[np.ndarray, int]:
        # Raw Philox words only: numpy promises their stream, not that of Generator's methods.
        key = hashlib.sha256(f"recall/{VERSION}/{self.seed}/{split}".encode()).digest()
        words = np.frombuffer(key[:16], dtype="<u8")
        stream = np.random.Philox(key=words, counter=np.array([0, index, 0, 0], dtype=np.uint64))
        raw = stream.random_raw(self.length + 2) >> np.uint64(32)
        cue = 1 + int(raw[0]) * self.cues // 2**32
        drawn = int(np.searchsorted(_octaves(self.length), raw[1], side="right")) + 1
        back = distance or drawn
        noise = (raw[2:] * np.uint64(self.noise)) >> np.uint64(32)
        tokens = 1 + self.cues + noise.astype(np.int64)
        tokens[-1] = self.vocabulary - 1
        tokens[-1 - back] = cue
        return tokens, back


@lru_cache  # every item asks, and to make them costs more than the rest of the item
def _octaves(length: int) -> np.ndarray:
    """Upper thresholds, in 2**-32, of d = 1, 2, .. length - 2 under the log-uniform law."""
    shares = [math.log(d + 1) / math.log(length) for d in range(1, length - 1)]
    thresholds = np.array([round(share * 2**32) for share in shares], dtype=np.uint64)
    thresholds.setflags(write=False)
    return thresholds
