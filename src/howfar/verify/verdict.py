"""What a measurement says of a claim's band.

Idea     the whole 95 % interval inside the band: confirmed; wholly outside: contradicts; else not
         confirmed: at this budget it cannot be told. A number without doubt is its own interval
All      a receipt contradicts if one of its bands does, and is confirmed if all of them are
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from howfar.verify.receipt import Band

Verdict = Literal["confirmed", "not confirmed", "contradicts"]


@dataclass(frozen=True, slots=True)
class Measured:
    """A number with its 95 % interval, and what it was measured on."""

    value: float
    low: float
    high: float
    note: str = ""

    @classmethod
    def exactly(cls, value: float, note: str = "") -> "Measured":
        """A number without doubt."""
        return cls(value, value, value, note)

    @property
    def text(self) -> str:
        """Value and interval."""
        if self.low == self.high:
            return f"{self.value:.4g}"
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def verdict(measured: Measured, band: Band) -> Verdict:
    """One number against one band; what is not a number is not confirmed."""
    low = float("-inf") if band.low is None else band.low
    high = float("inf") if band.high is None else band.high
    if low <= measured.low and measured.high <= high:
        return "confirmed"
    if measured.high < low or measured.low > high:
        return "contradicts"
    return "not confirmed"


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """One verdict of all bands; of none: not confirmed."""
    if "contradicts" in verdicts:
        return "contradicts"
    fine = bool(verdicts) and all(each == "confirmed" for each in verdicts)
    return "confirmed" if fine else "not confirmed"
