"""Is the model in the mode it is used in, and does that mode compute what was trained?

Idea     answers that differ only with the global random state are noise: dropout, left on. In the
         mode handed over, a row's answer may hang on other rows: batch normalisation in training
         mode. With both aside, training and evaluation mode must compute the same
Limits   a model whose training mode is random cannot be compared with its evaluation mode
"""

from torch import nn

from howfar.measure.audit.guard import same
from howfar.measure.audit.judge import OTHER_SHAPE, SAME_SHAPE, Moved, Pair, judge, largest, shrunk
from howfar.measure.audit.mates import check_mates
from howfar.measure.audit.report import Example, Finding, Outcome, same_rows
from howfar.measure.audit.rows import Material, Rows
from howfar.measure.audit.state import listed
from howfar.measure.audit.subject import DROPPING, EVAL, How, Refused, Subject


def check_modes(subject: Subject, material: Material) -> Outcome:
    """Whether the mode handed over, or evaluation mode, is random, or computes something else."""
    rows = material.rows
    random = _random(subject, rows, EVAL)
    if random:
        subject.randomness = random.effect
        message = (
            "In evaluation mode equal calls differ with the global random state: an answer"
            f" {random.words()}. Dropout or other noise is not switched off."
        )
        example = _example(*_small(subject, rows, random, EVAL), subject)
        return Outcome((Finding("train_eval", message, example),))
    training = [
        name for name, part in subject.guard.parts.items() if part.training and _matters(part)
    ]
    if any(part.training for part in subject.guard.parts.values()):
        return _as_given(subject, material, training)
    return _as_trained(subject, rows)


def _as_given(subject: Subject, material: Material, training: list[str]) -> Outcome:
    """The model came in training mode: random, dependent on the batch, or another function."""
    rows, given = material.rows, How(mode="given")
    findings = []
    random = _random(subject, rows, given)
    if random:
        named = [name for name in training if not _normalises(subject.guard.parts[name])]
        message = (
            f"Dropout is on, as the model is in training mode ({listed(named)}): an answer"
            f" {random.words()} from one call to the next."
        )
        example = _example(*_small(subject, rows, random, given), subject)
        findings.append(Finding("train_eval", message, example))
    subject.guard.restore()
    resetting, subject.resetting = subject.resetting, True
    if random or _apart(subject, rows, given):
        subject.randomness = random.effect if random else 0.0
        mixed = check_mates(subject, material, given).findings
        subject.randomness = 0.0
        if mixed and not check_mates(subject, material).findings:
            findings += [_normalising(subject, training, mixed[0].example), *mixed]
        skewed = None if findings else _skewed(subject, rows, given)
        findings += [skewed] if skewed else []
    subject.resetting = resetting
    subject.guard.restore()
    return Outcome(tuple(findings))


def _apart(subject: Subject, rows: Rows, how: How) -> bool:
    """Whether this mode and evaluation mode differ at all."""
    return not same(subject.answer(rows, how), subject.answer(rows))


def _normalising(subject: Subject, training: list[str], example: Example) -> Finding:
    named = [name for name in training if _normalises(subject.guard.parts[name])]
    what = "In the training mode the model is in, rows of a batch depend on one another"
    if named:
        what = f"Batch normalisation is in training mode ({listed(named)})"
    message = f"{what}: a row's answer depends on the other rows."
    return Finding("train_eval", message, example)


def _as_trained(subject: Subject, rows: Rows) -> Outcome:
    """The model came in evaluation mode: does training mode, dropout aside, compute the same?"""
    if not subject.modules:
        return Outcome(skipped="no module was found whose mode could be changed")
    trained = How(mode="train")
    resetting, subject.resetting = subject.resetting, True
    try:
        if _random(subject, rows, trained) or _mixes(subject, rows, trained):
            return Outcome()
        finding = _skewed(subject, rows, trained)
    except Refused:
        finding = None
    finally:
        subject.resetting = resetting
        subject.guard.restore()
    return Outcome((finding,)) if finding else Outcome()


def _skewed(subject: Subject, rows: Rows, how: How) -> Finding | None:
    """This mode and evaluation mode differ."""

    def differ(rows: Rows) -> Moved | None:
        def ask(manner: How) -> Pair:
            moded = subject.answer(rows, manner)
            usual = subject.answer(rows, How(exact=manner.exact))
            return Pair(usual, moded, subject.real(rows))

        return judge(subject, ask, how, OTHER_SHAPE)

    found = differ(rows)
    if not found:
        return None
    rows, found = shrunk(differ, rows, found)
    message = (
        f"Training and evaluation mode compute different things: an answer {found.words()},"
        " though neither dropout nor the other rows are in it."
    )
    return Finding("train_eval", message, _example(rows, found, subject))


def _random(subject: Subject, rows: Rows, how: How) -> Moved | None:
    """Whether another random state gives other answers, and the same one the same."""
    first = subject.answer(rows, how)
    other = subject.answer(rows, How(mode=how.mode, noise=1))
    found = largest(subject, Pair(first, other, subject.real(rows)), SAME_SHAPE, exact=False)
    return found if found.effect > found.limit else None


def _mixes(subject: Subject, rows: Rows, how: How) -> bool:
    """Whether a row asked alone answers otherwise than in its batch."""
    single = rows.pick([0])

    def ask(how: How) -> Pair:
        batch = subject.answer(rows, how)[[0]]
        return Pair(batch, subject.answer(single, how), subject.real(single))

    return judge(subject, ask, how, OTHER_SHAPE) is not None


def _small(subject: Subject, rows: Rows, found: Moved, how: How) -> tuple[Rows, Moved]:
    """One row, of one token if that shows it."""
    for part in (rows.pick([0]).cut(1), rows.pick([0])):
        try:
            smaller = _random(subject, part, how)
        except Refused:
            continue
        if smaller:
            return part, smaller
    return rows, found


def _example(rows: Rows, found: Moved, subject: Subject) -> Example:
    return same_rows(rows, found, everywhere=subject.everywhere)


def _matters(part: nn.Module) -> bool:
    """Whether training mode changes what this kind of module computes."""
    share = getattr(part, "p", getattr(part, "dropout", 0.0))
    drops = isinstance(share, float) and share > 0
    return _normalises(part) or drops


def _normalises(part: nn.Module) -> bool:
    return isinstance(part, DROPPING[1])
