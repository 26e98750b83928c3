"""The record of one look at a file: what is in it, and what training would make of it.

Units    lengths in the unit named; shares between 0 and 1
Absent   a field that does not apply is None here and absent in JSON
"""

from dataclasses import dataclass

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: what its cells hold, and which role it was given or guessed to have."""

    name: str
    holds: str  # "text", "numbers", "lists", "truth values", "nothing", "mixed"
    distinct: int
    missing: int
    role: str | None = None  # "text", "label"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How long rows are. `counts[i]` rows have `starts[i]` to `starts[i + 1] - 1` units."""

    unit: str
    total: int
    shortest: int
    median: int
    p90: int
    p95: int
    longest: int
    starts: tuple[int, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """A label column of numbers."""

    least: float
    mean: float
    deviation: float
    greatest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutting:
    """What a length would cut. asked: the length was given; else it is the default one."""

    length: int
    unit: str
    rows: int
    tokens: int
    asked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A test file beside the data: rows of it that stand in the data too."""

    name: str
    rows: int
    known: int
    exact: int  # of them letter by letter
    unseen: int = 0  # rows whose label the data lacks
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """Everything one `data` found.

    duplicates: rows whose text stands in an earlier row letter by letter. same: further rows equal
    in normal form (case, white space, Unicode). near: further rows of which only signs between
    letters and digits differ. conflicts: rows whose text stands under another label too.
    unknown: share of the tokens of held-out rows (of the test file, where there is one) outside the
    vocabulary of the others.
    """

    name: str
    kind: str  # "table", "folder", "text"
    rows: int
    of: str = "row"  # what lengths are of: "row", "document", "line"
    columns: tuple[Column, ...] = ()
    text: str | None = None
    label: str | None = None
    aim: str | None = None  # what `train` would take it for
    tokens: str = "word"
    empty: int = 0
    characters: Lengths | None = None
    lengths: Lengths | None = None  # in tokens, where these are not characters
    labels: dict[str, int] | None = None  # label -> rows, the commonest first
    unlabelled: int = 0
    rare: int = 0  # labels with too few different texts to split
    numbers: Numbers | None = None
    scripts: dict[str, float] | None = None  # script -> share of letters
    duplicates: int = 0
    same: int = 0
    near: int = 0
    conflicts: int = 0
    cutting: Cutting | None = None
    vocabulary: int = 0
    unknown: float | None = None
    beside: Beside | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    dropped: int = 0
    sha256: str | None = None
    command: str | None = None
    report: str | None = None
    seconds: float = 0.0
    schema: int = SCHEMA
