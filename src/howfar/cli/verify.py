"""`howfar verify`: check published claims, with the evidence beside each."""

import dataclasses
import re
import sys
from typing import Any

import click

DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(s|m|h|seconds?|minutes?|hours?)\s*")
SECONDS = {"s": 1, "m": 60, "h": 3600}


@click.command("verify", short_help="Check published claims on this machine.")
@click.argument("names", nargs=-1, metavar="[list | NAME]...")
@click.option("--all", "every", is_flag=True, help="All receipts, the cheapest first.")
@click.option(
    "--within", metavar="TIME", help='Time for all, such as "30m"; what will not fit, no.'
)
@click.option("--text", metavar="FILE", help="Another text, for receipts that are about a text.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def verify_command(
    names: tuple[str, ...],
    every: bool,
    within: str | None,
    text: str | None,
    as_json: bool,
    debug: bool,
) -> int:
    """Check claims of the literature: each NAME is a receipt with a band and a source.

    `howfar verify list` names them with what they cost. A claim is confirmed where the whole 95 %
    interval of what was measured lies in its band, contradicted where it lies outside, and else
    not confirmed. Exit code 1 where a claim is not confirmed.
    """
    from howfar.core.errors import UsageError
    from howfar.verify.receipt import named, receipts

    if names == ("list",):
        listed(receipts().values(), as_json)
        return 0
    if bool(names) == every:
        raise UsageError("E-OPTION", "Name receipts, or say --all.", "`howfar verify list`")
    chosen = [named(name) for name in names]
    if every:
        chosen = sorted(receipts().values(), key=lambda receipt: receipt.minutes)
    if text is not None:
        chosen = [about(receipt, text) for receipt in chosen]
    return checked(chosen, seconds(within), as_json)


def about(receipt: Any, text: str) -> Any:
    """The receipt with another text, where it is about one."""
    if "text" not in receipt.settings:
        return receipt
    return dataclasses.replace(receipt, settings=dict(receipt.settings) | {"text": text})


def seconds(text: str | None) -> float | None:
    """How many seconds "30m", "90 s" or "1 hour" are.

    Raises:
        UsageError: E-OPTION.
    """
    from howfar.core.errors import UsageError, shown

    if text is None:
        return None
    found = DURATION.fullmatch(text)
    if not found:
        raise UsageError("E-OPTION", f"--within {shown(text)} is no time.", "--within 30m")
    return float(found[1]) * SECONDS[found[2][0]]


def listed(receipts: Any, as_json: bool) -> None:
    """Every receipt: name, cost, claim, sources."""
    from howfar.cli.write import document, result

    if as_json:
        told = [
            {
                "name": receipt.name,
                "claim": receipt.claim,
                "source": list(receipt.source),
                "minutes": receipt.minutes,
                "bands": {band.what: band.text for band in receipt.expect},
            }
            for receipt in receipts
        ]
        document({"schema": 1, "receipts": told})
        return
    for receipt in receipts:
        result(f"{receipt.name}  (about {receipt.minutes:g} min)")
        result(f"    {receipt.claim}")
        for source in receipt.source:
            result(f"    {source}")


def checked(chosen: list[Any], within: float | None, as_json: bool) -> int:
    """Run them and print the table."""
    import torch
    from rich.text import Text

    from howfar.cli.write import document, log, result
    from howfar.verify.running import verify

    torch.set_num_threads(1)
    outcomes: list[Any] = []
    interrupted = False
    with log().status("") as status:
        try:
            for outcome in verify(
                chosen, within=within, say=lambda line: status.update(Text(line))
            ):
                outcomes.append(outcome)
                if not as_json:
                    status.stop()
                    result("\n".join(told(outcome)))
                    status.start()
        except KeyboardInterrupt:
            interrupted = True
    if as_json:
        document({"schema": 1, "receipts": [told_json(outcome) for outcome in outcomes]})
    else:
        result(summary(outcomes, len(chosen)))
    if interrupted:
        print("howfar: stopped; what stands above was finished", file=sys.stderr)
        return 130
    return 0 if all(outcome.verdict == "confirmed" for outcome in outcomes) else 1


def told(outcome: Any) -> list[str]:
    """The evidence of one receipt, in lines."""
    if outcome.verdict is None:
        return [f"{outcome.receipt.name}: not run, {outcome.why}"]
    lines = [f"{outcome.receipt.name}: {outcome.verdict} ({outcome.seconds:.0f} s)"]
    lines.append(f"    {outcome.receipt.claim}")
    for band, found, verdict in outcome.lines:
        value = "not measured" if found is None else found.text
        note = f", {found.note}" if found is not None and found.note else ""
        lines.append(f"    {verdict:<13} {band.what}: {value}{note}; wanted {band.text}")
    named = {band.what for band in outcome.receipt.expect}
    for what, found in outcome.measured.items():
        if what not in named:
            lines.append(f"    {'beside':<13} {what}: {found.text}")
    lines += [f"    source: {source}" for source in outcome.receipt.source]
    return [*lines, f"    {outcome.why}"] if outcome.why else lines


def told_json(outcome: Any) -> dict[str, Any]:
    """One receipt as a document."""
    return {
        "name": outcome.receipt.name,
        "verdict": outcome.verdict or "not run",
        "seconds": round(outcome.seconds, 1),
        "why": outcome.why,
        "claim": outcome.receipt.claim,
        "source": list(outcome.receipt.source),
        "bands": [
            {"what": band.what, "low": band.low, "high": band.high, "verdict": verdict}
            for band, _, verdict in outcome.lines
        ],
        "measured": {
            what: {"value": found.value, "low": found.low, "high": found.high, "note": found.note}
            for what, found in outcome.measured.items()
        },
    }


def summary(outcomes: list[Any], wanted: int) -> str:
    """How many of each verdict, and which are not confirmed."""
    counts = {
        verdict: [o.receipt.name for o in outcomes if (o.verdict or "not run") == verdict]
        for verdict in ("confirmed", "not confirmed", "contradicts", "not run")
    }
    counts["not run"] += [""] * (wanted - len(outcomes))
    parts = [f"{len(counts['confirmed'])} of {wanted} confirmed"]
    for verdict in ("not confirmed", "contradicts", "not run"):
        if counts[verdict]:
            names = ", ".join(name for name in counts[verdict] if name)
            parts.append(f"{len(counts[verdict])} {verdict}" + (f" ({names})" if names else ""))
    return "; ".join(parts)
