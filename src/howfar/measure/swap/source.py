"""Encoder-decoders: the source's part of the effect, and the place in it that matters most.

Idea     source share = C(source swapped) / C(source and prefix swapped);
         centre = argmax_s D(f(x), f(x with source token s swapped)), row by row
Shapes   source (N, W) or (N, W, D); effects (S, N)
Limits   finding centres asks once a source token, and takes the largest of as many effects of one
         donor: name the centres where they are known (an alignment)
"""

import numpy as np
import torch
from torch import Tensor

from howfar.core.errors import UsageError
from howfar.measure import probe
from howfar.measure.swap.asking import Decoders
from howfar.measure.swap.change import draws, swap
from howfar.measure.swap.doubt import Effects
from howfar.measure.swap.options import SwapOptions
from howfar.measure.swap.paired import Paired
from howfar.measure.swap.region import around, past, real
from howfar.measure.swap.result import Share
from howfar.measure.swap.share import share_of


def source_rows(source: Tensor, lengths: Tensor | None, num: int) -> probe.Sequences:
    """Check the source's shapes; its last place stands in for a target.

    Raises:
        UsageError: E-SHAPE.
    """
    if source.ndim not in (2, 3) or len(source) != num or source.shape[1] < 1:
        message = f"source must be ({num}, W) or ({num}, W, D), got {tuple(source.shape)}."
        raise UsageError("E-SHAPE", message, "one source a row of tokens, padded on the right.")
    return probe.sequences(source, lengths, "last")


def centres(asking: Decoders, options: SwapOptions) -> Tensor:
    """The source place of each row whose swap moves the output most: (N,)."""
    source = asking.source
    moved_NW = np.zeros(source.tokens.shape[:2])
    clean = asking.both(asking.seqs, source)
    kind = probe.divergence_kind(options.divergence, asking.tokens, clean[0].shape[1])
    for draw in draws(source, options):
        for place in range(source.tokens.shape[1]):
            one_NW = torch.zeros(source.tokens.shape[:2], dtype=torch.bool)
            one_NW[:, place] = True
            part = swap(source, one_NW & real(source), around(source, source.targets), draw)
            for before, after in zip(clean, asking.both(asking.seqs, part), strict=True):
                moved_NW[:, place] += probe.diverge(kind, before, after)
    return torch.from_numpy(moved_NW.argmax(1))


def check_centres(centre: Tensor, source: probe.Sequences) -> Tensor:
    """Named centres must be real source places.

    Raises:
        UsageError: E-SHAPE.
    """
    fits = centre.shape == source.lengths.shape and not centre.is_floating_point()
    if not fits or bool((centre < 0).any() | (centre >= source.lengths).any()):
        message = "centre must be (N,) places of real source tokens."
        raise UsageError("E-SHAPE", message, "leave it out: the most influential one is found.")
    return centre


def source_share(effects: Effects, options: SwapOptions) -> Share | None:
    """The source's share of the effect of source and prefix; None: no encoder-decoder."""
    if not isinstance(effects, Paired) or not isinstance(effects.asking, Decoders):
        return None
    asking = effects.asking
    tokens, source = asking.seqs, asking.source
    here, there = past(tokens), around(source, source.targets)
    alone, both = np.zeros_like(effects.whole_by_way), np.zeros_like(effects.whole_by_way)
    pairs = zip(draws(tokens, options), draws(source, options), strict=True)
    for way, (of_tokens, of_source) in enumerate(pairs):
        other_source = swap(source, there.everything, there, of_source)
        other_tokens = swap(tokens, here.everything, here, of_tokens)
        for moved_WSN, prefix in ((alone, tokens), (both, other_tokens)):
            for s, answer_NV in enumerate(asking.both(prefix, other_source)):
                moved_WSN[way, s] = probe.diverge(effects.kind, effects.clean[s], answer_NV)
    if both.mean() <= 3 * effects.floor:
        return None
    return share_of(alone, both, effects.ways, options)
