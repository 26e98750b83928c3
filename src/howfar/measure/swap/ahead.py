"""Does a model look ahead? A reach of one side must not pass for the reach of a model of two.

Idea     swap everything after the target once: a causal model does not move
Limits   a sample: at most one batch of rows, two in the fast design; a model that answers once a
         sequence has nothing ahead of its last token. A share of 1e-4 of the past's effect is let
         pass: small leaks are a question of their own
"""

from dataclasses import replace

import torch

from howfar.core.errors import DataError
from howfar.core.protocols import Streaming
from howfar.measure import probe
from howfar.measure.swap.asking import Plain
from howfar.measure.swap.doubt import Effects
from howfar.measure.swap.fast import Fast
from howfar.measure.swap.paired import Paired
from howfar.measure.swap.region import future

SMALL_SHARE = 1e-4
FEW_ROWS = 2


def looks_ahead(effects: Effects, batch: int) -> bool:
    """Whether what comes after the target moves the output of any of the models.

    Where targets are the last tokens, one batch is asked at the middle of its rows instead; a model
    of one answer a sequence then has nothing ahead, and a `Streaming` one is causal as it is built.
    """
    seqs, whole = effects.seqs, float(effects.whole.mean())
    if isinstance(effects, Paired) and bool((seqs.targets < seqs.lengths - 1).any()):
        after_NL = future(seqs).far(1)
        moved = effects.change("swap", after_NL)[0].mean()
        return bool(moved > max(3 * effects.floor, SMALL_SHARE * whole))
    if isinstance(effects, Paired) and not isinstance(effects.asking, Plain):
        return False
    rows = slice(min(batch, FEW_ROWS) if isinstance(effects, Fast) else batch)
    lengths = seqs.lengths[rows]
    part = probe.Sequences(seqs.tokens[rows], lengths, (lengths - 1) // 2)
    given = probe.where_tokens(future(part).far(1), effects.given[0][rows], part.tokens)
    if torch.equal(given, part.tokens):
        return False
    swapped = replace(part, tokens=given)
    asked = [m for m in effects.models if m.everywhere and not isinstance(m.predict, Streaming)]
    effects.spent(2 * len(asked) * len(lengths) / len(seqs.lengths))
    least = max(3 * effects.floor, SMALL_SHARE * whole)
    return any(_moved(model, part, swapped, effects.kind) > least for model in asked)


def _moved(
    model: probe.Asked, clean: probe.Sequences, swapped: probe.Sequences, kind: str
) -> float:
    """By how much the answers to two sets of rows differ."""
    try:
        one_NV, other_NV = (probe.answers(model, p, len(p.tokens)) for p in (clean, swapped))
        return float(probe.diverge(kind, one_NV, other_NV).mean())
    except DataError:  # the middle is not what was asked about: it need not have an answer
        return 0.0
