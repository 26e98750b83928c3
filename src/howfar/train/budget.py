"""How long a run may train: tokens, steps, seconds or operations, the same for every family.

Idea     the share of the budget that is used drives the schedule too, so that a run of any length
         warms up and cools down alike
Units    tokens are real ones, without padding; seconds are those of training, not of evaluation;
         FLOPs are those of forward and backward (twice the forward pass), a multiply-add being 2
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
    "flop": ("flops", 1.0),
    "epoch": ("epochs", 1.0),
}
MOST = {"flops": 1e24}  # of others 1e15
SCALES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15}
FORM = re.compile(
    r"([0-9]+(?:\.[0-9]+)?)\s*((?:[kKmMgGtTpP](?![a-zA-Z]))?)\s*([a-z]*|FLOPs?)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Budget:
    """An amount of "tokens", "steps", "seconds" or "flops"; "epochs" until they are counted."""

    amount: float
    unit: str = "tokens"

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Read "200k tokens", "500 steps", "2 minutes", "3T flops", "5 epochs".

        A bare number is one of tokens.
        """
        found = FORM.fullmatch(text.strip())
        name = (found[3].lower() if found else "") or "token"
        unit = UNITS.get(name) or UNITS.get(name.removesuffix("s"))
        hint = 'a positive amount such as "200k tokens", "5 epochs" or "30 seconds"'
        if not found or unit is None or float(found[1]) <= 0:
            raise UsageError("E-OPTION", f"The budget {shown(text)} is not understood.", hint)
        amount = float(found[1]) * SCALES[found[2].lower()] * unit[1]
        if amount > MOST.get(unit[0], 1e15):
            raise UsageError("E-OPTION", f"The budget {shown(text)} would never be spent.", hint)
        return cls(amount, unit[0])

    def counted(self, tokens_per_epoch: int | None) -> "Budget":
        """The same in tokens, where it is given in passes over the training data.

        Raises:
            UsageError: E-OPTION where the data has no end.
        """
        if self.unit != "epochs":
            return self
        if tokens_per_epoch is None:
            message = "The data is made as it is needed: it has no epochs."
            raise UsageError("E-OPTION", message, "a budget in tokens or steps")
        return Budget(self.amount * tokens_per_epoch)

    def used(self, tokens: int, steps: int, seconds: float, flops: int = 0) -> float:
        """The share used so far: 0 at the start, 1 when it is spent."""
        spent = {"tokens": tokens, "steps": steps, "seconds": seconds, "flops": flops}
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
