"""How a corpus is read, split, tokenised and cut: everything a user may choose."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from howfar.core.errors import UsageError, shown
from howfar.data.delimited import Quote
from howfar.data.read import MAX_FIELD
from howfar.data.tokenise import MAX_VOCABULARY, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusOptions:
    """Options of `load_corpus`.

    text, label: columns of the text and of what is learned (for seq2seq source and target);
        guessed where obvious. group, time: columns that decide the split.
    test, validation: files in place of held-out rows. test_share: of the rows, held out without
        a file; 0: there is no test part.
    label_separator: between several labels in one cell; lists need none.
    tokens: None chooses words, or characters where words are not separated. length: most tokens of
        a row, or the window; None fits the data. keep: which end of a longer row stays.
    encoding, separator, no_header, quote, bad_rows, empty, max_field, encoding_errors, rejects: how
        files are read, see `howfar.data.read`. rare: what to do with labels seen too few times.
    strict: a row longer than `length` is an error. dedup: training rows that stand in a test or
        validation file are left out. unseen: what to do with held rows whose label training lacks.
    seed: of the split. folder: where large corpora put their token files.
    """

    text: str | None = None
    label: str | None = None
    test: str | None = None
    test_share: float = 0.1
    validation: str | None = None
    group: str | None = None
    time: str | None = None
    label_separator: str = "|"
    tokens: Kind | None = None
    max_vocabulary: int = MAX_VOCABULARY
    length: int | None = None
    keep: Literal["start", "end"] = "start"
    encoding: str | None = None
    separator: str | None = None
    no_header: bool = False
    quote: Quote = '"'
    bad_rows: Literal["error", "skip"] = "error"
    empty: Literal["error", "drop", "keep"] = "error"
    rare: Literal["error", "drop"] = "error"
    max_field: int = MAX_FIELD
    encoding_errors: Literal["strict", "replace"] = "strict"
    rejects: str | None = None
    strict: bool = False
    dedup: bool = False
    unseen: Literal["error", "ignore"] = "error"
    seed: int = 0
    folder: Path | None = None

    def __post_init__(self) -> None:
        if self.length is not None and self.length < 1:
            raise UsageError("E-OPTION", f"--length {self.length} is less than 1.", "--length 256")
        if not 0 <= self.test_share <= 0.5:
            message = f"test_share={self.test_share!r} is out of range."
            raise UsageError("E-OPTION", message, "a share from 0 to 0.5")
        if not self.label_separator:
            raise UsageError("E-OPTION", "The label separator is empty.", "--label-separator '|'")
        if self.group is not None and self.time is not None:
            raise UsageError("E-OPTION", "--group and --time both decide the split.", "one of them")
        for name, known in (
            ("keep", ("start", "end")),
            ("rare", ("error", "drop")),
            ("unseen", ("error", "ignore")),
        ):
            value = getattr(self, name)
            if value not in known:
                why = f"--{name} {shown(value)} is none of {', '.join(known)}."
                raise UsageError("E-OPTION", why, f"--{name} {known[0]}")

    @property
    def fractions(self) -> tuple[float, float, float]:
        """Shares of the main file: what a file of its own holds needs none."""
        validation = 0.0 if self.validation is not None else 0.1
        test = 0.0 if self.test is not None else self.test_share
        return (round(1 - validation - test, 9), validation, test)
