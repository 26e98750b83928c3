"""Rows cut to one length, with a ledger of what was lost.

Length   by default the 95th percentile of training lengths, at most 512 tokens; where each token
         has an answer of its own the longest training row up to 512; with `strict` the longest row
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from howfar.core.errors import DataError
from howfar.data.aims.encoding import cut
from howfar.data.aims.options import CorpusOptions
from howfar.data.faults import share
from howfar.data.labelled import LONGEST_DEFAULT
from howfar.data.ragged import Ragged

COVERED = 95  # per cent of the training rows stay whole at the default length


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """parts: train, validation and test ids, cut. rows, tokens: cut rows and tokens lost."""

    parts: tuple[Ragged, Ragged, Ragged]
    length: int
    rows: int
    tokens: int
    notes: tuple[str, ...]


def default_length(lengths: Sequence[int] | npt.NDArray[np.int64], covered: float = COVERED) -> int:
    """Tokens that keep so many per cent of the rows whole, at most 512."""
    needed: int = math.ceil(np.percentile(lengths, covered))
    return max(1, min(LONGEST_DEFAULT, needed))


def cut_rows(
    whole: Sequence[Ragged],
    near: Sequence[Sequence[object]],
    options: CorpusOptions,
    unit: str,
    covered: float = COVERED,
) -> Cut:
    """Cut the rows of three parts.

    Args:
        whole: ids of train, validation and test.
        near: their texts, which say whether the ids are in memory.
        options: length, the end that stays, and whether cutting is an error.
        unit: what a token is.
        covered: per cent of the training rows that stay whole at the default length.

    Raises:
        DataError: E-TRUNC where a row is longer and that is an error.
    """
    lengths = np.concatenate([part.lengths for part in whole])
    longest = int(lengths.max(initial=0))
    most = options.length
    if most is None:
        most = max(1, longest) if options.strict else default_length(whole[0].lengths, covered)
    over = lengths[lengths > most]
    lost = int((over - most).sum())
    notes: tuple[str, ...] = ()
    if len(over):
        said = (
            f"{share(len(over), len(lengths))} are longer than {most:,} {unit}s "
            f"(longest {longest:,})"
        )
        if options.strict:
            hint = f"--length {longest} keeps all, or leave --strict out"
            raise DataError("E-TRUNC", f"Rows would be cut: {said}.", hint)
        end = "end" if options.keep == "start" else "start"
        notes = (f"W-TRUNC: {said}: their {end} was cut, {lost:,} {unit}s in all.",)
    train, validation, test = (
        cut(part, texts, most, options.keep) for part, texts in zip(whole, near, strict=True)
    )
    return Cut(
        parts=(train, validation, test), length=most, rows=len(over), tokens=lost, notes=notes
    )
