"""What `howfar data` found, as lines for a terminal.

Idea     one fact a line, warnings last, so that they are what is left on the screen; nothing that
         draws is imported here, so that the command is quick
"""

import textwrap
from collections.abc import Iterator

from howfar.record.described import Beside, Column, Described, Lengths
from howfar.report import words

_BARS = 40  # characters of the longest bar
_LISTED = 12  # labels, and columns, that are shown
_HEAD = 12
_DIGEST = _HEAD + 64  # columns of the longest word, a SHA-256


def render_described(found: Described, width: int = 100) -> str:
    """All facts as plain text.

    Args:
        found: what was found.
        width: characters of a line.
    """
    clean = words.shown(found)
    lines = [_title(clean)]
    for head, text in _facts(clean):
        lines += textwrap.wrap(
            f"{head:<{_HEAD}}{text}",
            width,
            subsequent_indent=" " * _HEAD,
            break_long_words=width < _DIGEST,
            break_on_hyphens=False,
        )
    lines += ["", *_bars(clean.lengths or clean.characters, clean, width)]
    if clean.warnings or clean.notes:
        lines.append("")
    for kind, said in (("warning", clean.warnings), ("note", clean.notes)):
        for line in said:
            told = f"{kind}: {line}"
            lines += [told] if width >= 100 else textwrap.wrap(told, width)
    return "\n".join(lines) + "\n"


def _title(found: Described) -> str:
    where = {"table": "a table", "folder": "a folder", "text": "running text"}[found.kind]
    columns = f", {len(found.columns)} columns" if len(found.columns) > 1 else ""
    left = f", {found.dropped:,} left out" if found.dropped else ""
    return f"{found.name}: {where} of {_counted(found.rows, found.of)}{columns}{left}"


def _facts(found: Described) -> Iterator[tuple[str, str]]:
    if len(found.columns) > 1:
        yield "columns", "; ".join(_column(column) for column in found.columns[:_LISTED])
    if found.labels is not None:
        yield "labels", _labels(found.labels)
    if found.numbers is not None:
        n = found.numbers
        yield (
            "numbers",
            f"{n.least:g} to {n.greatest:g}, mean {n.mean:.4g}, deviation {n.deviation:.4g}",
        )
    yield from _of_texts(found)
    if found.cutting is not None:
        yield "cut", _cut(found)
    yield "vocabulary", _vocabulary(found)
    if found.beside is not None:
        yield "test file", _beside(found.beside)
    if found.aim is not None:
        yield "training", f"this looks like --aim {found.aim}"
    if found.sha256 is not None:
        yield "SHA-256", found.sha256


def _of_texts(found: Described) -> Iterator[tuple[str, str]]:
    for lengths in (found.characters, found.lengths):
        if lengths is not None:
            yield f"{lengths.unit}s", _spread(lengths, found.of)
    if found.scripts:
        yield "scripts", _scripts(found.scripts)
    if found.kind != "text":
        yield "repeats", _repeats(found)
    if found.empty and found.of == "line":
        yield "empty", _counted(found.empty, found.of)


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _column(column: Column) -> str:
    role = f", the {column.role}" if column.role else ""
    missing = f", {column.missing:,} missing" if column.missing else ""
    return f"{column.name} ({column.holds}, {column.distinct:,} different{missing}{role})"


def _labels(labels: dict[str, int]) -> str:
    total = sum(labels.values())
    first = [f"{name} {n:,} ({_share(n / total)})" for name, n in list(labels.items())[:_LISTED]]
    more = f" and {len(labels) - _LISTED:,} more" if len(labels) > _LISTED else ""
    return f"{len(labels):,}: {', '.join(first)}{more}"


def _spread(lengths: Lengths, of: str) -> str:
    if sum(lengths.counts) == 1:
        return f"{lengths.total:,}"
    return (
        f"{lengths.total:,} in all; a {of} has {lengths.shortest:,} to {lengths.longest:,}, median "
        f"{lengths.median:,}, 90 % at most {lengths.p90:,}, 95 % at most {lengths.p95:,}"
    )


def _scripts(scripts: dict[str, float]) -> str:
    large = [f"{name} {_share(value)}" for name, value in scripts.items() if value >= 0.0005]
    rest = len(scripts) - len(large)
    return ", ".join(large) + (f" and {rest} under 0.05 %" if rest else "") + " of the letters"


def _repeats(found: Described) -> str:
    parts = [
        f"{found.duplicates:,} letter by letter",
        f"{found.same:,} but for case, white space or Unicode form",
        f"{found.near:,} but for punctuation",
    ]
    if not (found.duplicates or found.same or found.near):
        return f"no {found.of} stands twice"
    return f"{found.of}s that stand earlier too: {', '.join(parts)}"


def _cut(found: Described) -> str:
    cutting = found.cutting
    assert cutting is not None
    length = f"--length {cutting.length:,}" + ("" if cutting.asked else " (the default)")
    if not cutting.rows:
        return f"{length} cuts nothing"
    rows = found.rows - found.empty
    return (
        f"{length} cuts {_counted(cutting.rows, found.of)} ({_share(cutting.rows / rows)}) and "
        f"loses {_counted(cutting.tokens, cutting.unit)}"
    )


def _vocabulary(found: Described) -> str:
    unit = {"char": "characters", "word": "words", "byte": "bytes"}.get(found.tokens, "pieces")
    said = f"{found.vocabulary:,} {unit}"
    if found.unknown is None:
        return said
    held = "the test file" if found.beside else "held-out text"
    return f"{said}; {_share(found.unknown)} of {held} is outside"


def _beside(beside: Beside) -> str:
    unseen = f"; {_counted(beside.unseen, 'row')} with unknown labels" if beside.unseen else ""
    if not beside.known:
        return f"{beside.name}, {_counted(beside.rows, 'row')}: none stands in the data{unseen}"
    return (
        f"{beside.name}, {_counted(beside.rows, 'row')}: W-LEAK {beside.known:,} "
        f"({_share(beside.known / beside.rows)}) stand in the data too, {beside.exact:,} letter by "
        f"letter{unseen}"
    )


def _bars(lengths: Lengths | None, found: Described, width: int) -> list[str]:
    """The histogram in signs that any terminal has; the bin of the cut is marked."""
    if lengths is None:
        return []
    most = max(lengths.counts)
    head = 15 if width >= _DIGEST else 11
    mark = f"  < cut at {found.cutting.length:,}" if found.cutting and found.cutting.rows else ""
    longest = min(_BARS, max(4, width - head - 13 - len(mark)))
    lines = [f"{lengths.unit + 's':>{head}}  {found.of}s"]
    for start, count in zip(lengths.starts, lengths.counts, strict=True):
        last = 2 * start - 1 if start else 0
        span = f"{start:,}" if last <= start else f"{start:,}-{last:,}"
        bar = "#" * (-(-longest * count // most))
        here = found.cutting is not None and start <= found.cutting.length <= last
        cut = mark if here else ""
        lines.append(f"{span:>{head}}  {count:>9,}  {bar}{cut}".rstrip())
    return lines
