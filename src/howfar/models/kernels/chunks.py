"""Chunks: how a sequence is cut so that a recurrence becomes matrix products.

Idea     within a chunk of C tokens every pair meets in one product; from chunk to chunk only the
         state is handed on. Some chunks together make a segment, as large as the cache of a
         processor holds, and what is worked out on the way needs the memory of one segment
Shapes   x (B, H, L, ...) <-> (M, C, ...): M chunks, all rows B, H of a chunk side by side; zeros
         stand behind the last token, which change neither the state nor an output
Limits   decays are differences of cumulated logs, taken in float64: a strong decay before a weak
         one would cost the weak one its digits in float32. A log below -750, whose exponential
         is 0 in either precision, counts as -750
Source   Yang et al. 2023, https://arxiv.org/abs/2312.06635, section 4; Dao & Gu 2024,
         https://arxiv.org/abs/2405.21060, section 6
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SEGMENT = 1 << 17  # numbers in a tensor of one segment: 512 KiB in float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Tokens `start` to `stop - 1` as `many` chunks of `size`."""

    start: int
    stop: int
    many: int
    size: int

    def cut(self, x_BHLX: Tensor) -> Tensor:
        """(B, H, L, ...) -> (M, C, ...), perhaps a view of x."""
        part = x_BHLX[:, :, self.start : self.stop]
        missing = self.many * self.size - part.shape[2]
        if missing:
            part = F.pad(part, (*(0, 0) * (part.ndim - 3), 0, missing))
        return self._chunked(part).movedim(2, 0).flatten(0, 2)

    def paste(self, part: Tensor, x_BHLX: Tensor) -> None:
        """Write (M, C, ...) to its place in (B, H, L, ...)."""
        place = x_BHLX[:, :, self.start : self.stop]
        length = place.shape[2]
        part = part.view(self.many, *place.shape[:2], *part.shape[1:]).movedim(0, 2)
        if length == self.many * self.size:
            self._chunked(place).copy_(part)
        else:
            place.copy_(part.flatten(2, 3)[:, :, :length])

    def _chunked(self, part: Tensor) -> Tensor:
        return part.view(*part.shape[:2], self.many, self.size, *part.shape[3:])


def segments(k_BHLK: Tensor, v_BHLV: Tensor) -> list[Segment]:
    """All segments in order.

    A chunk has about half as many tokens as a key or a value has numbers: fewer make too many
    states, more make too many pairs. That of a short sequence is the sequence.
    """
    batch, heads, length, key = k_BHLK.shape
    widest = max(key, v_BHLV.shape[-1])
    size = min(max(_power(widest) // 2, 16), 128, _power(length))
    tokens = size * max(1, SEGMENT // (batch * heads * max(widest, size) * size))
    parts = []
    for start in range(0, length, tokens):
        stop = min(length, start + tokens)
        many = -(-(stop - start) // size)
        parts.append(Segment(start=start, stop=stop, many=many, size=size))
    return parts


def _power(number: int) -> int:
    """The smallest power of two not below a number >= 0."""
    return 1 << max(number - 1, 0).bit_length()


def pair_decay(log_MC: Tensor) -> tuple[Tensor, Tensor]:
    """(M, C, C) from after token s to t, 0 where s is later; (M, C, 1) from before token 0 to t."""
    sums_MC = log_MC.double().clamp(min=-750).cumsum(-1)
    pairs_MCC = (sums_MC[:, :, None] - sums_MC[:, None]).to(log_MC.dtype).exp_().tril_()
    return pairs_MCC, sums_MC.to(log_MC.dtype).exp_()[..., None]


def pair_decay_gradient(
    pairs_MCC: Tensor, before_MC: Tensor, after_MC: Tensor, whole_M: Tensor
) -> Tensor:
    """The gradient of the logs from those of the logs of four decays, (M, C).

    Token j takes part in that from after s to t if s < j <= t, from `before` the chunk to t if
    j <= t, from `after` s to the end of the chunk if s < j, and always in that of the `whole`.
    Sums alone, no differences of sums. Entries of `pairs` with s >= t do not count.
    """
    later_CC = torch.ones_like(pairs_MCC[0]).triu_()
    earlier_CC = torch.ones_like(later_CC).tril_(-1)
    log_MC = (later_CC @ pairs_MCC).mul_(earlier_CC).sum(-1)
    log_MC.addmm_(before_MC, later_CC.mT).addmm_(after_MC, earlier_CC.mT)
    return log_MC.add_(whole_M[:, None])
