"""How each kind of receipt is measured: settings in, numbers with their doubt out."""

from collections.abc import Callable
from typing import Any

from howfar.verify.checks.ladder import ladder
from howfar.verify.checks.solve import solve
from howfar.verify.verdict import Measured

Check = Callable[[dict[str, Any], Callable[[str], None]], dict[str, Measured]]

CHECKS: dict[str, Check] = {
    "ladder": ladder,
    "solve": solve,
}
