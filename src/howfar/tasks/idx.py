"""IDX files, in which MNIST and its relatives come: a head of sizes, then bytes.

Format   two bytes 0, the type (8: bytes), the number of dimensions, each size as 4 bytes with the
         highest first, then the values, the last dimension fastest
Source   https://yann.lecun.org/exdb/mnist/
"""

import math
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from howfar.core.errors import DataError
from howfar.data.faults import place
from howfar.data.source import Source, opened

_BYTES = 8
_HINT = "fetch the file again: an IDX file of bytes, packed with gzip or not"


def read_idx(path: str | os.PathLike[str], dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of bytes, packed with gzip or not.

    Raises:
        DataError: E-FORMAT where it is no such file or its size is not what it says, E-ARCHIVE.
        UsageError, EnvironmentFault: where it cannot be opened.
    """
    with opened(path) as source:
        data = _whole(source)
        source.sha256()  # refuses a file that was written to meanwhile
    head = 4 * (1 + dimensions)
    if len(data) < head or data[:4] != bytes([0, 0, _BYTES, dimensions]):
        raise _damaged(path, f"it is no IDX file of bytes in {dimensions} dimensions")
    sizes = tuple(int.from_bytes(data[at : at + 4], "big") for at in range(4, head, 4))
    if len(data) - head != math.prod(sizes):
        said = " x ".join(str(size) for size in sizes)
        raise _damaged(path, f"it says {said} values and holds {len(data) - head:,}")
    return np.frombuffer(data, dtype=np.uint8, offset=head).reshape(sizes)


def _whole(source: Source) -> bytes:
    parts = []
    while part := source.read(1 << 20):
        parts.append(part)
    return b"".join(parts)


def _damaged(path: str | os.PathLike[str], why: str) -> DataError:
    return DataError("E-FORMAT", f"Cannot read {place(str(Path(path)))}: {why}.", _HINT)
