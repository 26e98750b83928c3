"""The families that there are."""

from howfar.models import MODELS, Family


def families() -> dict[str, Family]:
    """All families by name, each with its kind, equation, shapes, reach, state and source."""
    return dict(MODELS)
