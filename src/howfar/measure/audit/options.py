"""How an audit is to be made."""

from dataclasses import dataclass

from howfar.core.errors import UsageError

KINDS = (
    "future_leak",
    "padding",
    "batch_mates",
    "batch_order",
    "train_eval",
    "stateful",
    "step_parallel",
    "observed",
    "empty_row",
    "truncation",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOptions:
    """How to look.

    rows: sequences asked together; length: tokens they are cut to.
    cuts: places at most where the future is swapped, each on two rows; up to 257 tokens that is
    every place. longest: tokens of the rows made to look for silent truncation.
    seconds: when the search for a leak ends even if cuts are left, which is then said.
    checks: which kinds to look for. seed: of everything that is drawn.
    """

    rows: int = 8
    length: int = 256
    cuts: int = 256
    longest: int = 1024
    seconds: float = 20.0
    checks: tuple[str, ...] = KINDS
    seed: int = 0

    def __post_init__(self) -> None:
        checks = {
            "rows": self.rows >= 2,
            "length": self.length >= 2,
            "cuts": self.cuts >= 1,
            "longest": self.longest >= self.length,
            "seconds": self.seconds > 0,
            "checks": len(self.checks) > 0 and set(self.checks) <= set(KINDS),
        }
        for name, fine in checks.items():
            if not fine:
                message = f"{name}={getattr(self, name)!r} is out of range."
                hint = f"kinds are {', '.join(KINDS)}." if name == "checks" else "see AuditOptions."
                raise UsageError("E-OPTION", message, hint)
