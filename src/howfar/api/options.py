"""Options by name: from keyword arguments to an options dataclass, with the names that exist."""

from typing import Any

from howfar.core.errors import UsageError, closest


def options(kind: Any, given: dict[str, Any]) -> Any:  # noqa: ANN401 - an options dataclass
    """Build an options dataclass; an unknown name is an error that lists the known ones.

    Raises:
        UsageError: E-OPTION.
    """
    known = kind.__dataclass_fields__
    for name in given:
        if name not in known:
            near = closest(name, known)
            message = f"There is no option {name!r}. {near}Known: {', '.join(known)}."
            raise UsageError("E-OPTION", message, "one of these names")
    try:
        return kind(**given)
    except TypeError as error:
        raise UsageError("E-OPTION", f"An option has a value of a wrong type: {error}.") from error
