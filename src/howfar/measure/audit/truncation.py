"""Are long rows cut without a word?

Idea     rows are joined to longer ones and asked. A model with an output a position must answer
         at every one, and each answer must hang on something. In a whole-sequence model the end of
         the row is swapped: if no swap of the tokens from P on ever moves the answer, while equally
         many just before P do, what stands behind P is not read
Units    P in tokens
Limits   an influence that fades to nothing (a backward recurrence) is no cut: a cut ends sharply.
         Where the end moves answers as rarely as chance allows (few filters under a maximum),
         nothing is said
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from howfar.measure.audit.judge import Pair, fewest, moved, scale
from howfar.measure.audit.options import AuditOptions
from howfar.measure.audit.report import Finding, Outcome, example_of
from howfar.measure.audit.rows import Material, Rows
from howfar.measure.audit.subject import Refused, Subject

HUNG = 4  # whole rows swapped
TRIALS = 12  # swaps of the end, each on every row
CHANCE = 1e-6  # of an end that is read moving nothing in all trials
SHARP = 1e-3  # of a whole swap's effect: less, just before the end, is an influence that faded


def check_truncation(
    subject: Subject, material: Material, options: AuditOptions, positions: int | None
) -> Outcome:
    """Whether tokens behind some place are not read.

    Args:
        subject: the model.
        material: rows.
        options: `longest`.
        positions: how many answers a longer row had when the model was first looked at, if fewer
            than tokens.
    """
    if positions is not None:
        return _too_few(material, positions)
    notes: tuple[str, ...] = ()
    for rows, what in _lengths(material, options):
        try:
            answer = subject.answer(rows)
        except Refused as refusal:
            few = _fewer_answers(subject, rows)
            if few:
                return _too_few(material, few, rows)
            notes = (f"rows of {rows.width} tokens{what} are refused: {refusal}",)
            break
        finding = (_unread if subject.everywhere else _unread_end)(subject, material, rows, answer)
        if finding:
            return Outcome((finding,))
    return Outcome(notes=notes)


def _lengths(material: Material, options: AuditOptions) -> list[tuple[Rows, str]]:
    """Rows as long as the data's, and twice that."""
    longest = min(int(material.longest.lengths.max()), options.longest)
    twice = min(2 * longest, options.longest)
    found = [(material.stretched(longest), "")]
    return [*found, (material.stretched(twice), ", two joined,")] if twice > longest else found


def _too_few(material: Material, positions: int, rows: Rows | None = None) -> Outcome:
    rows = material.longest if rows is None else rows
    longest = rows.pick([0])
    longest = longest.cut(min(int(longest.lengths[0]), positions + 1))
    tokens = int(longest.lengths[0])
    message = f"{tokens} tokens have {positions} answers: what stands behind is cut without a word."
    example = example_of(longest, longest.cut(positions), row=0, changed_row=0, source=positions)
    return Outcome((Finding("truncation", message, example),))


def _fewer_answers(subject: Subject, rows: Rows) -> int | None:
    if not subject.everywhere:
        return None
    try:
        with subject.asking():
            output = subject.raw(rows)
    except Refused:
        return None
    return int(output.shape[1]) if output.ndim > 1 and output.shape[1] < rows.width else None


def _unread(subject: Subject, material: Material, rows: Rows, answer: Tensor) -> Finding | None:
    """Positions whose answers stay whatever is in the row."""
    last, size = _last_moved(subject, material, rows, answer)
    if last in (0, rows.width):
        return None
    wider = material.stretched(rows.width + rows.width // 4 + 1)
    # an answer that is fixed at the row's end, wherever that is, is no cut
    if _last_moved(subject, material, wider, subject.answer(wider))[0] != last:
        return None
    message = (
        f"From position {last} on, answers stay the same whatever the row of {rows.width} tokens"
        " says: it is cut without a word."
    )
    one = rows.pick([0]).cut(last + 1)
    other = Rows(material.different(one.tokens, "unread"), one.lengths)
    example = example_of(one, other, row=0, changed_row=0, target=last, scale=size)
    return Finding("truncation", message, example)


def _last_moved(
    subject: Subject, material: Material, rows: Rows, answer: Tensor
) -> tuple[int, float]:
    """One more than the last position whose answer hangs on the row; the answers' size."""
    hung, size = torch.zeros(rows.width, dtype=torch.bool), 0.0
    for trial in range(HUNG):
        nothing = torch.zeros(len(rows.tokens), dtype=torch.long)
        other = material.swapped(rows, nothing, rows.lengths.cpu(), f"unread {trial}")
        pair = Pair(answer, subject.answer(other), subject.real(rows))
        hung |= (moved(pair) > 8 * subject.noise).any(0)
        size = max(size, scale(pair))
    return (int(hung.nonzero().max()) + 1 if bool(hung.any()) else 0), size


@dataclass(frozen=True, slots=True)
class _End:
    """Swaps of the end of every row."""

    subject: Subject
    material: Material
    rows: Rows
    answer: Tensor

    def effects(self, first: int, last: int, trials: int, name: str) -> Tensor:
        """What swapping [first, last) does: (trials * B,)."""
        num = len(self.rows.tokens)
        found = []
        for trial in range(trials):
            swapped = self.material.swapped(
                self.rows,
                torch.full((num,), first),
                torch.full((num,), last),
                f"end {name} {first} {last} {trial}",
            )
            pair = Pair(self.answer, self.subject.answer(swapped), self.subject.real(self.rows))
            found.append(moved(pair)[:, 0])
        effects = torch.cat(found)
        return torch.where(effects > 8 * self.subject.noise, effects, 0.0)


def _unread_end(subject: Subject, material: Material, rows: Rows, answer: Tensor) -> Finding | None:
    """Tokens at the end that a whole-sequence model never reads."""
    width = rows.width
    end = _End(subject, material, rows, answer)
    whole = float(end.effects(0, width, 2, "whole").max())
    if width < 4 or whole == 0 or whole == torch.inf:
        return None
    tail = fewest(lambda tail: _any(end, width - tail), width)
    if tail <= 1 or tail == width:
        return None
    place = width - tail + 1  # swapping from here on moved nothing
    unread = width - place
    if _any(end, place, TRIALS):
        return None
    first = max(0, place - unread)
    before = end.effects(first, place, TRIALS, "before")
    share = float((before > 0).double().mean()) * (place - first) / unread
    if (1 - min(share, 1.0)) ** len(before) > CHANCE:
        return None
    edge = end.effects(place - 1, place, TRIALS, "edge")
    if float(edge.max()) < SHARP * whole or not _stays(subject, material, place, width):
        return None
    message = (
        f"Tokens from position {place} on change nothing in rows of {width} tokens, those just"
        " before do: long rows are cut without a word."
    )
    one = rows.pick([0]).cut(place + 1)
    other = Rows(material.different(one.tokens, "unread"), one.lengths)
    other = Rows(torch.cat([one.tokens[:, :place], other.tokens[:, place:]], dim=1), one.lengths)
    example = example_of(one, other, row=0, changed_row=0, source=place, scale=whole)
    return Finding("truncation", message, example)


def _stays(subject: Subject, material: Material, place: int, width: int) -> bool:
    """Whether longer rows are read up to the same place."""
    wider = material.stretched(width + width // 4 + 1)
    end = _End(subject, material, wider, subject.answer(wider))
    return _any(end, place - 1, TRIALS) and not _any(end, place, TRIALS)


def _any(end: _End, first: int, trials: int = 2) -> bool:
    return bool((end.effects(first, end.rows.width, trials, "tail") > 0).any())
