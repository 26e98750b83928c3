"""What attention weights say about distance, added up row by row and never held as T x T.

Idea     for a query at t and keys s: distance sum_s A_ts |t - s|, entropy -sum_s A_ts ln A_ts,
         shares of the sinks, of the query itself and of what lies ahead, and the mass at every lag
Shapes   a call gives rows (B, H, M, T); sums are (B, H) and mass by lag (B, H, T)
Units    distances in positions, entropy in nats; every row is scaled to a sum of 1
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from howfar.core.errors import DataError, UsageError
from howfar.measure.attention.rows import Attended

BLOCK = 2**22  # weights that are looked at together
SLACK = 1e-3  # rows of half precision do not add up to 1 exactly


@dataclass(frozen=True, slots=True)
class View:
    """Which queries are looked at: places (M,) in rows of T; sinks (B, T) or (1, T), true there."""

    places: Tensor
    sinks: Tensor


@dataclass(slots=True)
class Looked:
    """Means over queries of one call, float64.

    numbers: (B, H) each by name. past, bare: (B, H, T) mass by lag t - s, with and without sinks;
    ahead: (B, H, T) mass by s - t; weighted: `past` with weights times value norms, or None.
    """

    numbers: dict[str, Tensor]
    past: Tensor
    bare: Tensor
    ahead: Tensor
    weighted: Tensor | None


def look(attended: Attended, view: View) -> Looked:
    """Go through the rows of a call, block by block.

    Raises:
        DataError: E-OUTPUT for weights that are no numbers. UsageError: E-WEIGHTS for rows that
            are negative or add up to more than 1.
    """
    norms_BHT = attended.value_norms()
    sums: _Sums | None = None
    places = list(view.places.tolist())
    step = 1
    while places:
        rows_BHMT = attended.rows(torch.tensor(places[:step])).detach().cpu().double()
        _check(rows_BHMT)
        if sums is None:
            sums = _Sums(rows_BHMT, norms_BHT is not None)
        _add(sums, rows_BHMT, places[:step], view.sinks, norms_BHT)
        places = places[step:]
        step = max(1, BLOCK * rows_BHMT.shape[2] // rows_BHMT.numel())
    if sums is None:
        raise UsageError("E-SHAPE", "There is no query position to look at.", "a smaller first=.")
    return sums.means(len(view.places))


class _Sums:
    def __init__(self, rows_BHMT: Tensor, weighted: bool) -> None:
        batch, heads, _, length = rows_BHMT.shape
        empty = torch.zeros(batch, heads, length, dtype=torch.float64)
        self.past, self.bare, self.ahead = empty.clone(), empty.clone(), empty.clone()
        self.weighted = empty.clone() if weighted else None
        self.numbers: dict[str, Tensor] = {}

    def number(self, name: str, value_BH: Tensor) -> None:
        self.numbers[name] = self.numbers.get(name, 0.0) + value_BH

    def means(self, num: int) -> Looked:
        return Looked(
            {name: value / num for name, value in self.numbers.items()},
            self.past / num,
            self.bare / num,
            self.ahead / num,
            None if self.weighted is None else self.weighted / num,
        )


def _add(
    sums: _Sums,
    rows_BHMT: Tensor,
    places: Sequence[int],
    sinks_BT: Tensor,
    norms_BHT: Tensor | None,
) -> None:
    rows_BHMT = _scaled(rows_BHMT)
    length = rows_BHMT.shape[-1]
    place_T, place_M = torch.arange(length), torch.tensor(places)
    far_MT = (place_M[:, None] - place_T).abs().double()
    entropy_BHM = torch.special.entr(rows_BHMT).sum(-1)
    bare_BHMT = rows_BHMT.masked_fill(sinks_BT[:, None, None, :], 0.0)
    sums.number("distance", (rows_BHMT * far_MT).sum((-1, -2)))
    sums.number("entropy", entropy_BHM.sum(-1))
    sums.number("effective", entropy_BHM.exp().sum(-1))
    sums.number("sink", (rows_BHMT - bare_BHMT).sum((-1, -2)))
    sums.number("itself", (rows_BHMT * (far_MT == 0)).sum((-1, -2)))
    sums.number("ahead", (rows_BHMT * (place_T > place_M[:, None])).sum((-1, -2)))
    _by_lag(sums.past, rows_BHMT, places)
    _by_lag(sums.bare, bare_BHMT, places)
    for i, t in enumerate(places):
        sums.ahead[..., 1 : length - t] += bare_BHMT[:, :, i, t + 1 :]
    if norms_BHT is not None and sums.weighted is not None:
        weighted_BHMT = _scaled(rows_BHMT * norms_BHT.cpu()[:, :, None, :])
        sums.number("weighted", (weighted_BHMT * far_MT).sum((-1, -2)))
        _by_lag(sums.weighted, weighted_BHMT, places)


def _by_lag(sum_BHT: Tensor, rows_BHMT: Tensor, places: Sequence[int]) -> None:
    for i, t in enumerate(places):
        sum_BHT[..., : t + 1] += rows_BHMT[:, :, i, : t + 1].flip(-1)


def _scaled(rows_BHMT: Tensor) -> Tensor:
    total = rows_BHMT.sum(-1, keepdim=True)
    return torch.where(total > 0, rows_BHMT / total, 0.0)


def _check(rows_BHMT: Tensor) -> None:
    if not bool(rows_BHMT.isfinite().all()):
        message = "The attention weights are not numbers, or infinite."
        raise DataError("E-OUTPUT", message, "check the model for overflow; nothing was measured.")
    if bool((rows_BHMT < 0).any()) or bool((rows_BHMT.sum(-1) > 1 + SLACK).any()):
        message = "Rows of attention weights must be 0 or more and add up to 1 at most."
        raise UsageError("E-WEIGHTS", message, "weights after the softmax, keys last.")


@dataclass(slots=True)
class Tally:
    """Means over sequences by layer and head, and mass by lag a sequence.

    names, kinds, lengths, weighted_by: of each layer. numbers: by layer, (H,) sums over rows;
    mass: by layer, name -> (H, K) sums over rows. by_row: name -> list of (K,) arrays.
    """

    names: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    weighted_by: list[str] = field(default_factory=list)
    numbers: list[dict[str, np.ndarray]] = field(default_factory=list)
    mass: list[dict[str, np.ndarray]] = field(default_factory=list)
    rows: int = 0

    def add(self, layer: int, attended: Attended, looked: Looked) -> None:
        """Take in one call of one batch."""
        if layer == len(self.names):
            self.names.append(attended.name)
            self.kinds.append(attended.kind)
            self.lengths.append(0)
            by = "W_O v" if attended.out_map is not None else "v"
            self.weighted_by.append(by if looked.weighted is not None else "")
            self.numbers.append({})
            self.mass.append({})
        self.lengths[layer] = max(self.lengths[layer], attended.length)
        numbers, mass = self.numbers[layer], self.mass[layer]
        for name, value_BH in looked.numbers.items():
            numbers[name] = numbers.get(name, 0.0) + value_BH.sum(0).numpy()
        for name in ("past", "bare", "ahead", "weighted"):
            value_BHT = getattr(looked, name)
            if value_BHT is not None:
                new_HT = value_BHT.sum(0).numpy()
                mass[name] = new_HT if name not in mass else longer_sum(mass[name], new_HT)


def longer_sum(a_HK: np.ndarray, b_HK: np.ndarray) -> np.ndarray:
    """The sum of two arrays (H, K) of different K, zeros beyond their ends."""
    a_HK, b_HK = (a_HK, b_HK) if a_HK.shape[1] >= b_HK.shape[1] else (b_HK, a_HK)
    total = a_HK.copy()
    total[:, : b_HK.shape[1]] += b_HK
    return total
