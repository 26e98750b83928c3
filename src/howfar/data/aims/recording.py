"""The record of a corpus: everything counted, in one place for all aims."""

from collections.abc import Sequence
from pathlib import Path

from howfar.data.aims.parting import Parted
from howfar.data.shipped import licence_of
from howfar.data.tokenise import Tokeniser
from howfar.record.codec import printable
from howfar.record.comparison import Data


def record(  # noqa: PLR0913 - each is a field of the record
    kind: str,
    parted: Parted,
    tokeniser: Tokeniser,
    *,
    sizes: Sequence[int],
    length: int,
    vocabulary: int | None = None,
    dropped: int = 0,
    truncated: tuple[int, int] = (0, 0),
    unknown_tokens: int = 0,
    labels: dict[str, int] | None = None,
    notes: Sequence[str] = (),
) -> Data:
    """What was read, left out and cut.

    Args:
        kind: the aim.
        parted: the rows and what was said of them so far.
        tokeniser: of the texts.
        sizes: of train, validation and test, in rows or, for running text, in tokens.
        length: tokens a row or window.
        vocabulary: ids the model must know; by default the tokeniser's.
        dropped: rows left out after the split.
        truncated: rows cut, and tokens lost.
        unknown_tokens: tokens of validation and test outside the vocabulary.
        labels: label -> rows.
        notes: what is to be said beyond `parted`.
    """
    path = parted.parts[0].path
    return Data(
        kind=kind,
        name=printable(Path(path).name.split(".")[0] or path),
        unit=tokeniser.unit,
        rows=sum(map(len, parted.parts)),
        dropped=parted.dropped + dropped,
        truncated_rows=truncated[0],
        truncated_tokens=truncated[1],
        duplicates=parted.duplicates,
        train=sizes[0],
        validation=sizes[1],
        test=sizes[2],
        vocabulary=tokeniser.vocabulary if vocabulary is None else vocabulary,
        unknown_tokens=unknown_tokens,
        length=length,
        labels=labels,
        sha256=parted.parts[0].sha256,
        notes=(*parted.notes, *notes),
        licence=licence_of(Path(path)),
    )
