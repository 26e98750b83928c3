"""What becomes of far tokens: another row's, the row's own in another order, or left out.

Idea     swap      the donor's token at the same place: what far tokens are, and where, is lost
         shuffle   far tokens change places with one another: their order alone is lost
         reverse   far tokens in reversed order: the same, without chance
         drop      far tokens are left out and the rest moves together; the target's own place stays
                   and takes the donor's token where it is far
Shapes   tokens (N, W) or (N, W, D), far (N, W)
Limits   a special token that opens every row is its donor's too, so a swap leaves it; another order
         or a drop moves it: leave it out by `only`. A dropped token shifts the positions of the
         rest, and shortens the row
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from howfar.core.seeds import Seeds
from howfar.measure import probe
from howfar.measure.swap.options import SwapOptions
from howfar.measure.swap.region import Region


@dataclass(frozen=True, slots=True)
class Draw:
    """The chance in one change.

    way: (N,), each row's donor; given: the donors' tokens; keys: (N, W), an order of the places.
    """

    way: np.ndarray
    given: Tensor
    keys: Tensor


Change = Callable[[probe.Sequences, Tensor, Region, Draw], probe.Sequences]


def draws(seqs: probe.Sequences, options: SwapOptions) -> list[Draw]:
    """One a donor: the donors' tokens, and an order that is the same at every k."""
    seeds = Seeds(options.seed)
    ways = probe.donors(len(seqs.tokens), options.donors, seeds.numpy("swap donors"))
    orders = seeds.numpy("swap orders")
    shape = seqs.tokens.shape[:2]
    return [
        Draw(way, probe.donor_tokens(seqs, way), torch.from_numpy(orders.random(shape)))
        for way in ways
    ]


def swap(seqs: probe.Sequences, far_NW: Tensor, region: Region, draw: Draw) -> probe.Sequences:
    """Take far tokens from the donors."""
    tokens = probe.where_tokens(far_NW, draw.given, seqs.tokens)
    return probe.Sequences(tokens, seqs.lengths, seqs.targets)


def shuffle(seqs: probe.Sequences, far_NW: Tensor, region: Region, draw: Draw) -> probe.Sequences:
    """Give the far places the far tokens in a random order."""
    return _reordered(seqs, far_NW, draw.keys)


def reverse(seqs: probe.Sequences, far_NW: Tensor, region: Region, draw: Draw) -> probe.Sequences:
    """Give the far places the far tokens from the last to the first."""
    width = far_NW.shape[1]
    return _reordered(seqs, far_NW, -torch.arange(width)[None, :].expand_as(far_NW) / width)


def drop(seqs: probe.Sequences, far_NW: Tensor, region: Region, draw: Draw) -> probe.Sequences:
    """Leave the far tokens out; rows stay together on the left, zeros follow where they end."""
    place_W = torch.arange(far_NW.shape[1])
    out_NW = far_NW & (place_W[None, :] != region.anchors[:, None])
    swapped = swap(seqs, far_NW & ~out_NW, region, draw).tokens
    order_NW = (2 * out_NW + (place_W[None, :] >= seqs.lengths[:, None])).argsort(
        dim=1, stable=True
    )
    tokens = _taken(swapped, order_NW)
    gone_N = out_NW.sum(1)
    kept_NW = place_W[None, :] < len(place_W) - gone_N[:, None]
    tokens = probe.where_tokens(kept_NW, tokens, torch.zeros_like(tokens))
    lengths = seqs.lengths - gone_N
    before_N = (out_NW & (place_W[None, :] < seqs.targets[:, None])).sum(1)
    return probe.Sequences(tokens[:, : int(lengths.max())], lengths, seqs.targets - before_N)


CHANGES: dict[str, Change] = {"swap": swap, "shuffle": shuffle, "reverse": reverse, "drop": drop}


def _reordered(seqs: probe.Sequences, far_NW: Tensor, key_NW: Tensor) -> probe.Sequences:
    """Far tokens by key; both orders list the far places first and the others in place."""
    place_NW = torch.arange(far_NW.shape[1])[None, :].expand_as(far_NW)
    into_NW = torch.where(far_NW, place_NW, place_NW + far_NW.shape[1]).argsort(dim=1, stable=True)
    key_NW = key_NW.double()
    from_NW = torch.where(far_NW, key_NW, place_NW + 2.0).argsort(dim=1, stable=True)
    source_NW = torch.empty_like(place_NW).scatter(1, into_NW, from_NW)
    return probe.Sequences(_taken(seqs.tokens, source_NW), seqs.lengths, seqs.targets)


def _taken(tokens: Tensor, index_NW: Tensor) -> Tensor:
    """Tokens at the places named in each row."""
    if tokens.ndim == 3:
        return tokens.gather(1, index_NW[..., None].expand_as(tokens))
    return tokens.gather(1, index_NW)
