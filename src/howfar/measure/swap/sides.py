"""Both sides of a model that reads both ways: how far back, and how far ahead.

Idea     the same targets in the middle of the rows, once with the past changed and the future
         fixed, once the other way round. Each side's share is C_side(0) / C_both(0): a side that
         does next to nothing has a reach all the same
Units    kept tokens on each side, the target counted in both
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from howfar.core.errors import UsageError
from howfar.core.protocols import Predict
from howfar.measure import probe
from howfar.measure.swap.asking import Plain
from howfar.measure.swap.notes import ONE_SIDE
from howfar.measure.swap.options import SwapOptions
from howfar.measure.swap.paired import Paired
from howfar.measure.swap.reach import swap_reach
from howfar.measure.swap.region import around
from howfar.measure.swap.result import Share, SwapReach
from howfar.measure.swap.setup import positions
from howfar.measure.swap.share import share_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapSides:
    """The reach into the past and the reach into the future, at the same targets.

    past_share, future_share: what changing that side does, as a share of the swap of the whole row;
    each side has the target. None: the row has no influence.
    """

    past: SwapReach
    future: SwapReach
    past_share: Share | None
    future_share: Share | None


def swap_sides(
    predict: Predict | Sequence[Predict],
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    labels: Tensor | None = None,
    targets: Tensor | str = "middle",
    options: SwapOptions | None = None,
) -> SwapSides:
    """Measure the swap reach on either side of targets that have tokens on both.

    Args:
        predict: as for `swap_reach`, with outputs a position.
        tokens: integer (N, L), or real (N, L) or (N, L, D); rows are each other's donors.
        lengths: (N,) real tokens a row; padding on the right.
        labels: (N, L) classes a position, or (N,) at the target.
        targets: "middle" or (N,) positions.
        options: see `SwapOptions`; its side is set here.

    Raises:
        UsageError: shapes or options that do not fit. DataError: the model answers NaN.
    """
    options = options or SwapOptions()
    models = list(predict) if isinstance(predict, Sequence) else [predict]
    if isinstance(targets, str) and tokens.ndim > 1 and tokens.shape[1] < 3:
        raise UsageError("E-SHAPE", "Rows of two tokens have no middle.", "rows of 3 or more.")
    found = {
        side: swap_reach(
            models,
            tokens,
            lengths=lengths,
            labels=labels,
            targets=targets,
            options=replace(options, side=side),
        )
        for side in ("past", "future")
    }
    seqs = probe.sequences(tokens, lengths, positions(targets, tokens, lengths))
    row = around(seqs, seqs.targets)
    swap = replace(options, how="swap", grid=(0,))
    both = Paired(Plain(models, seqs, options.batch), seqs, row, swap)
    shares: list[Share | None] = [None, None]
    if both.whole.mean() > 3 * both.floor:
        whole = both.whole_by_way
        parts = (found[side].curve.matrix[..., 0] for side in ("past", "future"))
        shares = [
            share_of(np.broadcast_to(part_SN, whole.shape), whole, both.ways, options)
            for part_SN in parts
        ]
    said = tuple(text for text in found["past"].warnings if text != ONE_SIDE)
    return SwapSides(
        past=replace(found["past"], warnings=said),
        future=found["future"],
        past_share=shares[0],
        future_share=shares[1],
    )
