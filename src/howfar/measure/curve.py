"""What every measure returns: one curve, the raw numbers under it, and one number read off it.

Idea     a result is a frozen dataclass with at least the fields of `Measured`; the curve keeps a
         value a model, sequence and point, so that anyone can bootstrap it again
Units    `x` in tokens; `unit` names what `mean` is in; a backward pass counts as two forward ones
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from howfar.record.comparison import Curve as PlainCurve


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Curve:
    """A measured curve.

    axis: what `x` counts: "kept tokens", "lag", "context tokens", "layer".
    unit: what `mean` is in: "share of the effect", "bits", "nats", "squared gradient", ...
    x: grid points; mean: one number a point; low, high: its interval.
    matrix: (S, N, K) by model, sequence and point, in `matrix_unit`; NaN where a sequence has none.
    noise_floor: what a model that does not look could show, in the unit of `mean`.
    design: how the sequences were changed. passes: cost in forward passes over all sequences.
    """

    axis: str
    unit: str
    x: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    matrix: np.ndarray = field(compare=False, repr=False)
    matrix_unit: str = ""
    noise_floor: float = 0.0
    design: str = ""
    passes: float = 0.0

    def __repr__(self) -> str:
        return f"<Curve of {self.unit} at {len(self.x)} {self.axis}>"

    @property
    def kept(self) -> tuple[int, ...]:
        """`x` of a curve over kept tokens."""
        return self.x

    @property
    def lag(self) -> tuple[int, ...]:
        """`x` of a curve over lags."""
        return self.x

    @property
    def num_sequences(self) -> int:
        """N."""
        return int(self.matrix.shape[1])

    def plain(self) -> PlainCurve:
        """The curve as a record keeps it: without the raw numbers."""
        return PlainCurve(axis=self.axis, x=self.x, mean=self.mean, low=self.low, high=self.high)


def curve_of(  # noqa: PLR0913 - the fields of a curve
    x: Sequence[int],
    mean_K: np.ndarray,
    low_K: np.ndarray,
    high_K: np.ndarray,
    matrix_SNK: np.ndarray,
    *,
    axis: str,
    unit: str,
    matrix_unit: str = "",
    noise_floor: float = 0.0,
    design: str = "",
    passes: float = 0.0,
) -> Curve:
    """A `Curve` from arrays: x, mean, low and high (K,), matrix (S, N, K)."""
    return Curve(
        axis=axis,
        unit=unit,
        x=tuple(int(point) for point in x),
        mean=tuple(float(value) for value in mean_K),
        low=tuple(float(value) for value in low_K),
        high=tuple(float(value) for value in high_K),
        matrix=matrix_SNK,
        matrix_unit=matrix_unit or unit,
        noise_floor=float(noise_floor),
        design=design,
        passes=float(passes),
    )


class Measured(Protocol):
    """What every result has besides its own fields.

    value: the one number, in tokens; None: no influence, nothing found, or `censored`.
    low, high: its interval, None where there is none (the warnings say why).
    censored: True: more than the longest point measured.
    """

    value: int | None
    low: int | None
    high: int | None
    censored: bool
    curve: Curve
    num_sequences: int
    warnings: tuple[str, ...]
