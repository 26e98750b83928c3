"""Receipts: published claims with the band they must fall into, and what it takes to check them.

Rooms    receipt: the committed settings file; verdict: what a measurement says of a band; checks:
         how each kind is measured; running: one after the other, within a given time
"""

from howfar.verify.receipt import Band, Receipt, receipts
from howfar.verify.running import Outcome, verify
from howfar.verify.verdict import Measured, verdict

__all__ = ["Band", "Measured", "Outcome", "Receipt", "receipts", "verdict", "verify"]
