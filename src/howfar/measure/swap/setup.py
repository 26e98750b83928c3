"""From what a user gives to effects that can be asked for at any k.

Idea     which rows are changed (the tokens, or the source), which of their places are far, and who
         is asked: one `Paired` for every combination, or `Fast` for the plainest
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from howfar.core.errors import UsageError
from howfar.measure import probe
from howfar.measure.swap.asking import Asking, Decoders, Plain
from howfar.measure.swap.doubt import Effects
from howfar.measure.swap.effects import at_targets
from howfar.measure.swap.fast import Fast
from howfar.measure.swap.options import SwapOptions
from howfar.measure.swap.paired import Paired
from howfar.measure.swap.region import Region, around, future, past
from howfar.measure.swap.source import centres, check_centres, source_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What is measured on, as `swap_reach` takes it."""

    tokens: Tensor
    lengths: Tensor | None
    labels: Tensor | None
    targets: Tensor | str
    only: Tensor | None
    source: Tensor | None
    source_lengths: Tensor | None
    centre: Tensor | None


def set_up(models: Sequence[Any], given: Given, options: SwapOptions) -> Effects:
    """Check what was given, and measure the effects on the grid.

    Raises:
        UsageError: what does not fit together.
    """
    _check_side(given, options)
    seqs = probe.sequences(
        given.tokens, given.lengths, positions(given.targets, given.tokens, given.lengths)
    )
    if options.design == "fast":
        _check_fast(given, options)
        return Fast(models, seqs, given.labels, options)
    if given.source is None:
        asking, rows, region = _plain(models, seqs, options)
    else:
        source = source_rows(given.source, given.source_lengths, len(seqs.tokens))
        asking, rows, region = _decoding(models, seqs, source, given.centre, options)
    if given.only is not None:
        region = region.only(_class(given.only, rows))
        if region.top == 0:
            message = "No token of the class is on this side of any target."
            raise UsageError("E-OPTION", message, "another class, or more sequences.")
    return Paired(asking, rows, region, options, at_targets(given.labels, seqs))


def _plain(
    models: Sequence[Any], seqs: probe.Sequences, options: SwapOptions
) -> tuple[Asking, probe.Sequences, Region]:
    region = future(seqs) if options.side == "future" else past(seqs)
    if options.side == "future" and region.top == 1:
        message = "There is no future at the last token of a row."
        raise UsageError("E-OPTION", message, 'targets="middle", or positions (N,).')
    return Plain(models, seqs, options.batch), seqs, region


def _decoding(
    models: Sequence[Any],
    seqs: probe.Sequences,
    source: probe.Sequences,
    centre: Tensor | None,
    options: SwapOptions,
) -> tuple[Asking, probe.Sequences, Region]:
    asking = Decoders(models, seqs, source, options.side, options.batch)
    if options.side == "self":
        return asking, seqs, past(seqs)
    if centre is None:
        centre = centres(asking, options)
    return asking, source, around(source, check_centres(centre, source))


def positions(targets: Tensor | str, tokens: Tensor, lengths: Tensor | None) -> Tensor | str:
    """Middles become positions."""
    if not isinstance(targets, str) or targets != "middle":
        return targets
    if lengths is not None:
        return lengths // 2
    return torch.full((len(tokens),), tokens.shape[1] // 2)


def _class(only: Tensor, rows: probe.Sequences) -> Tensor:
    shape = tuple(rows.tokens.shape[:2])
    if only.dtype != torch.bool or tuple(only.shape) != shape:
        message = f"only must be bool {shape}, got {only.dtype} {tuple(only.shape)}."
        raise UsageError("E-SHAPE", message, "true at the tokens that may be changed.")
    return only


def _check_side(given: Given, options: SwapOptions) -> None:
    decoding = options.side in ("self", "source")
    if decoding != (given.source is not None):
        message = (
            f"side={options.side!r} does not fit {'tokens alone' if decoding else 'a source'}."
        )
        hint = 'a source, and side="self" or "source"; without one, "past" or "future".'
        raise UsageError("E-OPTION", message, hint)
    if given.centre is not None and options.side != "source":
        message = "centre names source places, and the source is not what is changed."
        raise UsageError("E-OPTION", message, 'side="source".')


def _check_fast(given: Given, options: SwapOptions) -> None:
    if not isinstance(given.targets, str):
        message = "The fast design reads every position behind its cuts, not chosen targets."
        raise UsageError("E-OPTION", message, 'design="paired", or targets="last".')
    plain = options.side == "past" and options.how == "swap"
    if not plain or given.only is not None or given.targets != "last":
        message = "The fast design swaps all of the past of a causal model, and nothing else."
        raise UsageError("E-OPTION", message, 'design="paired".')
