"""Past and future read off two supports, and whether arithmetic and declaration agree with them.

Idea     the past is what moves the last output, the future what moves the first: each has the
         whole text to show itself in
Units    tokens
"""

from howfar.measure.structure.field import Field
from howfar.measure.structure.support import Support


class Sides:
    """Past and future of outputs that stand at tokens; nothing of either for a whole text.

    last, first: supports of the last and the first output of texts of `length` tokens.
    """

    def __init__(self, last: Support, first: Support, length: int) -> None:
        self.last, self.first, self.length = last, first, length
        self.aligned = last.outputs == length
        self.influence = last.first is not None or first.last is not None
        self.past = self.future = None
        if self.aligned and self.influence:
            # An output that nothing moves reads beyond the text, on the other side.
            self.past = 0 if last.first is None else max(0, length - 1 - last.first)
            self.future = 0 if first.last is None else max(0, first.last)
        self.past_censored = length > 1 and self.past == length - 1
        self.future_censored = length > 1 and self.future == length - 1
        self.kept = None if self.past is None or self.past_censored else self.past + 1

    def said(self) -> list[str]:
        """What keeps these numbers from being a plain reach."""
        said = []
        if not self.influence:
            said.append("no influence: replacing the whole input does not move the output")
        elif not self.last.outputs:
            said.append(
                "one output a text, which stands at no token: no side and no reach, though the "
                "curve says how many of the last tokens leave nothing to move"
            )
        elif not self.aligned:
            said.append(
                f"{self.last.outputs} outputs for {self.length} tokens: the last sees "
                f"{_places(self.last.seen)}, the first {_places(self.first.seen)}"
            )
        if self.last.rounding or self.first.rounding:
            said.append("the furthest effects are of the size of rounding: set a tolerance")
        return said


def _places(seen: tuple[int, int] | None) -> str:
    return "nothing" if seen is None else f"tokens {seen[0]} .. {seen[1]}"


def _place(place: int | None) -> str:
    return "no token" if place is None else f"token {place}"


def disagreements(
    sides: Sides, field: Field | None, declared: int | None, *, unbounded: bool
) -> list[str]:
    """Where swaps find another field than the layers give or the model declares."""
    if not sides.influence or not sides.last.outputs:
        return []
    said = []
    if field is not None:
        # The outer ends, where padding and strides cannot cut the field short.
        last = field.sees(sides.last.output, sides.length)
        first = field.sees(sides.first.output, sides.length)
        if last is not None and last[0] != sides.last.first:
            said.append(
                f"the layers let the last output see back to token {last[0]}, "
                f"swaps find {_place(sides.last.first)}"
            )
        if first is not None and first[1] != sides.first.last:
            said.append(
                f"the layers let the first output see on to token {first[1]}, "
                f"swaps find {_place(sides.first.last)}"
            )
    if not sides.aligned or sides.past is None or sides.future is None:
        return said
    kept = 1 + sides.past + sides.future
    most = sides.length if sides.future == 0 or sides.past == 0 else 2 * sides.length - 1
    told = most if unbounded else declared
    if told is not None and kept != min(told, most):
        name = "no bound" if unbounded else f"{declared} tokens"
        said.append(f"the model declares {name}, swaps find {kept}")
    return said
