"""How long a run may train: tokens, seconds or optimiser steps, the same for every family.

Idea     the share of the budget that is used drives the schedule too, so that a run of any length
         warms up and cools down alike
Units    tokens are real ones, without padding; seconds are those of training, not of evaluation
"""

import re
from dataclasses import dataclass

from howfar.core.errors import UsageError, shown

UNITS = {
    "token": ("tokens", 1.0),
    "step": ("steps", 1.0),
    "second": ("seconds", 1.0),
    "sec": ("seconds", 1.0),
    "s": ("seconds", 1.0),
    "minute": ("seconds", 60.0),
    "min": ("seconds", 60.0),
}
MOST = 1e15
SCALES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
FORM = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*((?:[kKmMgG](?![a-zA-Z]))?)\s*([a-z]*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Budget:
    """An amount of "tokens", "steps" or "seconds"."""

    amount: float
    unit: str = "tokens"

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Read "200k tokens", "500 steps", "30 seconds", "2 minutes" or a bare number of tokens."""
        found = FORM.fullmatch(text.strip())
        name = (found[3] if found else "") or "token"
        unit = UNITS.get(name) or UNITS.get(name.removesuffix("s"))
        hint = 'a positive amount such as "200k tokens", "500 steps" or "30 seconds"'
        if not found or unit is None or float(found[1]) <= 0:
            raise UsageError("E-OPTION", f"The budget {shown(text)} is not understood.", hint)
        amount = float(found[1]) * SCALES[found[2].lower()] * unit[1]
        if amount > MOST:
            raise UsageError("E-OPTION", f"The budget {shown(text)} would never be spent.", hint)
        return cls(amount, unit[0])

    def used(self, tokens: int, steps: int, seconds: float) -> float:
        """The share used so far: 0 at the start, 1 when it is spent."""
        spent = {"tokens": float(tokens), "steps": float(steps), "seconds": seconds}
        return spent[self.unit] / self.amount

    def part(self, share: float) -> "Budget":
        """A fraction of this budget; at least one step where steps are counted."""
        amount = self.amount * share
        return Budget(max(1.0, float(round(amount))) if self.unit == "steps" else amount, self.unit)

    def __str__(self) -> str:
        return (
            f"{self.amount:,.0f} {self.unit}"
            if self.amount >= 10
            else f"{self.amount:g} {self.unit}"
        )
