"""Does an answer know tokens that come after it?

Idea     swap everything from a cut on for other tokens of the data: the answers before the cut
         must not move. Every cut on two rows, so that a leak at one place (a block's border) or of
         one sign (x * sign(x_next), where gradients are 0) is met; forward passes only
Units    positions count from 0; `cut` is the first swapped position
Limits   inputs are sampled: no finding is no proof. Rows are cut, so what happens later is not seen
Source   our own; a check by gradients is blind to x * sign(x_next) and weighs a leak by energy
"""

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from howfar.measure.audit.judge import SAME_SHAPE, Moved, Pair, limit, moved, scale
from howfar.measure.audit.leak_case import smallest_leak
from howfar.measure.audit.leak_sides import both_sides
from howfar.measure.audit.options import AuditOptions
from howfar.measure.audit.report import Finding, Outcome
from howfar.measure.audit.rows import Material, Rows
from howfar.measure.audit.subject import How, Subject

ON_EACH = 2  # rows a cut
SCOUTS = 4  # calls before it is asked whether the model is meant to read both sides
ALMOST_ALL = 0.9
PLAIN = 1e-3  # of the output: more is no rounding for sure
NAMED = 6  # cuts listed in a message


@dataclass(frozen=True, slots=True)
class Hit:
    """One swap that moved the past: call and row of the sweep, first swapped position, how far."""

    call: int
    row: int
    cut: int
    effect: float


def check_leak(
    subject: Subject, material: Material, options: AuditOptions, claim: str | None
) -> Outcome:
    """Future leak of a model with an output a position.

    Args:
        subject: the model.
        material: rows.
        options: how many cuts, how many seconds.
        claim: why the model counts as causal; "" if it counts as reading both sides; None: it does
            not say, so a model that plainly reads both sides is taken for one that is meant to.
    """
    if not subject.everywhere:
        return Outcome(skipped="the model gives one output a sequence, which may know it all")
    if claim == "":
        return Outcome(skipped="the model is said to read both sides")
    rows = material.rows.pick([0]) if subject.mixing else material.rows
    if int(rows.lengths.max()) < 2:
        return Outcome(skipped="rows of one token have no future")
    sweep = Sweep(subject, material, rows, options)
    sweep.run(SCOUTS)
    many = len(sweep.hits) >= ALMOST_ALL * max(sweep.tried, 1)
    if claim is None and many and both_sides(subject, material, rows):
        note = "reads both sides: each answer knows tokens after it (causal=True if it must not)"
        return Outcome(skipped="the model reads both sides", notes=(note,))
    sweep.run(len(sweep.plan))
    return _outcome(sweep, claim)


def _outcome(sweep: "Sweep", claim: str | None) -> Outcome:
    notes: tuple[str, ...] = ()
    if sweep.done < len(sweep.plan):
        notes = (f"time was up: the future was swapped {sweep.tried} times of {sweep.planned}",)
    if not sweep.hits:
        return Outcome(notes=notes)
    worst = max(sweep.hits, key=lambda hit: hit.effect)
    before, after = sweep.asked(worst)
    example = smallest_leak(sweep.subject, before, after, worst.cut, exact=sweep.exact)
    leaking = sorted({hit.cut for hit in sweep.hits})
    share = len(sweep.hits) / sweep.tried
    if len(leaking) <= NAMED:
        where = f"only where the future begins at {', '.join(map(str, leaking))}"
    else:
        where = f"in {share:.0%} of {sweep.tried} swaps"
    found = Moved(example.effect, 0, 0, example.scale, example.floor, sweep.exact)
    source = "later tokens change"
    if example.source is not None:
        ahead = example.source - (example.target or 0)
        source = f"token {example.source}, {ahead} ahead, changes"
    why = f" ({claim})" if claim else ""
    message = (
        f"The answer at position {example.target} {found.words()} when {source}{why}; {where}."
    )
    return Outcome((Finding("future_leak", message, example),), notes=notes)


class Sweep:
    """Swap the future at one cut a row and call; the unswapped rows are asked once.

    plan: (calls, B) cuts; a row's own length where it is left alone. hits: what moved.
    exact: in float64, which is turned to where float32 shows small differences everywhere.
    """

    def __init__(
        self, subject: Subject, material: Material, rows: Rows, options: AuditOptions
    ) -> None:
        self.subject, self.material, self.rows = subject, material, rows
        self.plan = _plan(rows.lengths.tolist(), options.cuts, material)
        self.planned = int((self.plan < rows.lengths.cpu()[None, :]).sum()) if len(self.plan) else 0
        self.until = time.monotonic() + options.seconds
        self.exact = False
        self.restart()

    def restart(self) -> None:
        """From the first call again."""
        self.done, self.tried = 0, 0
        self.hits: list[Hit] = []
        self.clean = self.subject.answer(self.rows, How(exact=self.exact))

    def run(self, calls: int) -> None:
        """Make the calls up to this number, or up to the time."""
        while self.done < min(calls, len(self.plan)):
            if self.done >= SCOUTS and time.monotonic() > self.until:
                return
            self._call()

    def _call(self) -> None:
        cut_B = self.plan[self.done]
        swapped = self._swapped(self.done)
        answer = self.subject.answer(swapped, How(exact=self.exact))
        place = torch.arange(self.rows.width)[None, :]
        past_BL = (place < cut_B[:, None]) & self.rows.real_BL
        pair = Pair(self.clean, answer, past_BL)
        effect_B = moved(pair).amax(1)
        size = scale(pair)
        floor = limit(self.subject, size, SAME_SHAPE, exact=self.exact)
        largest = float(effect_B.max())
        if not self.exact and 0 < largest < PLAIN * size and self.subject.can_be_exact:
            done = self.done
            self.exact = True
            self.restart()
            self.run(done + 1)
            return
        for row, effect in enumerate(effect_B.tolist()):
            if effect > floor:
                self.hits.append(Hit(self.done, row, int(cut_B[row]), effect))
        self.tried += int((cut_B < self.rows.lengths.cpu()).sum())
        self.done += 1

    def _swapped(self, call: int) -> Rows:
        lengths = self.rows.lengths.cpu()
        return self.material.swapped(self.rows, self.plan[call], lengths, f"leak {call}")

    def asked(self, hit: Hit) -> tuple[Rows, Rows]:
        """The one row before and after the swap, without padding."""
        return self.rows.alone(hit.row), self._swapped(hit.call).alone(hit.row)


def _plan(lengths: list[int], cuts: int, material: Material) -> Tensor:
    """Deal the cuts, the telling ones first, to rows that are long enough: (calls, B)."""
    chosen = _cuts(max(lengths), cuts, material)
    queues: list[list[int]] = [[] for _ in lengths]
    for cut in chosen:
        fit = [row for row, length in enumerate(lengths) if length > cut]
        for row in sorted(fit, key=lambda row: len(queues[row]))[:ON_EACH]:
            queues[row].append(cut)
    calls = max(map(len, queues))
    padded = [
        queue + [length] * (calls - len(queue))
        for queue, length in zip(queues, lengths, strict=True)
    ]
    return torch.tensor(padded).T


def _cuts(length: int, most: int, material: Material) -> list[int]:
    """At most `most` cuts in 1 .. length - 1: the last, block borders, neighbours, then others."""
    first = [length - 1, length // 2, 1]
    for block in (128, 64, 32, 16, 8):
        first += range(block, length, block)
    first += [cut + step for cut in list(first) for step in (-1, 1)]
    first += [2**i for i in range(length.bit_length())]
    others = [cut + 1 for cut in material.order(length - 1, "cuts")]
    order = dict.fromkeys(cut for cut in [*first, *others] if 1 <= cut < length)
    return list(order)[:most]
