"""What an audit finds: kinds of fault, each with the smallest rows that show it.

Idea     an example holds what to ask twice: `tokens` and `changed`; a fault is that the answers
         differ where they must not. Asking the model again shows it
Units    effect, floor and scale in the unit of the model's output
"""

from dataclasses import dataclass, field
from math import isfinite
from typing import Any, NamedTuple

from torch import Tensor

from howfar.core.errors import UsageError
from howfar.measure.audit.judge import Moved
from howfar.measure.audit.rows import Rows

SHOWN = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """The smallest counter-example that was found.

    tokens: rows asked, (B, L) or (B, L, D), with `lengths` (B,).
    changed: rows asked again, with `changed_lengths`; the same rows where only the manner differs.
    row, target: where the answer moved; None: not one place. In a whole-sequence model target is
    None. changed_row: the row of `changed` that has its answer.
    source: the position that moved it; None: not one position.
    effect: largest |difference| of an answer; floor: what rounding may do; scale: largest |answer|.
    """

    tokens: Tensor = field(compare=False)
    lengths: Tensor = field(compare=False)
    changed: Tensor = field(compare=False)
    changed_lengths: Tensor = field(compare=False)
    row: int | None = None
    changed_row: int | None = None
    target: int | None = None
    source: int | None = None
    effect: float = 0.0
    floor: float = 0.0
    scale: float = 0.0

    def plain(self) -> dict[str, Any]:
        """For JSON: numbers and lists, rows cut to 32 tokens around where it happens.

        effect: None where an answer becomes another kind of number.
        """
        places = [place for place in (self.target, self.source) if place is not None]
        first = max(0, (min(places) if places else 0) - SHOWN // 4)
        part = slice(first, first + SHOWN)
        return {
            "first_token": first,
            "tokens": self.tokens[:, part].tolist(),
            "changed": self.changed[:, part].tolist(),
            "lengths": self.lengths.tolist(),
            "changed_lengths": self.changed_lengths.tolist(),
            "row": self.row,
            "changed_row": self.changed_row,
            "target": self.target,
            "source": self.source,
            "effect": self.effect if isfinite(self.effect) else None,
            "floor": self.floor,
            "scale": self.scale,
        }


class Finding(NamedTuple):
    """One fault: `kind` (one of `KINDS`), a sentence, the smallest example."""

    kind: str
    message: str
    example: Example


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check says: faults, or why it could not look, or what is worth knowing."""

    findings: tuple[Finding, ...] = ()
    skipped: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The result of an audit. Inputs are sampled: no finding is no proof.

    findings: one a fault. checked: kinds that were looked for. skipped: (kind, reason) of those
    that could not be. notes: properties that are no faults, such as "reads both sides".
    warnings: what limits the result. calls: forward passes.
    """

    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    calls: int

    @property
    def ok(self) -> bool:
        """Nothing was found."""
        return not self.findings

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds found, each once."""
        return tuple(dict.fromkeys(finding.kind for finding in self.findings))

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "schema": 1,
            "ok": self.ok,
            "findings": [
                {"kind": kind, "message": message, "example": example.plain()}
                for kind, message, example in self.findings
            ],
            "checked": list(self.checked),
            "skipped": [{"kind": kind, "reason": reason} for kind, reason in self.skipped],
            "notes": list(self.notes),
            "warnings": list(self.warnings),
            "calls": self.calls,
        }


def example_of(first: Rows, second: Rows, **rest: Any) -> Example:  # noqa: ANN401 - its fields
    """An example from two askings."""
    return Example(
        tokens=first.tokens.clone(),
        lengths=first.lengths.clone(),
        changed=second.tokens.clone(),
        changed_lengths=second.lengths.clone(),
        **rest,
    )


def same_rows(rows: Rows, found: Moved, *, everywhere: bool) -> Example:
    """An example of the same rows asked twice.

    Args:
        rows: asked.
        found: where the answers differ.
        everywhere: one output a position; else `target` is None.
    """
    return example_of(
        rows,
        rows,
        row=found.row,
        changed_row=found.row,
        target=found.place if everywhere else None,
        effect=found.effect,
        floor=found.limit,
        scale=found.scale,
    )


def refuse_equal_tokens() -> UsageError:
    """The error for data in which nothing can be changed."""
    message = "All tokens are the same, so nothing can be changed to see what follows."
    return UsageError("E-SHAPE", message, "rows of ordinary data.")
