"""Is a model that knows its future meant to? It reads both sides alike, or it leaks.

Idea     a(d): what swapping everything from d tokens ahead does; b(d): the same behind. A model
         that reads both sides has both, of like size and like extent. A causal model with a leak
         looks ahead weakly, or over a short and sharply ended stretch, beside a long past
Units    d in tokens, 1 = the next
Limits   a judgement, not a measurement: a model that must be causal should say so
"""

import torch
from torch import Tensor

from howfar.measure.audit.judge import Pair, moved, scale
from howfar.measure.audit.rows import Material, Rows
from howfar.measure.audit.subject import Subject

REPEATS = 4
WEAKER = 1e-2  # ahead / behind, mean over distances: less is a leak
FAINT = 1e-4  # of the output: less is a leak
EXTENT = 1e-3  # of the largest: where an influence is said to end
NOTHING = 1e-6  # of the largest: behind a sharp end
SHORT = 2  # tokens ahead that are a leak if nothing behind is read


def both_sides(subject: Subject, material: Material, rows: Rows) -> bool:
    """Whether the future is read as the past is."""
    ahead_D, behind_D, size = _profiles(subject, material, rows)
    if len(ahead_D) == 0 or float(ahead_D.max()) <= FAINT * size:
        return False
    far_ahead, sharp = _extent(ahead_D)
    far_behind, _ = _extent(behind_D)
    if far_behind == 0:
        return far_ahead > SHORT
    if sharp and 2 * far_ahead < far_behind:
        return False
    return float(ahead_D.mean()) >= WEAKER * float(behind_D.mean())


def _extent(effect_D: Tensor) -> tuple[int, bool]:
    """The furthest distance with an effect worth naming, and whether nothing at all follows."""
    top = float(effect_D.max())
    if top == 0:
        return 0, True
    last = int((effect_D > EXTENT * top).nonzero().max()) + 1
    beyond = effect_D[last:]
    return last, bool(len(beyond)) and float(beyond.max()) <= NOTHING * top


def _profiles(subject: Subject, material: Material, rows: Rows) -> tuple[Tensor, Tensor, float]:
    """a(1), a(2), ... and b(1), b(2), ..., means over rows and repeats; the output's size."""
    lengths = rows.lengths.cpu()
    span = int(lengths.max()) // 4
    long = lengths >= 4 * span
    if span < 1:
        return torch.zeros(0), torch.zeros(0), 0.0
    clean = subject.answer(rows)
    ahead: list[Tensor] = []
    behind: list[Tensor] = []
    size = 0.0
    for repeat in range(REPEATS):
        jitter = torch.tensor(material.order(len(lengths), f"sides {repeat}")) * 7 % (2 * span + 1)
        cut_B = span + jitter
        nothing, everything = torch.zeros_like(cut_B), lengths
        for first, last, found, step in (
            (cut_B, everything, ahead, -1),
            (nothing, cut_B, behind, 1),
        ):
            swapped = material.swapped(rows, first, last, f"sides {repeat}")
            pair = Pair(clean, subject.answer(swapped), rows.real_BL)
            size = max(size, scale(pair))
            start_B = cut_B - 1 if step > 0 else cut_B
            place = start_B[:, None] + step * torch.arange(1, span + 1)[None, :]
            effect = moved(pair).nan_to_num(posinf=0.0)
            place = place.clamp(0, effect.shape[1] - 1)
            found.append(effect.gather(1, place)[long])
    return torch.cat(ahead).mean(0), torch.cat(behind).mean(0), size
