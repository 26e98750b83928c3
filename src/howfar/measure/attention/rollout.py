"""Attention rollout: the layers' attention multiplied out, with the residual as half of it.

Idea     P_l = (A_l + I) / 2 . P_{l-1}, A_l the mean over heads, P_0 = I; a row of the last P says
         from which inputs a position gathers, if all values were worth the same
Limits   ignores values, signs and what stands between the layers; needs T x T numbers a sequence
Source   Abnar & Zuidema 2020, https://arxiv.org/abs/2005.00928, section 3
"""

import torch
from torch import Tensor

from howfar.measure.attention.rows import Attended
from howfar.measure.attention.tally import BLOCK


class Rollout:
    """The product so far: (B, T, T), or None before the first layer, or where layers do not fit."""

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.product_BTT: Tensor | None = None
        self.fits = longest > 0

    def add(self, attended: Attended) -> None:
        """Multiply by the next layer."""
        length = attended.length
        before = self.product_BTT
        self.fits = self.fits and length <= self.longest
        self.fits = self.fits and (before is None or before.shape[-1] == length)
        if not self.fits:
            self.product_BTT = None
            return
        step = max(1, BLOCK // (attended.heads * length))
        parts = torch.split(torch.arange(length), step)
        mean = [attended.rows(part).detach().cpu().double().mean(1) for part in parts]
        mixed_BTT = (torch.cat(mean, dim=1) + torch.eye(length)) / 2
        self.product_BTT = mixed_BTT if before is None else mixed_BTT @ before

    def attended(self) -> Attended | None:
        """The product as one layer of one head."""
        product_BTT = self.product_BTT
        if product_BTT is None:
            return None
        length = product_BTT.shape[-1]
        return Attended(
            "rollout", "rollout", 1, length, lambda place_M: product_BTT[:, None, place_M]
        )
