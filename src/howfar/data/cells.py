"""From raw cells to clean texts and labels, with a ledger of the rows left out.

Idea     a fault either ends the reading or, with `skip`, is counted under its reason
Labels   strings without outer white space; a missing one is a fault, "nan" and "NA" are labels
"""

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from howfar.core.errors import DataError, shown
from howfar.data.faults import RAW_KEPT, SHOWN_ROWS, Fault, counted, error, listed, place, share
from howfar.data.rejects import Rejects

SURROGATE = re.compile("[\ud800-\udfff]")
_WHOLE_FLOAT = re.compile(r"([+-]?\d+)\.0+\Z", re.ASCII)
_TRUTH = {True: "true", False: "false"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """What a format's reader found: `column(i)` gives the values of column i, row by row."""

    names: Sequence[str]
    lines: Sequence[int]
    column: Callable[[int], Sequence[object]]
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Kept:
    """The rows that stay."""

    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Ledger:
    """Counts rows left out by reason, and lists them where asked, or raises at the first."""

    def __init__(self, path: str, *, skip: bool, rejects: Rejects | None = None) -> None:
        self.path = path
        self.skip = skip
        self.rejects = rejects
        self.dropped: Counter[str] = Counter()
        self._ragged: list[Fault] = []
        self._num_ragged = 0

    def add(self, fault: Fault, record: int | None = None) -> None:
        """Count a fault, or raise it; ragged rows are gathered to be raised together."""
        if self.skip:
            self.leave_out(fault, record)
        elif fault.code == "E-RAGGED":
            self._num_ragged += 1
            if len(self._ragged) <= SHOWN_ROWS:
                self._ragged.append(fault)
        else:
            raise error(fault, self.path)

    def leave_out(self, fault: Fault, record: int | None = None) -> None:
        """Count a row that does not stay, whatever `skip` says."""
        self.dropped[fault.reason] += 1
        if self.rejects is not None:
            self.rejects.add(fault, record)

    def finish(self, num_rows: int) -> None:
        """Raise E-RAGGED for gathered rows, E-EMPTY where no row is left; list the rejects."""
        if self.rejects is not None:
            self.rejects.publish()
        if self._ragged:
            first = self._ragged[0]
            rows = listed([fault.line for fault in self._ragged], self._num_ragged)
            raise DataError(
                first.code,
                f"{first.what} in {place(self.path, first.line)}: {first.why} "
                f"({self._num_ragged:,} such: {rows}).",
                first.hint,
            )
        if not num_rows:
            why = "no rows" if not self.dropped else f"every row was left out ({self._reasons()})"
            raise DataError(
                "E-EMPTY", f"Nothing to read in {place(self.path)}: {why}.", "check the file"
            )

    def notes(self) -> tuple[str, ...]:
        """A sentence on the rows left out, or nothing."""
        if not self.dropped:
            return ()
        said = f"Left out: {counted(self.dropped.total())} ({self._reasons()})."
        return (said if self.rejects is None else f"{said} {self.rejects.note()}",)

    def _reasons(self) -> str:
        return ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.dropped.items()))


def clean(
    found: Cells,
    at: tuple[int, int],
    ledger: Ledger,
    *,
    empty: str,
    max_field: int,
    into: Kept | None = None,
) -> Kept:
    """Check and convert the text and the label of every row; `into` gathers them in its own way.

    Raises:
        DataError: E-EMPTY-TEXT, E-LABEL, E-NUL, E-FIELD, E-ENCODING, E-FORMAT, E-EMPTY.
    """
    kept, blank, unlabelled, stripped = into or Kept(), [], [], 0
    names = (found.names[at[0]], found.names[at[1]])
    texts, labels = found.column(at[0]), found.column(at[1])
    for line, text_value, label_value in zip(found.lines, texts, labels, strict=True):
        text = checked(text_value, line, names[0], max_field)
        label = checked(label_value, line, names[1], max_field)
        if isinstance(text, Fault):
            ledger.add(text)
            continue
        if isinstance(label, Fault):
            ledger.add(label)
            continue
        if not text.strip() and empty != "keep":
            blank.append(line)
            continue
        bare = label.strip()
        if not bare:
            unlabelled.append(line)
            continue
        stripped += bare != label
        kept.texts.append(text)
        kept.labels.append(bare)
        kept.lines.append(line)
    _settle(blank, unlabelled, names, ledger, drop_empty=empty == "drop", rows=len(found.lines))
    ledger.finish(len(kept.lines))
    if stripped:
        kept.notes.append(f"W-LABEL-STRIP: outer white space was removed in {counted(stripped)}.")
    return kept


def near_duplicates(labels: Sequence[str]) -> tuple[str, ...]:
    """Sentences naming labels that differ only in case, Unicode form, or "1" against "1.0"."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for label in sorted(set(labels)):
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", label).casefold())
        groups[_WHOLE_FLOAT.sub(r"\1", key)].append(label)
    alike = [group for group in groups.values() if len(group) > 1]
    return tuple(
        "W-LABEL-NEAR: nearly equal labels are kept apart: "
        f"{', '.join(shown(label, 40) for label in group)}."
        for group in alike
    )


def _settle(
    blank: list[int],
    unlabelled: list[int],
    names: tuple[str, str],
    ledger: Ledger,
    *,
    drop_empty: bool,
    rows: int,
) -> None:
    if blank and (drop_empty or ledger.skip):
        for line in blank:
            ledger.leave_out(Fault(line, "E-EMPTY-TEXT", "", "", "empty text", column=names[0]))
    elif blank:
        where = place(ledger.path, blank[0], names[0])
        raise DataError(
            "E-EMPTY-TEXT",
            f"Empty text in {where}: {share(len(blank), rows)} have no text ({listed(blank)}).",
            "--empty drop leaves them out, --empty keep keeps them",
        )
    if unlabelled and ledger.skip:
        for line in unlabelled:
            ledger.leave_out(Fault(line, "E-LABEL", "", "", "no label", column=names[1]))
    elif unlabelled:
        where = place(ledger.path, unlabelled[0], names[1])
        raise DataError(
            "E-LABEL",
            f"Missing label in {where}: {share(len(unlabelled), rows)} have no label "
            f"({listed(unlabelled)}).",
            "fill them in, or --bad-rows skip leaves them out",
        )


def checked(value: object, line: int, column: str, max_field: int) -> str | Fault:
    """The value's text ("" where it is missing), or what is wrong with it."""
    text = _as_text(value)
    fault = None
    if text is None:
        what = "Bytes that are not UTF-8" if isinstance(value, bytes) else "Not text"
        code = "E-ENCODING" if isinstance(value, bytes) else "E-FORMAT"
        why = f"the cell holds {_kind(value)}"
        return Fault(line, code, what, why, "not text", "store the cell as text", column)
    if "\0" in text:
        why, hint = "text holds none", "remove it"
        fault = Fault(line, "E-NUL", "NUL character", why, "NUL character", hint, column)
    elif len(text) > max_field:
        why = f"the cell has {len(text):,} characters, more than {max_field:,}"
        hint = "shorten it, or leave the row out with --bad-rows skip"
        fault = Fault(line, "E-FIELD", "Cell too long", why, "cell too long", hint, column)
    elif not text.isascii() and SURROGATE.search(text):
        why = "half of a surrogate pair, which no encoding can store"
        hint = "write the file again from whole characters"
        fault = Fault(line, "E-ENCODING", "Lone surrogate", why, "lone surrogate", hint, column)
    return text if fault is None else replace(fault, raw=text[:RAW_KEPT])


def _as_text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return _TRUTH[value]
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    return None


def _kind(value: object) -> str:
    name = type(value).__name__
    return {"list": "a list", "dict": "an object", "bytes": "bytes"}.get(name, f"a {name}")
