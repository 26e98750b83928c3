"""Check receipts one after the other, within a given time; what was finished is kept.

Idea     a receipt whose stated cost no longer fits is left out and said so, never cut short: a
         check on half its budget is another check
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from howfar.verify.checks import CHECKS
from howfar.verify.receipt import Band, Receipt
from howfar.verify.verdict import Measured, Verdict, together, verdict

Said = Callable[[str], None]  # a line of progress


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a receipt. `why`: where it was not run, or failed."""

    receipt: Receipt
    verdict: Verdict | None
    measured: dict[str, Measured] = field(default_factory=dict)
    seconds: float = 0.0
    why: str = ""

    @property
    def lines(self) -> Iterator[tuple[Band, Measured | None, Verdict]]:
        """Band, what was measured, and what it says, a band."""
        for band in self.receipt.expect:
            found = self.measured.get(band.what)
            yield band, found, "not confirmed" if found is None else verdict(found, band)


def verify(
    chosen: Sequence[Receipt], *, within: float | None = None, say: Said = lambda line: None
) -> Iterator[Outcome]:
    """Check receipts in order.

    Args:
        chosen: what to check.
        within: seconds for all of them; None: as long as it takes.
        say: called with lines of progress.
    """
    began = time.monotonic()
    for receipt in chosen:
        left = None if within is None else within - (time.monotonic() - began)
        if left is not None and receipt.minutes * 60 > left:
            why = f"needs about {receipt.minutes:g} min, {max(0.0, left) / 60:.1f} are left"
            yield Outcome(receipt, None, why=why)
            continue
        yield check(receipt, say)


def check(receipt: Receipt, say: Said = lambda line: None) -> Outcome:
    """Run one receipt."""
    started = time.monotonic()
    try:
        measured = CHECKS[receipt.check](dict(receipt.settings), say)
    except Exception as error:  # the others go on
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        return Outcome(receipt, "not confirmed", {}, time.monotonic() - started, why)
    missing = [band.what for band in receipt.expect if band.what not in measured]
    verdicts = [
        verdict(measured[band.what], band) for band in receipt.expect if band.what in measured
    ]
    found = "not confirmed" if missing else together(verdicts)
    why = f"not measured: {', '.join(missing)}" if missing else ""
    return Outcome(receipt, found, measured, time.monotonic() - started, why)
