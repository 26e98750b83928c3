"""MNIST, 28 x 28 pixels, read as a sequence of 784: which digit is it?

Idea      pictures of IDX files that the user has, intensities quantised to `levels`

              pixels   0  0  0 .. 12 15  9 .. 0  0  0
              targets  -  -  - ..  -  -  - .. -  -  digit

Files     in the folder `path`, each with or without .gz: train-images-idx3-ubyte and
          train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte
Splits    with both pairs: test is t10k, of the others a tenth validates, by counter within a class.
          With one pair only: of each class, of ten 7 train, 1 validation, 2 test; such scores do
          not compare with published ones. The same at every seed
Distance  last position - the first pixel with ink; see `howfar.tasks.digits`
Chance    share of the most frequent class among the test pictures (.1135 in t10k)
Ladder    see `howfar.tasks.pixels`
Source    LeCun, Bottou, Bengio & Haffner 1998, https://doi.org/10.1109/5.726791; as sequences,
          permuted or not: Le, Jaitly & Hinton 2015, https://arxiv.org/abs/1504.00941, there with
          real intensities in place of ids
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from howfar.core.errors import DataError, UsageError
from howfar.data.faults import place
from howfar.data.source import check_local
from howfar.tasks.base import Task
from howfar.tasks.idx import read_idx
from howfar.tasks.pixels import CLASSES, Pictures, Pixels, first_of_each
from howfar.tasks.rows import stratified
from howfar.tasks.streams import Integers

SIDE = 28
TRAIN, TEST = "train", "t10k"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mnist(Pixels):
    """The task.

    Args:
        path: the folder of the IDX files.
        levels: intensities that are told apart (2 .. 256), in equal steps.
        length: pixels, always 784.
        permuted: pixels in one random order, the same for all pictures of this seed.
    """

    name: ClassVar[str] = "mnist"
    idea: ClassVar[str] = "name a handwritten digit of 28 x 28 pixels, from a folder of IDX files"

    length: int = SIDE * SIDE
    path: str = ""
    levels: int = 16

    def __post_init__(self) -> None:
        """Refuse what cannot be made; the files are read when they are needed."""
        Task.__post_init__(self)
        self.require(self.length == SIDE * SIDE, "length == 784", "the pictures have 28 x 28")
        self.require(2 <= self.levels <= 256, "2 <= levels <= 256")
        self.require(bool(self.path), "path != ''", "the folder of the IDX files")

    @property
    def vocabulary(self) -> int:
        """Padding 0, then the intensities."""
        return 1 + self.levels

    def pictures(self) -> Pictures:
        """All pictures of the folder.

        Raises:
            UsageError: E-NO-FILE where the folder has no such files.
            DataError: E-FORMAT, E-ARCHIVE for a damaged one, E-LABEL for a class beyond 9.
        """
        return _pictures(self.path, self.levels)


@lru_cache(maxsize=2)
def _pictures(path: str, levels: int) -> Pictures:
    check_local(path)
    found = [stem for stem in (TEST, TRAIN) if _named(path, f"{stem}-images-idx3-ubyte")]
    if not found:
        message = f"{place(path)} has no {TRAIN}-images-idx3-ubyte and no {TEST}-images-idx3-ubyte."
        raise UsageError("E-NO-FILE", message, "the folder of the IDX files, .gz or not")
    pairs = [_pair(path, stem) for stem in found]
    ids_NL = np.concatenate([pixels_NL for pixels_NL, _ in pairs])
    ids_NL = 1 + ids_NL * levels // 256
    labels_N = np.concatenate([labels for _, labels in pairs])
    if len(pairs) == 1:
        ids_NL, labels_N = first_of_each(ids_NL, labels_N)
        return Pictures(ids_NL, labels_N, stratified(labels_N))
    # t10k stands first, so that of a picture in both files the one in test stays.
    own = len(first_of_each(ids_NL[: len(pairs[0][1])], pairs[0][1])[1])
    ids_NL, labels_N = first_of_each(ids_NL, labels_N)
    parts_N = stratified(labels_N[own:]) % 2  # 1, a tenth, stays validation; the rest trains
    return Pictures(ids_NL, labels_N, np.concatenate([np.full(own, 2), parts_N]))


def _pair(path: str, stem: str) -> tuple[Integers, Integers]:
    """(N, 784) intensities and (N,) labels of one pair of files."""
    images, labels = f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"
    pixels_NHW = read_idx(_named(path, images) or Path(path) / images, 3)
    labels_N = read_idx(_named(path, labels) or Path(path) / labels, 1)
    where = place(str(Path(path) / images))
    if pixels_NHW.shape[1:] != (SIDE, SIDE):
        shape = " x ".join(str(size) for size in pixels_NHW.shape[1:])
        raise DataError("E-FORMAT", f"{where} has pictures of {shape}, not 28 x 28 pixels.")
    if len(pixels_NHW) != len(labels_N):
        message = f"{where} has {len(pixels_NHW):,} pictures, for {len(labels_N):,} labels."
        raise DataError("E-FORMAT", message, "fetch both files again")
    if labels_N.size and labels_N.max() >= CLASSES:
        message = f"{where} has a picture of class {labels_N.max()}: classes are 0 .. 9."
        raise DataError("E-LABEL", message, "files of ten classes")
    return pixels_NHW.reshape(len(pixels_NHW), -1).astype(np.int64), labels_N.astype(np.int64)


def _named(path: str, name: str) -> Path | None:
    """The file of this name, packed or not, if there is one."""
    packed = (Path(path) / f"{name}.gz", Path(path) / name)
    return next((file for file in packed if file.is_file()), None)
