"""Add up what each n-gram contributes over texts, batch by batch.

Idea     an n-gram is the tuple of ids in a window; places beside the text are -1
Shapes   U n-grams of one width w so far; totals (U, C), texts (U,)
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from howfar.measure.fragments.decompose import Part

BESIDE = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """One n-gram and what it did to one class.

    tokens: ids, -1 beside the text. text: their names. label: the class. total: contribution
    summed over texts, in units of the logit. texts: how many it contributed in. mean: total over
    those.
    """

    tokens: tuple[int, ...]
    text: str
    label: int
    total: float
    texts: int
    mean: float


class Tally:
    """Totals by n-gram, for every width."""

    def __init__(self) -> None:
        self.totals: dict[tuple[int, ...], np.ndarray] = {}  # ids -> (C,)
        self.texts: dict[tuple[int, ...], int] = {}

    def add(self, part: Part, tokens_BL: Tensor) -> None:
        """One batch of one width."""
        places_IW = part.filters.places(part.share.shape[2])
        length = tokens_BL.shape[1]
        inside_IW = (places_IW >= 0) & (places_IW < length)
        ids_BIW = tokens_BL[:, places_IW.clamp(0, length - 1)].masked_fill(~inside_IW, BESIDE)
        used_BI = part.share.abs().sum(1) > 0
        ids_KW = ids_BIW[used_BI].numpy()
        if not len(ids_KW):
            return
        text_K = np.nonzero(used_BI.numpy())[0]
        gains_KC = part.contribution[used_BI].double().numpy()
        found_UW, which_K = np.unique(ids_KW, axis=0, return_inverse=True)
        which_K = which_K.reshape(-1)
        totals_UC = np.zeros((len(found_UW), gains_KC.shape[1]))
        np.add.at(totals_UC, which_K, gains_KC)
        pairs = np.unique(np.stack([which_K, text_K]), axis=1)
        texts_U = np.bincount(pairs[0], minlength=len(found_UW))
        for ids, total, texts in zip(found_UW.tolist(), totals_UC, texts_U, strict=True):
            key = tuple(ids)
            self.totals[key] = self.totals.get(key, 0.0) + total
            self.texts[key] = self.texts.get(key, 0) + int(texts)

    def top(
        self, label: int, count: int, sign: int, names: dict[int, str] | None
    ) -> tuple[Fragment, ...]:
        """The n-grams with the largest sums for (`sign` 1) or against (-1) a class."""
        ranked = sorted(
            ((sign * float(total[label]), key) for key, total in self.totals.items()),
            key=lambda pair: (-pair[0], pair[1]),
        )
        found = []
        for total, key in ranked[:count]:
            if total <= 0:
                break
            found.append(
                Fragment(
                    tokens=key,
                    text=spelled(key, names),
                    label=label,
                    total=sign * total,
                    texts=self.texts[key],
                    mean=sign * total / self.texts[key],
                )
            )
        return tuple(found)


def spelled(ids: tuple[int, ...], names: dict[int, str] | None) -> str:
    """The tokens' names, `_` beside the text."""
    return " ".join("_" if each == BESIDE else (names or {}).get(each, str(each)) for each in ids)


def strength(part: Part) -> np.ndarray:
    """Absolute contributions of each text's windows to any class, summed: (B,)."""
    return np.asarray(part.contribution.abs().sum((1, 2)).to(torch.float64))
