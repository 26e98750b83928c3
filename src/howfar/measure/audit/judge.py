"""Is a difference a fault or rounding?

Idea     where two answers must be equal and are not, the same two questions are asked in float64:
         rounding shrinks by 10^8, a fault stays. Where float64 is not to be had, a difference
         counts if it exceeds some units in the last place of the largest output
Units    of the output; `limit` is what rounding may do
Limits   a model that amplifies rounding without bound (a chaotic recurrence) differs from itself
         in any precision over long rows
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from howfar.measure.audit.rows import Rows
from howfar.measure.audit.subject import EVAL, How, Refused, Subject

SAME_SHAPE = 32  # units in the last place that equal shapes may differ by: a Fourier transform
OTHER_SHAPE = 1024  # and other shapes: other kernels, sums in another order, over many layers
SURELY = 16  # units that other shapes may differ by without a second look
IN_DOUBLE = 1e-10  # of the output: what rounding may do in float64
SHRINKS = 1e-3  # a difference that float64 makes this much smaller was mostly rounding


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to compare: (B, P, V) each, where they count (B, P)."""

    one: Tensor
    other: Tensor
    counts: Tensor


@dataclass(frozen=True, slots=True)
class Moved:
    """Where the answers differ most, by how much, against which limit, above which noise."""

    effect: float
    row: int
    place: int
    scale: float
    limit: float
    exact: bool
    floor: float = 0.0

    def words(self) -> str:
        """For a message."""
        if self.effect == torch.inf:
            return "becomes another kind of number (NaN or infinite)"
        how = " in float64" if self.exact else ""
        size = f"outputs up to {self.scale:.2g}, rounding below {self.limit:.1g}{how}"
        return f"moves by {self.effect:.2g} ({size})"


def moved(pair: Pair) -> Tensor:
    """Largest |difference| of each answer, float64 (B, P); infinite where only one is NaN."""
    places = min(pair.one.shape[1], pair.other.shape[1], pair.counts.shape[1])
    found = torch.zeros(len(pair.one), places, dtype=torch.float64)
    for row, (one, other) in enumerate(zip(pair.one, pair.other, strict=True)):
        if one.shape[-1] != other.shape[-1]:
            raise Refused(f"answers of {one.shape[-1]} and of {other.shape[-1]} numbers")
        a, b = one[:places].double(), other[:places].double()
        alike = (a == b) | (a.isnan() & b.isnan())
        away = torch.where(alike, 0.0, (a - b).abs().nan_to_num(torch.inf, torch.inf))
        found[row] = away.amax(-1)
    return torch.where(pair.counts[:, :places], found, 0.0)


def scale(pair: Pair) -> float:
    """Largest finite |answer| that counts."""
    largest = 0.0
    for answer in (pair.one, pair.other):
        places = min(answer.shape[1], pair.counts.shape[1])
        part = answer[:, :places][pair.counts[:, :places]]
        part = part[part.isfinite()].abs()
        largest = max(largest, float(part.max()) if part.numel() else 0.0)
    return largest


def limit(subject: Subject, size: float, units: int, *, exact: bool) -> float:
    """What rounding may do to answers of this size."""
    floor = _noise(subject, units)
    if exact or subject.dtype == torch.float64:
        return max(floor, IN_DOUBLE * size)
    return max(floor, units * torch.finfo(subject.dtype).eps * size)


def judge(
    subject: Subject,
    ask: Callable[[How], Pair],
    how: How = EVAL,
    units: int = SAME_SHAPE,
) -> Moved | None:
    """The largest difference, if it is no rounding."""
    pair = ask(how)
    first = largest(subject, pair, units, exact=how.exact)
    if first.effect == 0 or first.effect == torch.inf or how.exact:
        return first if first.effect > first.limit else None
    trifle = SURELY * torch.finfo(subject.dtype).eps * first.scale if units == OTHER_SHAPE else 0.0
    if first.effect <= max(first.floor, trifle):
        return None
    if not subject.can_be_exact:
        # trying float64 may have shown that the model amplifies rounding: judge again
        first = largest(subject, pair, units, exact=False)
        return first if first.effect > first.limit else None
    exact = largest(subject, ask(replace(how, exact=True)), units, exact=True)
    real = exact.effect > max(exact.limit, SHRINKS * first.effect)
    return exact if real else None


def _noise(subject: Subject, units: int) -> float:
    """What equal questions differ by in this model, with a margin."""
    shapes = max(subject.randomness, subject.rounding) if units == OTHER_SHAPE else 0.0
    return 8 * max(subject.noise, shapes)


def largest(subject: Subject, pair: Pair, units: int, *, exact: bool) -> Moved:
    """The largest difference, whatever it is."""
    found = moved(pair)
    at = int(found.argmax()) if found.numel() else 0
    row, place = divmod(at, max(found.shape[1], 1))
    size = scale(pair)
    effect = float(found[row, place]) if found.numel() else 0.0
    edge = limit(subject, size, units, exact=exact)
    return Moved(effect, row, place, size, edge, exact, _noise(subject, units))


def fewest(holds: Callable[[int], bool], high: int, low: int = 1) -> int:
    """A small n in [low, high] that holds: doubling from `low`, then halving the gap; else high."""
    failed, n = low - 1, low
    while n < high and not holds(n):
        failed, n = n, min(2 * n, high)
    while n - failed > 1:
        middle = (n + failed) // 2
        if holds(middle):
            n = middle
        else:
            failed = middle
    return n


Differ = Callable[[Rows], Moved | None]


def shrunk(differ: Differ, rows: Rows, found: Moved) -> tuple[Rows, Moved]:
    """Fewer rows and tokens that still differ: one row if it can be, or it and the first."""

    def shown(part: Rows) -> Moved | None:
        try:
            return differ(part)
        except Refused:
            return None

    for keep in ([found.row], sorted({0, found.row})):
        smaller = shown(rows.pick(keep))
        if smaller:
            rows, found = rows.pick(keep), smaller
            break
    width = fewest(lambda width: shown(rows.cut(width)) is not None, rows.width)
    part = rows.cut(width)
    return part, shown(part) or found
