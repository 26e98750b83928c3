"""Rows with several labels each, split so that every label has its share of every part.

Idea     the label with the fewest rows left goes first; each of its blocks goes to the part that
         still wants that label most, then to the one that wants rows most; rows without labels last
Source   Sechidis, Tsoumakas & Vlahavas 2011, On the Stratification of Multi-Label Data, algorithm 1
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

from howfar.data.draws import generator
from howfar.data.split import FRACTIONS, Parts, check_shares, sorted_parts
from howfar.data.split_by import blocks


def split_several(
    keys: Sequence[Hashable],
    labels: Sequence[Sequence[str]],
    *,
    fractions: tuple[float, float, float] = FRACTIONS,
    seed: int,
) -> Parts:
    """Split rows that have any number of labels each; equal keys stay together.

    Args:
        keys: a row's normalised text.
        labels: a row's labels; none is allowed.
        fractions: shares of train, validation and test; a share of 0 leaves that part empty.
        seed: of the order within a label.

    Raises:
        DataError: E-TOO-FEW for less than two rows.
        UsageError: E-OPTION for fractions that are no shares.
    """
    check_shares(fractions, len(keys))
    found = blocks(keys)
    order = generator(seed, "split/several").permutation(len(found))
    held = [found[i] for i in order]
    counts = [Counter(label for row in block for label in labels[row]) for block in held]
    totals: Counter[str] = Counter()
    where: defaultdict[str, list[int]] = defaultdict(list)
    for block, count in enumerate(counts):
        totals.update(count)
        for label in count:
            where[label].append(block)
    wanted = {name: [share * total for share in fractions] for name, total in totals.items()}
    rows_wanted = [share * len(keys) for share in fractions]
    open_parts = [part for part in range(3) if fractions[part] > 0]
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    waiting = dict.fromkeys(range(len(held)))

    def give(block: int, label: str | None) -> None:
        def want(part: int) -> tuple[float, float]:
            return (0.0 if label is None else wanted[label][part]), rows_wanted[part]

        part = max(open_parts, key=want)
        parts[part].extend(held[block])
        rows_wanted[part] -= len(held[block])
        for name, count in counts[block].items():
            wanted[name][part] -= count
            totals[name] -= count
        del waiting[block]

    while rarest := min(
        (n for n in totals if totals[n] > 0), key=lambda n: (totals[n], n), default=None
    ):
        for block in [block for block in where[rarest] if block in waiting]:
            give(block, rarest)
    for block in list(waiting):
        give(block, None)
    return sorted_parts(parts)
