"""Spans of tags, such as names of persons: found whole or not at all.

Idea     B-X begins a span of type X, I-X goes on with it; a span counts as found where type, begin
         and end are right. An I-X that goes on with nothing of its type begins a span itself
Source   Tjong Kim Sang & De Meulder 2003, https://aclanthology.org/W03-0419, and conlleval
"""

from collections.abc import Sequence

Span = tuple[str, int, int]  # type, first token, one past the last


def are_bio(names: Sequence[str]) -> bool:
    """Whether tags are "O", "B-..." and "I-...", with one B- or I- at least."""
    marked = [name for name in names if name != "O"]
    return bool(marked) and all(name[:2] in ("B-", "I-") and len(name) > 2 for name in marked)


def spans(tags: Sequence[str]) -> list[Span]:
    """The spans of one row, in order."""
    found: list[Span] = []
    kind, begin = "", 0
    for place, tag in enumerate([*tags, "O"]):
        head, name = ("O", "") if tag == "O" else (tag[0], tag[2:])
        if kind and (head != "I" or name != kind):
            found.append((kind, begin, place))
            kind = ""
        if head != "O" and not kind:
            kind, begin = name, place
    return found


def span_counts(truth: Sequence[str], answer: Sequence[str]) -> tuple[int, int, int]:
    """Spans of one row: right, answered, true."""
    wanted, got = set(spans(truth)), set(spans(answer))
    return len(wanted & got), len(got), len(wanted)
