"""Handwritten digits, 8 x 8 pixels, read as a sequence of 64: which digit is it?

Idea      the 1,797 pictures that come with scikit-learn, intensities 0 .. 16 as ids 1 .. 17

              pixels   0  0  5 13  9  1  0  0  ..  6 13 10  0  0  0
              targets  -  -  -  -  -  -  -  -  ..  -  -  -  -  -  digit

Splits    of each class, by counter in the file's order: of ten 7 train, 1 validation, 2 test. The
          same at every seed; the writers are the same in all three
Distance  last position - the first pixel with ink. Blank pixels before it count too, and a part of
          the digit may be enough: the ladder says how much the last quarter tells
Chance    share of the most frequent class among the test pictures
Ladder    see `howfar.tasks.pixels`
Source    Alpaydin & Kaynak 1998, https://doi.org/10.24432/C50P49, the copy in scikit-learn; as
          sequences, permuted or not: after Le, Jaitly & Hinton 2015,
          https://arxiv.org/abs/1504.00941
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from howfar.tasks.base import Task
from howfar.tasks.pixels import Pictures, Pixels, first_of_each
from howfar.tasks.rows import stratified

SIDE = 8
LEVELS = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits(Pixels):
    """The task.

    Args:
        length: pixels, always 64.
        permuted: pixels in one random order, the same for all pictures of this seed.
    """

    name: ClassVar[str] = "digits"
    idea: ClassVar[str] = "name a handwritten digit read pixel by pixel"

    length: int = SIDE * SIDE

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        Task.__post_init__(self)
        self.require(self.length == SIDE * SIDE, "length == 64", "the pictures have 8 x 8 pixels")

    @property
    def vocabulary(self) -> int:
        """Padding 0, intensities 0 .. 16 as 1 .. 17."""
        return 1 + LEVELS

    def pictures(self) -> Pictures:
        """All 1,797 pictures."""
        return _digits()


@lru_cache(maxsize=1)
def _digits() -> Pictures:
    from sklearn.datasets import load_digits  # noqa: PLC0415 - half a second to import

    pixels_NL, labels_N = load_digits(return_X_y=True)
    ids_NL, labels_N = first_of_each(1 + pixels_NL.astype(np.int64), labels_N.astype(np.int64))
    return Pictures(ids_NL, labels_N, stratified(labels_N))
