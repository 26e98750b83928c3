"""Is the model the same function each time it is asked?

Idea     ask the same rows twice with other rows between, under the same random state. Answers that
         differ are state kept between calls. A call that changes what the model stores, or the
         tokens it is given, does harm later
Limits   state outside modules and noise from a source of its own cannot be told apart
"""

from howfar.measure.audit.judge import SAME_SHAPE, Moved, Pair, largest
from howfar.measure.audit.report import Finding, Outcome, example_of, same_rows
from howfar.measure.audit.rows import Material, Rows
from howfar.measure.audit.subject import Refused, Subject

REPEATS = 3
NAMED = 4


def check_state(subject: Subject, material: Material) -> Outcome:
    """Whether earlier calls change an answer, or a call changes what `state_dict` keeps.

    Afterwards `subject.resetting` and `subject.noise` say how the other checks can still look.
    """
    rows = material.rows
    first = subject.answer(rows)
    written = subject.guard.changed()
    other = Rows(material.different(rows.tokens, "state"), rows.lengths)
    findings = []
    try:
        subject.answer(other)
        again = subject.answer(rows)
        found = largest(subject, Pair(first, again, subject.real(rows)), SAME_SHAPE, exact=False)
        if found.effect <= found.limit:
            _ask_narrow(subject, other)
            again = subject.answer(rows)
    except Refused as refusal:
        message = f"After a batch of another size, rows that were answered before fail: {refusal}."
        findings.append(Finding("stateful", message, example_of(rows, rows)))
        again = first
    written = sorted({*written, *subject.guard.changed()})
    found = largest(subject, Pair(first, again, subject.real(rows)), SAME_SHAPE, exact=False)
    if findings or found.effect > found.limit:
        subject.guard.restore()
        subject.resetting = True
        if not findings:
            findings.append(_kept(subject, material, found, written))
        _measure_noise(subject, rows)
    if subject.overwrites and not findings:
        message = "The model writes into the tokens it is given: who asks again asks another thing."
        findings.append(Finding("stateful", message, example_of(rows.pick([0]), rows.pick([0]))))
    stored = [name for name in written if name in subject.guard.stored()]
    if stored and not findings:
        message = f"A call in evaluation mode changes what the model stores: {listed(stored)}."
        findings.append(Finding("stateful", message, example_of(rows.pick([0]), rows.pick([0]))))
        subject.resetting = True
    return Outcome(tuple(findings))


def _ask_narrow(subject: Subject, rows: Rows) -> None:
    """Other rows in another shape; a model that refuses the shape is asked no more of it."""
    if len(rows.tokens) < 2 or rows.width < 2:
        return
    try:
        subject.answer(rows.pick([1]).cut(rows.width - 1))
    except Refused:
        subject.guard.restore()


def _kept(subject: Subject, material: Material, found: Moved, written: list[str]) -> Finding:
    """Of few tokens: two rows, then one."""
    rows = material.rows
    for part in (rows.pick([0]).cut(2), rows.pick([0])):
        smaller = _drifts(subject, material, part)
        if smaller:
            rows, found = part, smaller
            break
    kept = f" What changed: {listed(written)}." if written else ""
    message = f"The same rows asked again after others: an answer {found.words()}.{kept}"
    return Finding("stateful", message, same_rows(rows, found, everywhere=subject.everywhere))


def _drifts(subject: Subject, material: Material, rows: Rows) -> Moved | None:
    try:
        first = subject.answer(rows)
        subject.resetting = False
        subject.answer(Rows(material.different(rows.tokens, "state"), rows.lengths))
        again = subject.answer(rows)
    except Refused:
        return None
    finally:
        subject.resetting = True
    found = largest(subject, Pair(first, again, subject.real(rows)), SAME_SHAPE, exact=False)
    return found if found.effect > found.limit else None


def _measure_noise(subject: Subject, rows: Rows) -> None:
    """What equal calls still differ by when the modules' state is put back each time."""
    first = subject.answer(rows)
    for _ in range(REPEATS):
        pair = Pair(first, subject.answer(rows), subject.real(rows))
        effect = largest(subject, pair, SAME_SHAPE, exact=False).effect
        subject.noise = max(subject.noise, effect)


def listed(names: list[str]) -> str:
    """The first names, and how many more."""
    shown = ", ".join(name or "the model itself" for name in names[:NAMED])
    more = len(names) - NAMED
    return f"{shown or 'by a function'} and {more} more" if more > 0 else shown or "by a function"
