"""A first look at a model: one output a position or a sequence, of which type, and how many.

Idea     rows are asked whole and less their last token: an output that follows their length has
         one answer a position; one that stays has classes, or is cut
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from howfar.core.errors import DataError, UsageError
from howfar.measure.audit.rows import Rows
from howfar.measure.audit.subject import Refused, Subject

ELEMENTS = 8_000_000  # numbers in the answer to a batch: rows and tokens are cut to that
SHORTEST = 32  # tokens that rows are not cut below


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen.

    positions: answers that a row of more tokens has, if fewer than tokens. strided: answers follow
    the length, but are not one a token. last: size of the output's last axis. numbers: in the
    answer to one row.
    """

    everywhere: bool
    positions: int | None
    strided: bool
    last: int
    numbers: int
    dtype: torch.dtype

    @property
    def batch(self) -> int:
        """Rows whose answers can be held together, two at least."""
        return max(2, ELEMENTS // max(self.numbers, 1))

    @property
    def width(self) -> int:
        """Tokens of two rows whose answers can be held together."""
        return max(SHORTEST, ELEMENTS // (2 * self.last)) if self.everywhere else self.numbers


def look(subject: Subject, rows: Rows) -> Look:
    """Ask once or twice.

    Raises:
        UsageError: the model raises, or answers in no form that is understood.
    """
    rows = rows.pick([0, 1])
    rows = Rows(rows.tokens, torch.full_like(rows.lengths, rows.width))
    try:
        output = _ask(subject, rows)
    except Refused as refusal:
        message = f"The model cannot be asked rows of {rows.width} tokens: {refusal}."
        raise UsageError("E-MODEL", message, "model(tokens) or model(tokens, lengths).") from None
    if output.ndim not in (1, 2, 3):
        message = f"A model must return (B, L, V), (B, L) or (B, C), got {tuple(output.shape)}."
        raise UsageError("E-SHAPE", message, "wrap the model in a function that returns logits.")
    places = int(output.shape[1]) if output.ndim > 1 else 1
    form = _form(subject, rows, places, three=output.ndim == 3)
    last = int(output.shape[-1]) if output.ndim == 3 or (not form[0] and output.ndim > 1) else 1
    return Look(*form, last, output[0].numel(), output.dtype)


def _form(
    subject: Subject, rows: Rows, places: int, *, three: bool
) -> tuple[bool, int | None, bool]:
    """everywhere, positions, strided: from what a few tokens less do to the second axis."""
    if places == 1:
        return False, None, False
    if places == rows.width:
        everywhere = three or _places(subject, rows.cut(places - 1)) == places - 1
        return everywhere, None, False
    if places < rows.width and _places(subject, rows.cut(places - 1)) == places - 1:
        return True, places, False
    half = _places(subject, rows.cut(max(1, rows.width // 2)))
    return False, None, half is not None and half != places


def check_numbers(subject: Subject, rows: Rows) -> None:
    """Refuse a model whose answer to full rows is not a number.

    Raises:
        DataError: E-OUTPUT.
    """
    # twice the same, for models that take no single row
    answer = subject.answer(rows.pick([0, 0]).cut(int(rows.lengths[0])))
    if bool(answer.isnan().any()):
        message = "The model's output for a row without padding is not a number (NaN)."
        raise DataError("E-OUTPUT", message, "check the model for overflow; nothing was audited.")


def _places(subject: Subject, rows: Rows) -> int | None:
    """The second axis of the answer to these rows; None: the model refuses them."""
    try:
        output = _ask(subject, rows)
    except Refused:
        return None
    return int(output.shape[1]) if output.ndim > 1 else 1


def _ask(subject: Subject, rows: Rows) -> Tensor:
    with subject.asking():
        return subject.raw(rows)
