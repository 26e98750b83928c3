"""Does a row's answer depend on the rows asked with it, on its place among them, on being alone?

Idea     replace the other rows (batch normalisation in training mode, sums over the batch), put
         the rows in another order (results not brought back into order after packing), ask one
         row alone; a row's answer must stay what it was
Units    of the output
"""

from collections.abc import Callable
from dataclasses import replace

import torch

from howfar.measure.audit.judge import OTHER_SHAPE, Moved, Pair, fewest, judge
from howfar.measure.audit.report import Example, Finding, Outcome, example_of
from howfar.measure.audit.rows import Material, Rows
from howfar.measure.audit.subject import EVAL, How, Refused, Subject


def check_mates(subject: Subject, material: Material, how: How = EVAL) -> Outcome:
    """Whether a row's answer depends on what else is in the batch."""
    rows = _varied(subject, material)
    if len(rows.tokens) < 2:
        return Outcome(skipped="one row has no others")
    num = len(rows.tokens)
    for row in sorted({0, num // 2, num - 1}):
        for other in _others(subject, material, rows, row):
            found = judge(subject, _question(subject, rows, other, row), how)
            if found:
                return Outcome((_finding(subject, rows, other, row, how),))
    return _alone(subject, rows, how)


def check_order(subject: Subject, material: Material) -> Outcome:
    """Whether a row's answer depends on its place in the batch."""
    rows = _varied(subject, material)
    num = len(rows.tokens)
    if num < 2:
        return Outcome(skipped="one row has no order")
    orders = [list(range(num))[::-1], material.order(num, "order")]
    for order in orders:
        found = _reordered(subject, rows, order)
        if found:
            rows, order, found = _fewer(subject, rows, order, found)
            message = (
                f"The answer to row {found.row} {found.words()} when the same rows come in the"
                f" order {', '.join(map(str, order))}."
            )
            example = _example(subject, rows, rows.pick(order), found, order.index(found.row))
            return Outcome((Finding("batch_order", message, example),))
    return Outcome()


def _varied(subject: Subject, material: Material) -> Rows:
    return material.ragged() if subject.takes_lengths else material.rows


def _others(subject: Subject, material: Material, rows: Rows, row: int) -> list[Rows]:
    """The batch with other tokens in all rows but one; and with other lengths too."""
    tokens = material.different(rows.tokens, f"mates {row}")
    tokens[row] = rows.tokens[row]
    batches = [Rows(tokens, rows.lengths)]
    if subject.takes_lengths:
        lengths = rows.lengths.roll(1)
        lengths[row] = rows.lengths[row]
        batches.append(Rows(tokens, lengths))
    return batches


def _question(subject: Subject, rows: Rows, other: Rows, row: int) -> Callable[[How], Pair]:
    counts = subject.real(rows) & (torch.arange(len(rows.tokens)) == row)[:, None]
    return lambda how: Pair(subject.answer(rows, how), subject.answer(other, how), counts)


def _finding(subject: Subject, rows: Rows, other: Rows, row: int, how: How) -> Finding:
    """One mate and as few tokens as show it."""

    def small(mate: int, width: int) -> tuple[Rows, Rows]:
        return rows.pick([row, mate]).cut(width), other.pick([row, mate]).cut(width)

    def shown(one: Rows, two: Rows, place: int) -> Moved | None:
        try:
            return judge(subject, _question(subject, one, two, place), how)
        except Refused:
            return None

    mates = [mate for mate in range(len(rows.tokens)) if mate != row]
    mate = next((mate for mate in mates if shown(*small(mate, rows.width), 0)), None)
    one, two, place = rows, other, row
    if mate is not None:
        width = fewest(lambda width: shown(*small(mate, width), 0) is not None, rows.width)
        (one, two), place = small(mate, width), 0
    found = shown(one, two, place)
    words = found.words() if found else "moves"
    mode = "" if how.mode == "eval" else " in the mode it was handed over in"
    message = f"The answer to row {place} {words} when the other rows of its batch change{mode}."
    example = _example(subject, one, two, found, place)
    return Finding("batch_mates", message, example)


def _example(
    subject: Subject, one: Rows, two: Rows, found: Moved | None, changed_row: int
) -> Example:
    if found is None:
        return example_of(one, two, row=changed_row, changed_row=changed_row)
    return example_of(
        one,
        two,
        row=found.row,
        changed_row=changed_row,
        target=found.place if subject.everywhere else None,
        effect=found.effect,
        floor=found.limit,
        scale=found.scale,
    )


def _reordered(subject: Subject, rows: Rows, order: list[int]) -> Moved | None:
    back = torch.tensor(order).argsort()

    def ask(how: How) -> Pair:
        other = subject.answer(rows.pick(order), how)[back]
        return Pair(subject.answer(rows, how), other, subject.real(rows))

    return judge(subject, ask, units=OTHER_SHAPE)


def _fewer(
    subject: Subject, rows: Rows, order: list[int], found: Moved
) -> tuple[Rows, list[int], Moved]:
    """Two or three rows turned around, and as few tokens as show it."""
    num = len(rows.tokens)
    few = [[row, row + 1] for row in range(num - 1)] + [[0, 1, 2]] * (num > 2)
    for keep in few:
        back = list(range(len(keep)))[::-1]

        def shown(width: int, keep: list[int] = keep, back: list[int] = back) -> Moved | None:
            try:
                return _reordered(subject, rows.pick(keep).cut(width), back)
            except Refused:
                return None

        if shown(rows.width):
            width = fewest(lambda width: shown(width) is not None, rows.width)
            return rows.pick(keep).cut(width), back, shown(width) or found
    return rows, order, found


def _alone(subject: Subject, rows: Rows, how: How) -> Outcome:
    """A row asked alone, at the same width; a model that refuses single rows says so loudly."""
    last = len(rows.tokens) - 1
    for row in (0, last):
        single = rows.pick([row])
        counts = subject.real(single)

        def ask(
            how: How, row: int = row, single: Rows = single, counts: torch.Tensor = counts
        ) -> Pair:
            return Pair(subject.answer(rows, how)[[row]], subject.answer(single, how), counts)

        try:
            found = judge(subject, ask, how, units=OTHER_SHAPE)
        except Refused as refusal:
            return Outcome(notes=(f"a batch of one row: {refusal}",))
        if found:
            found = replace(found, row=row)
            message = f"The answer to row {row} {found.words()} when it is asked alone."
            example = _example(subject, rows, single, found, 0)
            return Outcome((Finding("batch_mates", message, example),))
    return Outcome()
