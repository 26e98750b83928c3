"""Texts that stand on both sides of a line that should divide them.

Idea     two texts are the same letter by letter, or in their normal form (NFKC, case folded, white
         space collapsed); both are counted, since the second is the leak that is overlooked
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from howfar.data.faults import counted, listed, share
from howfar.data.spool import some


@dataclass(frozen=True, slots=True)
class Leak:
    """known: rows of the held side whose normal form stands in the training side, in order.

    exact: how many of them stand there letter by letter. copies: the training rows they leak from.
    """

    known: tuple[int, ...]
    exact: int
    copies: tuple[int, ...]


def find_leaks(
    train: tuple[Sequence[str], Sequence[Hashable]], held: tuple[Sequence[str], Sequence[Hashable]]
) -> Leak:
    """Compare two sides, each (texts, normal forms or their keys)."""
    keys = set(train[1])
    known = tuple(i for i, key in enumerate(held[1]) if key in keys)
    leaked = {held[1][i] for i in known}
    copies = tuple(i for i, key in enumerate(train[1]) if key in leaked)
    # What is the same letter by letter has the same normal form too.
    texts = set(some(train[0], copies))
    return Leak(known, sum(text in texts for text in some(held[0], known)), copies)


def leak_note(leak: Leak, held: str, lines: Sequence[int], train: str = "training") -> str | None:
    """W-LEAK in a sentence, None where there is nothing to say.

    Args:
        leak: what was found.
        held: name of the held side, "test" or "validation".
        lines: physical lines of the held side's rows.
        train: name of the other side.
    """
    if not leak.known:
        return None
    same = "all" if leak.exact == len(leak.known) else f"{leak.exact:,} of them"
    return (
        f"W-LEAK: {share(len(leak.known), len(lines))} of the {held} file stand in the {train} "
        f"file too, {same} letter by letter ({listed([lines[i] for i in leak.known])}); they are "
        f"copies of {counted(len(leak.copies))} there."
    )
