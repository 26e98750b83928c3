"""The smallest counter-example of a future leak: one row, two positions, as few tokens as do.

Idea     find the end of the swapped stretch by halving, then its beginning, then drop what stands
         behind and before; each step is kept only if the answers before the stretch still move
Limits   halving takes it that more swapped tokens move more; where that fails the stretch or the
         row stays longer than need be, and the example is as true
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from howfar.measure.audit.judge import SAME_SHAPE, Moved, Pair, largest
from howfar.measure.audit.report import Example, example_of
from howfar.measure.audit.rows import Rows
from howfar.measure.audit.subject import How, Refused, Subject

KEPT = 0.25  # of the effect that a smaller example must still show


@dataclass(frozen=True, slots=True)
class _Case:
    """Tokens [start, stop) of the row, of which [first, last) are swapped."""

    start: int
    stop: int
    first: int
    last: int


def smallest_leak(subject: Subject, before: Rows, after: Rows, cut: int, *, exact: bool) -> Example:
    """Shrink a leak seen in one row (1, L) with everything from `cut` on swapped."""
    width = before.width
    show = _Show(subject, before, after, exact=exact)
    whole = _Case(0, width, cut, width)
    found = show(whole)
    if found is None:
        return example_of(before, after, row=0, changed_row=0, source=None, target=None)
    show.least = KEPT * found.effect
    stop = _least(cut + 1, width, lambda stop: show.holds(_Case(0, width, cut, stop)))
    first = _most(cut, stop - 1, lambda first: show.holds(_Case(0, width, first, stop)))
    case = _kept(show, _Case(0, stop, first, stop), _Case(0, width, first, stop))
    start = _most(0, first - 1, lambda start: show.holds(_Case(start, case.stop, first, stop)))
    case = _kept(show, _Case(start, case.stop, first, stop), case)
    found = show(case) or found
    one, other = show.rows(case)
    return example_of(
        one,
        other,
        row=0,
        changed_row=0,
        target=found.place,
        source=case.first - case.start if case.last - case.first == 1 else None,
        effect=found.effect,
        floor=found.limit,
        scale=found.scale,
    )


class _Show:
    """What a case moves before its swapped stretch."""

    def __init__(self, subject: Subject, before: Rows, after: Rows, *, exact: bool) -> None:
        self.subject, self.before, self.after = subject, before, after
        self.how = How(exact=exact)
        self.least = 0.0

    def rows(self, case: _Case) -> tuple[Rows, Rows]:
        part, swapped = slice(case.start, case.stop), slice(case.first, case.last)
        tokens = self.before.tokens.clone()
        tokens[:, swapped] = self.after.tokens[:, swapped]
        lengths = torch.full_like(self.before.lengths, case.stop - case.start)
        return Rows(self.before.tokens[:, part], lengths), Rows(tokens[:, part], lengths)

    def __call__(self, case: _Case) -> Moved | None:
        one, other = self.rows(case)
        past = (torch.arange(one.width) < case.first - case.start)[None, :]
        try:
            before, after = (self.subject.answer(rows, self.how) for rows in (one, other))
        except Refused:
            return None
        pair = Pair(before, after, past)
        found = largest(self.subject, pair, SAME_SHAPE, exact=self.how.exact)
        return found if found.effect > found.limit else None

    def holds(self, case: _Case) -> bool:
        found = self(case)
        return found is not None and found.effect >= self.least


def _kept(show: _Show, smaller: _Case, case: _Case) -> _Case:
    return smaller if smaller == case or show.holds(smaller) else case


def _least(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The smallest of low .. high that holds, if holding goes on upwards; `high` is known to."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return high


def _most(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The largest of low .. high that holds, if holding goes on downwards; `low` is known to."""
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low
