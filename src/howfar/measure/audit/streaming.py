"""Does going step by step, or chunk by chunk, give what all at once gives?

Idea     `step(tokens_B, state)` or `chunk(tokens_BC, state)` over the first tokens of a few rows,
         in uneven chunks; each answer must equal the parallel one, and a state that is used twice
         must give the same answer twice
Shapes   step: (B,) -> (B, V) and a state; chunk: (B, C) -> (B, C, V) and a state
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from howfar.measure.audit.judge import OTHER_SHAPE, SAME_SHAPE, Moved, Pair, judge
from howfar.measure.audit.report import Finding, Outcome, example_of, same_rows
from howfar.measure.audit.rows import Material, Rows
from howfar.measure.audit.subject import How, Refused, Subject, raised

STEPS = 48
ROWS = 3
CHUNKS = (1, 3, 8, 1, 16)  # sizes in turn


def check_steps(subject: Subject, material: Material, step: Callable[..., Any] | None) -> Outcome:
    """Whether the model's own way to go on equals the parallel pass.

    Args:
        subject: the model.
        material: rows.
        step: `step(tokens_B, state)`; None: what the model offers as `chunk` or `step`.
    """
    ways = [("step", step)] if step else list(_offered(subject))
    if not ways:
        return Outcome(skipped="the model offers neither step nor chunk")
    if not subject.everywhere:
        return Outcome(skipped="the model gives one output a sequence: no step has an answer")
    rows = material.rows.pick(list(range(min(ROWS, len(material.rows.tokens)))))
    width = min(int(rows.lengths.min()), STEPS)
    rows = rows.cut(width)
    notes = []
    for name, way in ways:
        walk = _Walk(subject, name, way)
        try:
            walk.ask(rows.cut(1), How())
        except Refused as refusal:
            notes.append(f"{name}: {refusal}")
            continue
        finding = _finding(walk, rows) or _reused(walk, rows)
        if finding:
            return Outcome((finding,), notes=tuple(notes))
    if len(notes) == len(ways):
        return Outcome(skipped="; ".join(notes))
    return Outcome(notes=tuple(notes))


def _offered(subject: Subject) -> Iterator[tuple[str, Callable[..., Any]]]:
    owners: list[object] = [subject.predict, *subject.modules]
    for name in ("chunk", "step"):
        for owner in owners:
            way = getattr(owner, name, None)
            if callable(way):
                yield name, way
                break


class _Walk:
    """Go through rows by one way."""

    def __init__(self, subject: Subject, name: str, way: Callable[..., Any]) -> None:
        self.subject, self.name, self.way = subject, name, way

    def ask(self, rows: Rows, how: How) -> Tensor:
        """(B, L, V) from one step or chunk after the other."""
        with self.subject.asking(how):
            state, outputs = None, []
            for part in self.parts(rows, how):
                output, state = self.once(part, state)
                outputs.append(output)
        return self.subject.shaped(torch.cat(outputs, dim=1), rows)

    def parts(self, rows: Rows, how: How) -> list[Tensor]:
        tokens = rows.tokens
        if how.exact and tokens.is_floating_point():
            tokens = tokens.double()
        if self.name == "step":
            return [tokens[:, place] for place in range(rows.width)]
        sizes = [CHUNKS[i % len(CHUNKS)] for i in range(rows.width)]
        return list(torch.split(tokens, _until(sizes, rows.width), dim=1))

    def once(self, part: Tensor, state: object) -> tuple[Tensor, object]:
        self.subject.calls += 1
        try:
            output, after = self.way(part.clone(), state)
        except Exception as error:
            raise Refused(raised(error)) from error
        if not isinstance(output, Tensor):
            raise Refused(f"a {self.name} answers {type(output).__name__}, not a tensor")
        output = output.detach()
        if self.name == "step" and output.ndim < 3:
            output = output.reshape(len(part), 1, -1)
        return output, after


def _until(sizes: list[int], width: int) -> list[int]:
    """Sizes that add up to `width`."""
    taken: list[int] = []
    for size in sizes:
        left = width - sum(taken)
        if left <= 0:
            break
        taken.append(min(size, left))
    return taken


def _finding(walk: _Walk, rows: Rows) -> Finding | None:
    subject = walk.subject

    def differ(part: Rows) -> Moved | None:
        def ask(how: How) -> Pair:
            return Pair(subject.answer(part, how), walk.ask(part, how), subject.real(part))

        return judge(subject, ask, units=OTHER_SHAPE)

    try:
        found = differ(rows)
    except Refused as refusal:
        message = f"The first {walk.name} is answered, a later one is not: {refusal}."
        return Finding("step_parallel", message, example_of(rows, rows))
    if not found:
        return None
    rows, found = _smaller(differ, rows, found)
    message = (
        f"Going by {walk.name}, the answer at position {found.place} {found.words()} away from"
        " that of all tokens at once."
    )
    return Finding("step_parallel", message, same_rows(rows, found, everywhere=True))


def _smaller(
    differ: Callable[[Rows], Moved | None], rows: Rows, found: Moved
) -> tuple[Rows, Moved]:
    """One row, and the shortest beginning that differs."""
    with suppress(Refused):
        single = rows.pick([found.row])
        first = differ(single)
        rows, found = (single, first) if first else (rows, found)
        low, high = 1, rows.width
        while low < high:
            middle = (low + high) // 2
            shorter = differ(rows.cut(middle))
            if shorter:
                high, found = middle, shorter
            else:
                low = middle + 1
        rows = rows.cut(high)
    return rows, found


def _reused(walk: _Walk, rows: Rows) -> Finding | None:
    """The same state twice: an answer that differs means that it was changed in place."""
    if rows.width < 3:
        return None
    subject, middle = walk.subject, rows.width // 2
    tokens = walk.parts(rows, How())
    place = len(tokens) // 2
    try:
        with subject.asking():
            state: object = None
            for part in tokens[:place]:
                _, state = walk.once(part, state)
            one, _ = walk.once(tokens[place], state)
            two, _ = walk.once(tokens[place], state)
    except Refused:
        return None
    pair = Pair(one, two, torch.ones(one.shape[:2]).bool())
    found = judge(subject, lambda how: pair, How(exact=True), SAME_SHAPE)
    if not found:
        return None
    message = f"A {walk.name} changes the state it is given: used again, an answer {found.words()}."
    return Finding("step_parallel", message, example_of(rows.cut(middle), rows.cut(middle)))
