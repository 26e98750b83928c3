"""Chunks where every channel of the key has a decay of its own, by doubling and without division.

Idea     two tokens s < t meet at the level where halves of h tokens part them, at the middle
         between them: A_ts = (q_t * decay from the middle to t) . (k_s * decay from s to the
         middle). From one level to the next the queries of second halves are multiplied by the
         whole decay of the first half, the keys of first halves by that of the second. Every
         factor is a product of decays, so none is above 1 and none divides; a decay of 0 is exact
Shapes   q, k, g (M, C, K), C a power of two -> A (M, C, C), q and k (M, C, K) weighed from the
         start and to the end of the chunk
Source   the secondary chunks of Yang et al. 2023, https://arxiv.org/abs/2312.06635, section 4.3,
         carried on down to single tokens
"""

import torch
from torch import Tensor


class ChannelDecay:
    """Weighs queries and keys; with `learn` every level is kept, which `gradients` needs."""

    def __init__(self, q_MCK: Tensor, k_MCK: Tensor, log_MCK: Tensor, *, learn: bool) -> None:
        self.q_MCK, self.k_MCK = q_MCK, k_MCK
        self.decay_MCK = whole_MNK = log_MCK.exp()
        self.reader_MCK, self.writer_MCK = q_MCK * whole_MNK, k_MCK.clone()
        self.scores_MCC = torch.diag_embed((q_MCK * k_MCK).sum(-1))
        self.levels: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        half = 1
        while half < q_MCK.shape[1]:
            reader_MNHK, writer_MNHK = _second(self.reader_MCK, half), _first(self.writer_MCK, half)
            parting_MNHH = _parting(self.scores_MCC, half)
            parting_MNHH.copy_(reader_MNHK @ writer_MNHK.mT)
            before_MNK, after_MNK = whole_MNK[:, 0::2], whole_MNK[:, 1::2]
            if learn:
                halves = (reader_MNHK.clone(), writer_MNHK.clone(), before_MNK, after_MNK)
                self.levels.append(halves)
            reader_MNHK.mul_(before_MNK[:, :, None])
            writer_MNHK.mul_(after_MNK[:, :, None])
            whole_MNK = before_MNK * after_MNK
            half *= 2
        self.kept: Tensor | None = whole_MNK.mT

    def gradients(
        self, dscores_MCC: Tensor, dreader_MCK: Tensor, dwriter_MCK: Tensor, dkept: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Those of q and k, and of the logs where that of the log of `kept` is given.

        From the largest halves to the smallest; dlog_MNK is that of the log of a half's decay.
        """
        dlog_MNK = None if dkept is None else dkept.mT
        for level in range(len(self.levels) - 1, -1, -1):
            reader_MNHK, writer_MNHK, before_MNK, after_MNK = self.levels[level]
            dreader_MNHK = _second(dreader_MCK, 1 << level).mul_(before_MNK[:, :, None])
            dwriter_MNHK = _first(dwriter_MCK, 1 << level).mul_(after_MNK[:, :, None])
            if dlog_MNK is not None:
                dbefore_MNK = (dreader_MNHK * reader_MNHK).sum(2).add_(dlog_MNK)
                dafter_MNK = (dwriter_MNHK * writer_MNHK).sum(2).add_(dlog_MNK)
                dlog_MNK = torch.stack([dbefore_MNK, dafter_MNK], 2).flatten(1, 2)
            dparting_MNHH = _parting(dscores_MCC, 1 << level)
            dreader_MNHK.add_(dparting_MNHH @ writer_MNHK)
            dwriter_MNHK.add_(dparting_MNHH.mT @ reader_MNHK)
        dreader_MCK.mul_(self.decay_MCK)
        logs = [] if dlog_MNK is None else [dlog_MNK.addcmul(dreader_MCK, self.q_MCK)]
        own_MC1 = dscores_MCC.diagonal(dim1=1, dim2=2)[..., None]
        dq_MCK = dreader_MCK.addcmul_(own_MC1, self.k_MCK)
        return dq_MCK, dwriter_MCK.addcmul_(own_MC1, self.q_MCK), *logs


def _first(x_MCK: Tensor, half: int) -> Tensor:
    """First halves of h tokens, (M, N, H, K), a view."""
    return x_MCK.view(x_MCK.shape[0], -1, 2, half, x_MCK.shape[2])[:, :, 0]


def _second(x_MCK: Tensor, half: int) -> Tensor:
    """Second halves of h tokens, (M, N, H, K), a view."""
    return x_MCK.view(x_MCK.shape[0], -1, 2, half, x_MCK.shape[2])[:, :, 1]


def _parting(scores_MCC: Tensor, half: int) -> Tensor:
    """Second halves by the first halves before them, (M, N, H, H), a view."""
    many, size, _ = scores_MCC.shape
    pairs = size // (2 * half)
    blocks = scores_MCC.view(many, pairs, 2, half, pairs, 2, half)[:, :, 1, :, :, 0]
    return blocks.diagonal(dim1=1, dim2=3).movedim(-1, 1)
