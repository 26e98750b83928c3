"""Data sets that come with the package, named in place of a path.

Idea     `resolve("tinyshakespeare")` is the path of a shipped file; other names are paths
Built    by `bench/ship_data.py`; the licences stand beside the files
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from howfar.core.errors import UsageError, closest, shown
from howfar.data.source import check_local

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """One data set: where it lies, what it is, and under which licence."""

    name: str
    path: Path
    kind: Literal["text", "labels"]
    summary: str
    licence: str


SHIPPED = {
    "tinyshakespeare": Shipped(
        name="tinyshakespeare",
        path=_HERE / "tinyshakespeare.txt.gz",
        kind="text",
        summary="40,000 lines from plays by Shakespeare; 1.1 million characters",
        licence="Public domain text; selection by Andrej Karpathy, MIT License.",
    ),
    "movie_reviews": Shipped(
        name="movie_reviews",
        path=_HERE / "movie_reviews.csv.gz",
        kind="labels",
        summary="1,000 long movie reviews, 500 negative and 500 positive",
        licence=(
            "Sentiment Polarity Dataset 2.0, (c) 2004 Bo Pang and Lillian Lee, CC BY 4.0; "
            "1,000 of its 2,000 reviews, joined into one table."
        ),
    ),
}


def resolve(name_or_path: str | os.PathLike[str]) -> Path:
    """The path of a shipped data set, or the path given.

    A file of that name in the working folder goes first.

    Raises:
        UsageError: E-REMOTE for an address; E-NO-FILE for a bare name that is no file but nearly
            a data set's name.
    """
    name = os.fspath(name_or_path)
    check_local(name)  # before a Path makes one slash of the two in an address
    path = Path(name_or_path)
    try:
        if path.is_file():
            return path
    except (OSError, ValueError):
        return path
    if name in SHIPPED:
        return SHIPPED[name].path
    near = "" if path.suffix or path.exists() else closest(name, SHIPPED)
    if near:
        raise UsageError(
            "E-NO-FILE",
            f"No file and no data set is called {shown(name)}. {near}".strip(),
            f"a path, or one of {', '.join(SHIPPED)}",
        )
    return path


def licence_of(path: Path) -> str | None:
    """The licence of a shipped file, None for any other."""
    return next((entry.licence for entry in SHIPPED.values() if entry.path == path), None)
