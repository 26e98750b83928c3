"""Budgets: what is understood, and how much is used."""

import pytest

from howfar.core.errors import UsageError
from howfar.train import Budget


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("200k tokens", Budget(200_000, "tokens")),
        ("1M tokens", Budget(1e6, "tokens")),
        ("1.5m", Budget(1.5e6, "tokens")),
        ("5000", Budget(5000, "tokens")),
        ("500 steps", Budget(500, "steps")),
        ("1 step", Budget(1, "steps")),
        ("30 seconds", Budget(30, "seconds")),
        ("30s", Budget(30, "seconds")),
        ("2 minutes", Budget(120, "seconds")),
        ("2min", Budget(120, "seconds")),
    ],
)
def test_what_is_understood(text, want):
    assert Budget.parse(text) == want


@pytest.mark.parametrize(
    "text",
    ["", "0", "-5 steps", "nan tokens", "inf", "1e3", "5 parsecs", "tokens", "1_0", "\u0661 steps"],
)
def test_what_is_not(text):
    with pytest.raises(UsageError, match="budget"):
        Budget.parse(text)


def test_used_and_part():
    assert Budget(200, "tokens").used(50, 9, 9.0) == 0.25
    assert Budget(200, "steps").used(9, 50, 9.0) == 0.25
    assert Budget(200, "seconds").used(9, 9, 50.0) == 0.25
    assert Budget(10, "steps").part(1 / 3) == Budget(3, "steps")
    assert Budget(1, "steps").part(1 / 3) == Budget(1, "steps")
    assert Budget(9, "tokens").part(1 / 3) == Budget(3, "tokens")
    assert str(Budget(200_000)) == "200,000 tokens"
