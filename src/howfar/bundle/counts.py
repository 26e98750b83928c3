"""How often each class stands in a part: what a predictor that reads nothing goes by.

Idea     counted stretch by stretch, as the tags of a large table lie in a file
"""

import numpy as np
import numpy.typing as npt

from howfar.data.examples import Corpus
from howfar.data.ragged import Ragged

STRETCH = 1 << 20  # tags read at once


def class_counts(corpus: Corpus) -> dict[str, int] | None:
    """Rows of each class or label in the training part (tags: tokens); None without classes."""
    targets, names = corpus.train.targets, corpus.names
    if not names or targets is None:
        return None
    if corpus.aim == "multilabel":
        counts_C = np.asarray(targets).sum(0, dtype=np.float64).astype(np.int64)
    else:
        counts_C = _counted(targets, len(names))
    return dict(zip(names, counts_C.tolist(), strict=True))


def _counted(targets: npt.NDArray[np.generic] | Ragged, classes: int) -> npt.NDArray[np.int64]:
    flat, first, last = targets, 0, len(targets)
    if isinstance(targets, Ragged):
        flat, first, last = targets.flat, int(targets.offsets[0]), int(targets.offsets[-1])
    counts_C = np.zeros(classes, dtype=np.int64)
    for start in range(first, last, STRETCH):
        some = np.asarray(flat[start : min(start + STRETCH, last)], dtype=np.int64)
        counts_C += np.bincount(some[some >= 0], minlength=classes)
    return counts_C
