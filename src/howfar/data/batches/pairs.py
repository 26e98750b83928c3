"""A sequence for a sequence: what the decoder reads, and what it is to say.

Idea     it reads the end mark and the target, and says the target and the end mark
Shapes   source (B, S), tokens = [end, y...] (B, L), targets = [y..., end] (B, L)
"""

import numpy as np
import torch

from howfar.core.batch import IGNORED, Batch
from howfar.data.batches.lay import Rows, padded
from howfar.data.batches.rows import gathered
from howfar.data.examples import Examples
from howfar.data.ragged import Ragged


class Pairs:
    """The `Maker` of pairs; both lengths of a row decide whom it meets."""

    def __init__(self, part: Examples, end: int) -> None:
        if not isinstance(part.targets, Ragged) or len(part.targets) != len(part):
            raise ValueError("Every row needs its target sequence.")
        self._sources, self._targets, self._end = part.ids, part.targets, end
        self.widths = np.stack([part.ids.lengths, part.targets.lengths + 1], axis=1)
        self.alike = False
        self.tokens = int(self.widths.sum())

    def batch(self, rows: Rows, epoch: int) -> Batch:
        """These pairs."""
        sources, source_lengths = gathered(self._sources, rows)
        answers, answer_lengths = gathered(self._targets, rows)
        lengths = answer_lengths + 1
        ends = np.cumsum(answer_lengths)
        return Batch(
            padded(np.insert(answers, ends - answer_lengths, self._end), lengths),
            torch.from_numpy(lengths),
            padded(np.insert(answers, ends, self._end), lengths, IGNORED),
            source=padded(sources, source_lengths),
            source_lengths=torch.from_numpy(source_lengths),
        )
