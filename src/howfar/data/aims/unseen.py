"""Held rows with a label that no training row has.

Rule     an error, or with `unseen="ignore"` such rows are left out of the part and counted; the
         note says what share of the answers they are, since a model can only get them wrong
"""

from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from typing import Any

from howfar.core.errors import DataError, shown
from howfar.data.aims.options import CorpusOptions
from howfar.data.aims.parting import Parted
from howfar.data.aims.reading import Read
from howfar.data.faults import place, share


def settle_unseen(
    parted: Parted,
    names: Sequence[str],
    options: CorpusOptions,
    labels: Callable[[Any], Sequence[str]],
    trim: Callable[[Any, Set[str]], Any] | None = None,
) -> tuple[Parted, int, list[str]]:
    """Refuse or remove what validation and test have and train lacks.

    Args:
        parted: the rows.
        names: labels of train.
        options: whether it is an error.
        labels: all labels of a target.
        trim: a target without the unseen labels; None: the row goes.

    Returns:
        The rows that stay, how many went, and what is to be said.

    Raises:
        DataError: E-UNSEEN-LABEL.
    """
    known = frozenset(names)
    parts, left, notes = [parted.parts[0]], 0, []
    for name, part in zip(("validation", "test"), parted.parts[1:], strict=True):
        odd = [i for i, t in enumerate(part.targets) if not known.issuperset(labels(t))]
        if odd and options.unseen == "error":
            raise _unseen(
                part, odd, next(x for x in labels(part.targets[odd[0]]) if x not in known)
            )
        if odd and trim is not None:
            gone = set(odd)
            part = replace(
                part,
                targets=tuple(
                    trim(t, known) if i in gone else t for i, t in enumerate(part.targets)
                ),
            )
            notes.append(
                f"W-UNSEEN: {share(len(odd), len(part))} of {name} have labels that no training "
                "row has; those labels are left out, and count nowhere."
            )
        elif odd:
            whole = len(part)
            gone = set(odd)
            part = part.take([i for i in range(whole) if i not in gone])
            left += len(odd)
            notes.append(
                f"W-UNSEEN: {share(len(odd), whole)} of {name} have a label that no training row "
                f"has, and are left out; counted as wrong, they lower an accuracy on the rest to "
                f"{100 * len(part) / whole:.1f} % of it."
            )
        parts.append(part)
        if odd and not len(part):
            raise DataError(
                "E-UNSEEN-LABEL",
                f"No row of {name} has a label that training knows.",
                "compare the label columns of both files",
            )
    return replace(parted, parts=(parts[0], parts[1], parts[2])), left, notes


def _unseen(part: Read, rows: list[int], label: str) -> DataError:
    where = place(part.path, part.lines[rows[0]], part.columns[1])
    return DataError(
        "E-UNSEEN-LABEL",
        f"Unknown label in {where}: {share(len(rows), len(part))} have a label that no training "
        f"row has, such as {shown(label)}.",
        "add such rows to the training file, or --unseen ignore leaves them out and counts them",
    )
