"""Rows of ids: in memory, or in a token file where their texts lie in a file too.

Idea     texts are encoded about 260,000 letters at a time; the token file has no name once it is
         open, so that nothing is left behind
"""

import contextlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from howfar.core.leftovers import held
from howfar.data.mapped import MappedIds, write_ids
from howfar.data.ragged import Ragged
from howfar.data.spool import Stored, chunks
from howfar.data.tokenise import Ids, Tokeniser

_LETTERS = 1 << 18  # encoded at once
_IDS = 1 << 18  # written at once


def encoded(tokeniser: Tokeniser, texts: Sequence[str]) -> Ragged:
    """The ids of each text, where the texts are."""
    ids = (row for some in chunks(texts, _LETTERS) for row in tokeniser.encode(some))
    return joined(ids, texts, tokeniser.vocabulary)


def joined(rows: Iterable[npt.ArrayLike], near: Sequence[object], vocabulary: int) -> Ragged:
    """Rows of ids in memory, or in a file where `near` lies in one.

    Args:
        rows: ids of each.
        near: what they belong to.
        vocabulary: number of ids, which sets their type in a file.
    """
    if not isinstance(near, Stored):
        return Ragged.of(rows)
    return _filed(rows, near.spool.folder, vocabulary)


def cut(ids: Ragged, near: Sequence[object], most: int, keep: str) -> Ragged:
    """Rows of at most `most` ids; `keep` names the end that stays."""
    if int(ids.lengths.max(initial=0)) <= most:
        return ids
    kept = slice(most) if keep == "start" else slice(-most, None)
    return joined((row[kept] for row in ids), near, _room(ids))


def chosen(ids: Ragged, near: Sequence[object], rows: Sequence[int]) -> Ragged:
    """Some of the rows, in order; `rows` grow."""
    if len(rows) == len(ids):
        return ids
    stay = np.zeros(len(ids), dtype=np.bool_)
    stay[np.asarray(rows, dtype=np.int64)] = True
    found = (row for row, wanted in zip(ids, stay.tolist(), strict=True) if wanted)
    return joined(found, near, _room(ids))


def held_texts(texts: Sequence[str]) -> Sequence[str] | None:
    """The texts where they are in memory."""
    return None if isinstance(texts, Stored) else texts


def _room(ids: Ragged) -> int:
    return int(np.iinfo(ids.flat.dtype).max) + 1


def _filed(rows: Iterable[npt.ArrayLike], folder: Path, vocabulary: int) -> Ragged:
    ends = array("q", [0])

    def written() -> Iterator[Ids]:
        left = (np.asarray(row) for row in rows)
        for some in chunks(left, _IDS):
            for row in some:
                ends.append(ends[-1] + len(row))
            yield np.concatenate(some)

    with held(folder / "rows.arrow", "tmp") as path:
        write_ids(path, written(), vocabulary=vocabulary)
        flat = MappedIds(path)
        with contextlib.suppress(OSError):  # it is held open; some systems keep its name till then
            path.unlink()
    return Ragged(flat, np.frombuffer(ends, dtype=np.int64))
