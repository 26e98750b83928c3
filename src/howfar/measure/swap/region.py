"""Which tokens are far: each place needs so many kept tokens until it is kept itself.

Idea     past      place s of target t is kept from k = t - s + 1 on
         future    its mirror image: from k = s - t + 1 on
         around    both sides of a centre c: from k = |s - c| + 1 on
         and `far(k)` is every place that needs more than k
Shapes   places (N, W): W tokens a row
Units    kept tokens; the target or centre itself is the first one kept
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from howfar.measure import probe


@dataclass(frozen=True, slots=True)
class Region:
    """The places that can be far.

    need: (N, W), kept tokens from which on a place is left alone; 0: it always is. whole: the same
    before the region was narrowed to a class of tokens. anchors: (N,), where distances count from.
    """

    need: Tensor
    whole: Tensor
    anchors: Tensor

    @property
    def top(self) -> int:
        """Kept tokens with which nothing is far."""
        return int(self.need.max())

    @property
    def windows(self) -> Tensor:
        """Kept tokens that are all of a row on this side: (N,)."""
        return self.whole.amax(1)

    @property
    def everything(self) -> Tensor:
        """All places of this side: (N, W)."""
        return self.whole > 0

    def far(self, k: int) -> Tensor:
        """Which places are far with k tokens kept: (N, W)."""
        return self.need > k

    def only(self, class_NW: Tensor) -> "Region":
        """The same region, where places outside a class are always left alone."""
        return replace(self, need=self.need.where(class_NW, 0))


def past(seqs: probe.Sequences) -> Region:
    """Everything up to the target."""
    lag_NW = seqs.targets[:, None] - _places(seqs)
    return _region(lag_NW + 1, lag_NW >= 0, seqs.targets)


def future(seqs: probe.Sequences) -> Region:
    """Everything from the target to the end of the row."""
    lead_NW = _places(seqs) - seqs.targets[:, None]
    return _region(lead_NW + 1, (lead_NW >= 0) & real(seqs), seqs.targets)


def around(seqs: probe.Sequences, centre_N: Tensor) -> Region:
    """Both sides of a centre."""
    away_NW = (_places(seqs) - centre_N[:, None]).abs()
    return _region(away_NW + 1, real(seqs), centre_N)


def real(seqs: probe.Sequences) -> Tensor:
    """Which places are no padding: (N, W)."""
    return _places(seqs) < seqs.lengths[:, None]


def _places(seqs: probe.Sequences) -> Tensor:
    return torch.arange(seqs.tokens.shape[1])[None, :]


def _region(need_NW: Tensor, inside_NW: Tensor, anchor_N: Tensor) -> Region:
    whole_NW = need_NW.where(inside_NW, 0)
    return Region(whole_NW, whole_NW, anchor_N)
