"""What training reads, whatever it is trained for: rows of ids with their targets, in three parts.

Idea     an aim says what is learned; every aim has the same form, so one loop and one model file
         serve them all
Ids      the tokeniser's, then, where the aim needs it, `end` (begins and ends a target, or stands
         between documents) and `mask`
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from howfar.data.ragged import Ragged
from howfar.data.tokenise import Tokeniser
from howfar.record.comparison import Data

Aim: TypeAlias = Literal[
    "classification", "multilabel", "tagging", "regression", "lm", "masked", "seq2seq"
]
AIMS: tuple[Aim, ...] = get_args(Aim)
Targets: TypeAlias = npt.NDArray[np.int64] | npt.NDArray[np.float32] | Ragged | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examples:
    """Rows of one part; `ids[i]`, `targets[i]` and `texts[i]` belong together.

    ids: of each text (for seq2seq of the source), already cut to the corpus's length; for lm and
        masked of each whole document, uncut.
    targets: by aim
        classification  (rows,) int64, the class
        multilabel      (rows, classes) float32 of 0 and 1
        regression      (rows,) float32, standardised as the corpus's `scale` says
        tagging         Ragged of the class of each token, as long as `ids`
        seq2seq         Ragged of target ids, without `end`
        lm, masked      None
    texts: as read, for baselines and reports; None where they are too many to hold.
    """

    ids: Ragged
    targets: Targets = None
    texts: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Corpus:
    """A data set, ready to batch.

    names: of the classes, where there are any. length: most tokens of a row; the window of lm and
    masked. keep: which end of a longer row stayed. vocabulary: ids the model must know, `end` and
    `mask` included. target_tokeniser: of seq2seq, whose targets have `target_vocabulary` ids,
    `end` included. columns: of text and target in a table. scale: mean and standard deviation of a
    regression's numbers.
    """

    aim: Aim
    train: Examples
    validation: Examples
    test: Examples
    tokeniser: Tokeniser
    vocabulary: int
    length: int
    data: Data
    names: tuple[str, ...] = ()
    keep: Literal["start", "end"] = "start"
    end: int | None = None
    mask: int | None = None
    scale: tuple[float, float] | None = None
    target_tokeniser: Tokeniser | None = None
    target_vocabulary: int | None = None
    target_length: int | None = None
    columns: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        """Numbers that the model answers, a row or a position."""
        if self.aim == "regression":
            return 1
        if self.aim == "seq2seq":
            assert self.target_vocabulary is not None
            return self.target_vocabulary
        return len(self.names) if self.names else self.vocabulary

    def part(self, name: str) -> Examples:
        """The part of this name: "train", "validation" or "test"."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]
