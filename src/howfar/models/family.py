"""What a family says of itself: read from the header of its file, so that it cannot drift.

Idea     the header's labels (Idea, Shapes, Reach, State, Source, and Limits where there are any)
         are what `howfar models` prints
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any, cast

from howfar.models.blocks import Body

LABELS = ("Idea", "Shapes", "Reach", "State", "Source")
INDENT = 9  # the column in which the text of a label begins


@dataclass(frozen=True)
class Family:
    """One file of this room.

    Args:
        name: what users call it.
        kind: "convolutional", "recurrent", "attention", "linear recurrence" or "hybrid".
        module: the file: its header, and `build_body(sizes, settings)`.
        settings: dataclass of what can be set beside the sizes.
        narrowest: smallest width under these settings.
    """

    name: str
    kind: str
    module: ModuleType
    settings: type[Any]
    narrowest: Callable[[Any], int] = lambda _: 1

    @property
    def build_body(self) -> Callable[..., Body]:
        """`build_body(sizes, settings)` of the file."""
        return cast("Callable[..., Body]", self.module.build_body)

    @cached_property
    def header(self) -> dict[str, str]:
        """The first line as "Summary", and the text of every label, which keeps its lines."""
        first, *rest = (self.module.__doc__ or "").splitlines() or [""]
        found = {"Summary": first.rstrip(".")}
        label = ""
        for line in rest:
            if line[:1].strip():
                label = line[:INDENT].strip()
                found[label] = line[INDENT:]
            elif label and line.strip():
                found[label] += "\n" + line[INDENT:]
        return found

    @property
    def summary(self) -> str:
        """One line of what it is."""
        return self.header["Summary"]

    @property
    def equation(self) -> str:
        """What it computes."""
        return self.header.get("Idea", "")

    @property
    def shapes(self) -> str:
        """From what to what."""
        return self.header.get("Shapes", "")

    @property
    def reach(self) -> str:
        """How many tokens can meet."""
        return self.header.get("Reach", "")

    @property
    def state(self) -> str:
        """What is carried to go on."""
        return self.header.get("State", "")

    @property
    def limits(self) -> str:
        """What it cannot do, where the file says so."""
        return self.header.get("Limits", "")

    @property
    def source(self) -> str:
        """Where it was published."""
        return self.header.get("Source", "")
