"""What a script calls: `howfar.reach`, `howfar.compare`, `howfar.build` and the rest.

Idea     thin functions over the rooms; the names and shapes here are what users' code relies on
"""

from howfar.api.comparing import Compared, compare, demand
from howfar.api.measures import (
    attention,
    audit,
    context,
    fragments,
    gradient,
    influence,
    interaction,
    reach,
    retention,
    structure,
)
from howfar.models import MODELS, Family, build, build_seq2seq
from howfar.tasks import task, tasks

__all__ = [
    "Compared",
    "attention",
    "audit",
    "build",
    "build_seq2seq",
    "compare",
    "context",
    "demand",
    "families",
    "fragments",
    "gradient",
    "influence",
    "interaction",
    "reach",
    "retention",
    "structure",
    "task",
    "tasks",
]


def families() -> dict[str, Family]:
    """All families by name, each with its kind, equation, shapes, reach, state and source."""
    return dict(MODELS)
