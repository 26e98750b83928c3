"""A number for each text, standardised by what the training numbers are.

Idea     z = (y - mean) / deviation, both of train alone and kept, so that an answer can be told in
         the unit of the data
Rule     a number is read strictly: ASCII digits, a point, an exponent; no nan, no infinity
"""

import math
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from howfar.core.errors import DataError, shown
from howfar.data.aims.labels import assembled
from howfar.data.aims.opening import Source
from howfar.data.aims.options import CorpusOptions
from howfar.data.aims.parting import apart, read_parts
from howfar.data.aims.reading import Roles
from howfar.data.aims.roles import NUMBER_NAMES, Pair
from howfar.data.columns import TEXT_NAMES
from howfar.data.examples import Corpus
from howfar.data.faults import Fault

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", re.ASCII)


def load_numbers(source: Source, options: CorpusOptions) -> Corpus:
    """Texts with one number each.

    Raises:
        DataError: E-LABEL for what is no finite number, E-CONSTANT where all are one number.
        UsageError, EnvironmentFault: as for `read_table`.
    """
    roles = Roles(choose=Pair(("text", TEXT_NAMES), ("number", NUMBER_NAMES)), convert=number)
    parted = read_parts(source, options, roles, apart(options))
    found = [np.asarray(part.targets, dtype=np.float64) for part in parted.parts]
    mean, deviation = _scale(found[0])
    targets = [((part - mean) / deviation).astype(np.float32) for part in found]
    said = f"The numbers are standardised: mean {mean:.6g}, deviation {deviation:.6g} in train."
    corpus = assembled("regression", parted, targets, (), (Counter(), 0, (said,)), options)
    return replace(corpus, scale=(mean, deviation))


def number(value: object, text: str, line: int, column: str) -> float | Fault:
    """A finite number from a cell."""
    cell = str(value)
    if _NUMBER.fullmatch(cell) and math.isfinite(float(cell)):
        return float(cell)
    hint = "a finite number such as 3.5 or -1e-3, with a point"
    return Fault(line, "E-LABEL", "Not a number", shown(cell), "not a number", hint, column)


def _scale(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = float(values.mean()), float(values.std())
    if not (math.isfinite(mean) and math.isfinite(deviation)):
        largest = float(np.abs(values).max())
        why = f"The numbers are too large to standardise: up to {largest:g}."
        raise DataError("E-LABEL", why, "divide them all by a power of ten")
    # Rounding alone must not pass for a spread.
    if deviation <= 1e-12 * abs(mean) or deviation == 0:
        why = f"All {len(values):,} training rows have the number {values[0]:g}."
        raise DataError("E-CONSTANT", why, "name another column with --label")
    return mean, deviation
