"""How many tokens an untrained network can see, found by differentiating its last answer.

Settings  family; shapes: list of {label, settings of the family}; width
Numbers   LABEL: tokens from the farthest with a gradient to the last, itself included
Exact     float64 and random weights: a path of any strength gives a gradient that is not zero
"""

from collections.abc import Callable
from typing import Any

import torch

from howfar.core.errors import UsageError
from howfar.core.seeds import Seeds
from howfar.models import build
from howfar.verify.verdict import Measured

BEYOND = 64  # positions in front of what is declared


def edge(settings: dict[str, Any], say: Callable[[str], None]) -> dict[str, Measured]:
    """See how far each shape looks."""
    found = {}
    for shape in settings["shapes"]:
        own = {name: value for name, value in shape.items() if name != "label"}
        say(f"{settings['family']}: {shape['label']}")
        seen = seen_by(settings["family"], int(settings.get("width", 16)), own)
        found[shape["label"]] = Measured.exactly(seen, "tokens")
    return found


def seen_by(family: str, width: int, own: dict[str, Any]) -> int:
    """Tokens that the last answer depends on."""
    model = build(
        family,
        vocabulary=0,
        channels=1,
        outputs=4,
        width=width,
        embedding=width,
        generator=Seeds(0).torch("edge"),
        **own,
    ).double()
    declared = model.reach(1)
    if declared is None:
        raise UsageError("E-OPTION", f"{family} sees everything: it has no edge.", "a bounded one")
    length = declared + BEYOND
    numbers = torch.randn(1, length, 1, generator=Seeds(0).torch("edge input"), dtype=torch.float64)
    numbers.requires_grad_()
    model(numbers)[0, -1].sum().backward()
    assert numbers.grad is not None
    met = numbers.grad[0, :, 0].nonzero()[:, 0]
    return length - int(met.min()) if len(met) else 0
