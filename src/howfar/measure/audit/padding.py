"""Does padding change an answer? And what becomes of a row that is all padding?

Idea     rows of many lengths in one batch; other tokens on the padding, or more of it, must leave
         every answer at a real position as it was: finds a missing mask, pooling over padding, a
         backward recurrence that begins on padding. A row of length 0 must give numbers, and
         leave the other rows as numbers
Limits   a model that is given no lengths can know padding by its id alone: then only the amount is
         changed, with the id that the data have there, and only if lengths were given
"""

from collections.abc import Callable

import torch

from howfar.measure.audit.judge import OTHER_SHAPE, SAME_SHAPE, Moved, Pair, fewest, judge
from howfar.measure.audit.report import Finding, Outcome, example_of
from howfar.measure.audit.rows import Material, Rows
from howfar.measure.audit.subject import Refused, Subject

MORE = 5  # tokens of padding added
DEAF = "the model is not given lengths, and knows no padding"


def check_padding(subject: Subject, material: Material, *, told: bool) -> Outcome:
    """Whether what stands on padding, or how much of it there is, moves an answer.

    Args:
        subject: the model.
        material: rows.
        told: lengths came with the data.
    """
    if not subject.takes_lengths and not (told and material.pad is not None):
        return Outcome(skipped=DEAF)
    rows = material.ragged()
    if rows.width < 2:
        return Outcome(skipped="rows of one token have no padding")
    notes = []
    for name, build, units in _variants(subject, material):
        try:
            found = judge(subject, _question(subject, *build(rows)), units=units)
        except Refused as refusal:
            notes.append(f"padding, {name}: {refusal}")
            continue
        if found:
            return Outcome((_finding(subject, rows, build, found, name),), notes=tuple(notes))
    return Outcome(notes=tuple(notes))


def check_empty(subject: Subject, material: Material) -> Outcome:
    """Whether a row of length 0 makes answers that are not numbers."""
    if not subject.takes_lengths:
        return Outcome(skipped=DEAF)
    rows = material.rows.pick([0, 1])
    lengths = rows.lengths.clone()
    lengths[1] = 0
    rows = rows.cut(min(rows.width, 8))
    with_one = Rows(rows.tokens, rows.lengths)
    empty = material.padded(Rows(rows.tokens, lengths.clamp(max=rows.width)), "own")
    try:
        usual, answer = subject.answer(with_one), subject.answer(empty)
    except Refused as refusal:
        return Outcome(notes=(f"a row of length 0 is refused: {refusal}",))
    others = answer[0][: rows.width].isnan() & ~usual[0][: rows.width].isnan()
    who = "the other rows' answers" if bool(others.any()) else "its answer"
    if not bool(others.any()) and not bool(answer[1].isnan().any()):
        return Outcome()
    message = f"A row of length 0 makes {who} not a number (NaN)."
    row = 0 if bool(others.any()) else 1
    example = example_of(with_one, empty, row=row, changed_row=row, effect=torch.inf)
    return Outcome((Finding("empty_row", message, example),))


Build = Callable[[Rows], tuple[Rows, Rows]]


def _variants(subject: Subject, material: Material) -> list[tuple[str, Build, int]]:
    """What to do to the padding: in words, how, and how much rounding may do."""

    def filled(fill: str) -> Build:
        return lambda rows: (material.padded(rows, "own"), material.padded(rows, fill))

    def more(rows: Rows) -> tuple[Rows, Rows]:
        return material.padded(rows, "own"), material.widened(rows, rows.width + MORE)

    def less(rows: Rows) -> tuple[Rows, Rows]:
        # the longest row loses its end, so that the batch can be narrower
        short = int(rows.lengths[1:].max())
        shorter = material.padded(Rows(rows.tokens, rows.lengths.clamp(max=short)), "own")
        return shorter, shorter.cut(short)

    amounts: list[tuple[str, Build, int]] = [
        ("more of it", more, OTHER_SHAPE),
        ("less of it", less, OTHER_SHAPE),
    ]
    if not subject.takes_lengths:
        return amounts
    return [
        ("other tokens there", filled("drawn"), SAME_SHAPE),
        ("another id there", filled("last"), SAME_SHAPE),
        *amounts,
    ]


def _question(subject: Subject, rows: Rows, other: Rows) -> Callable[..., Pair]:
    counts = subject.real(rows)
    return lambda how: Pair(subject.answer(rows, how), subject.answer(other, how), counts)


def _finding(subject: Subject, rows: Rows, build: Build, found: Moved, name: str) -> Finding:
    """The row that moved beside a full one, as short as shows it."""

    def small(length: int, width: int) -> Rows:
        part = rows.pick([0, found.row]).cut(width)
        lengths = part.lengths.clone()
        lengths[0], lengths[1] = width, min(length, int(part.lengths[1]))
        return Rows(part.tokens, lengths)

    def shown(part: Rows) -> Moved | None:
        try:
            return judge(subject, _question(subject, *build(part)), units=OTHER_SHAPE)
        except Refused:
            return None

    part = rows
    length, width = int(rows.lengths[found.row]), rows.width
    if found.row > 0 and shown(small(length, width)):
        length = fewest(lambda n: shown(small(n, width)) is not None, length)
        # the full row stands for the batch: padding behind the short one needs a longer row
        width = fewest(lambda w: shown(small(length, w)) is not None, width, low=length + 1)
        part = small(length, width)
    worst = shown(part) or found
    one, other = build(part)
    real = int(one.lengths[worst.row])
    where = f"at position {worst.place} " if subject.everywhere else ""
    message = (
        f"The answer {where}of a row with {real} real tokens {worst.words()} when its padding"
        f" changes: {name}."
    )
    example = example_of(
        one,
        other,
        row=worst.row,
        changed_row=worst.row,
        target=worst.place if subject.everywhere else None,
        effect=worst.effect,
        floor=worst.limit,
        scale=worst.scale,
    )
    return Finding("padding", message, example)
