"""How each kind of receipt is measured: settings in, numbers with their doubt out."""

from collections.abc import Callable
from typing import Any

from howfar.verify.checks.commands import commands
from howfar.verify.checks.edge import edge
from howfar.verify.checks.ladder import ladder
from howfar.verify.checks.solve import solve
from howfar.verify.checks.vanishing import vanishing
from howfar.verify.checks.words import words
from howfar.verify.verdict import Measured

Check = Callable[[dict[str, Any], Callable[[str], None]], dict[str, Measured]]

CHECKS: dict[str, Check] = {
    "commands": commands,
    "edge": edge,
    "ladder": ladder,
    "solve": solve,
    "vanishing": vanishing,
    "words": words,
}
