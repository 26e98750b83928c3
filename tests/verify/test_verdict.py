"""Verdicts by hand, receipts that are refused, and running within a time."""

import pytest

from howfar.core.errors import DataError, UsageError
from howfar.verify import Band, Measured, Receipt, receipts, verdict, verify
from howfar.verify.checks import CHECKS
from howfar.verify.receipt import named, parse
from howfar.verify.verdict import together

GOOD = """
claim = "one is one"
source = ["https://example.org"]
minutes = 2
check = "one"
[settings]
value = 1.0
[[expect]]
what = "one"
low = 0.9
high = 1.1
"""


@pytest.fixture
def one(monkeypatch):
    def check(settings, say):
        say("one")
        if settings["value"] == "bad":
            raise RuntimeError("no\nnumber")
        return {"one": Measured.exactly(settings["value"]), "two": Measured.exactly(2)}

    monkeypatch.setitem(CHECKS, "one", check)


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (0.2, 0.3, "confirmed"),
        (0.1, 0.4, "confirmed"),  # the ends belong to the band
        (0.05, 0.3, "not confirmed"),
        (0.3, 0.5, "not confirmed"),
        (0.0, 0.5, "not confirmed"),
        (0.35, 0.6, "not confirmed"),  # the value lies outside, its interval does not
        (0.0, 0.15, "not confirmed"),
        (0.41, 0.5, "contradicts"),
        (0.0, 0.09, "contradicts"),
        (float("nan"), float("nan"), "not confirmed"),
    ],
)
def test_an_interval_against_a_band(low, high, says):
    assert verdict(Measured((low + high) / 2, low, high), Band(what="x", low=0.1, high=0.4)) == says


def test_open_bands():
    assert verdict(Measured.exactly(7), Band(what="x", low=1)) == "confirmed"
    assert verdict(Measured.exactly(0), Band(what="x", low=1)) == "contradicts"
    assert verdict(Measured.exactly(0), Band(what="x", high=1)) == "confirmed"
    with pytest.raises(DataError, match="no end"):
        Band(what="x")


def test_all_bands_together():
    assert together(["confirmed", "confirmed"]) == "confirmed"
    assert together(["confirmed", "not confirmed"]) == "not confirmed"
    assert together(["contradicts", "confirmed", "not confirmed"]) == "contradicts"
    assert together([]) == "not confirmed"


def test_a_receipt_is_run(one):
    (outcome,) = verify([parse("one", GOOD)])
    assert outcome.verdict == "confirmed"
    ((band, found, says),) = outcome.lines
    assert (band.what, found.value, says) == ("one", 1.0, "confirmed")


@pytest.mark.parametrize(
    ("before", "after", "says", "why"),
    [
        ("value = 1.0", "value = 1.2", "contradicts", ""),
        ("value = 1.0", 'value = "bad"', "not confirmed", "RuntimeError: no"),
        ('what = "one"', 'what = "three"', "not confirmed", "not measured: three"),
    ],
)
def test_receipts_that_fail(one, before, after, says, why):
    (outcome,) = verify([parse("one", GOOD.replace(before, after))])
    assert (outcome.verdict, outcome.why) == (says, why)


def test_what_does_not_fit_is_left_out(one):
    long, short = parse("one", GOOD), parse("one", GOOD.replace("minutes = 2", "minutes = 0.1"))
    outcomes = list(verify([long, short], within=30.0))
    assert [outcome.verdict for outcome in outcomes] == [None, "confirmed"]
    assert "needs about 2 min" in outcomes[0].why


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("minutes", "minute", "unknown key 'minute'. Did you mean 'minutes'"),
        ("low", "lower", "unknown key 'lower'. Did you mean 'low'"),
        ('claim = "one is one"\n', "", "claim"),
    ],
)
def test_receipts_that_are_refused(before, after, says):
    with pytest.raises(DataError, match=says):
        parse("one", GOOD.replace(before, after))


def test_every_receipt_can_be_read():
    for name, receipt in receipts().items():
        assert isinstance(receipt, Receipt)
        assert receipt.check in CHECKS, name
        assert receipt.expect, name
        assert receipt.source, name
        assert receipt.minutes > 0, name
    with pytest.raises(UsageError, match="No receipt is called 'nothing'"):
        named("nothing")
