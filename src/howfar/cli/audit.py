"""`howfar audit`: faults that make a model answer otherwise than it should."""

from typing import Any

import click

from howfar.cli.reach import aside, machine_options, open_subject, rows_options


@click.command("audit", short_help="Leaks from the future, padding that matters, and other faults.")
@click.argument("model")
@click.argument("data", required=False)
@rows_options
@click.option(
    "--causal/--both-sides", default=None, help="Whether answers may not know later tokens."
)
@machine_options
def audit_command(
    model: str,
    data: str | None,
    causal: bool | None,
    as_json: bool,
    debug: bool,
    **options: Any,
) -> int:
    """Look for faults in MODEL by asking it about DATA, changed in ways that must not matter.

    MODEL and DATA are as for `howfar reach`. Exit code 0: nothing was found; 1: there are findings.
    """
    from howfar.api.engine import measure
    from howfar.cli.write import document, log, note, result

    with aside():
        subject = open_subject(model, data, options)
    console = log()
    for line in (subject.line, *(f"note: {line}" for line in subject.notes)):
        note(console, line)
    asked = subject.asked
    full = bool((asked.lengths == asked.tokens.shape[1]).all())
    with aside():
        found = measure(
            "audit",
            subject.predict,
            asked.tokens,
            lengths=None if full else asked.lengths,
            causal=causal,
            seed=options["seed"],
        )
    if as_json:
        document({**found.plain(), **subject.data})
        return 0 if found.ok else 1
    result(subject.line)
    for kind, message, example in found.findings:
        result(f"{kind}: {message}")
        result(f"  example     {example_line(example.plain())}")
    result(f"checked: {', '.join(found.checked) or 'nothing'}")
    for kind, reason in found.skipped:
        result(f"not checked: {kind}: {reason}")
    for line in (*found.notes, *found.warnings):
        result(f"note: {line}")
    result("no fault found (inputs are sampled: no proof)" if found.ok else "faults were found")
    return 0 if found.ok else 1


def example_line(example: dict[str, Any]) -> str:
    """The smallest counter-example in one line: the two rows that were asked, and the effect."""
    row = example["row"] or 0
    other = example.get("changed_row")
    other = row if other is None else other
    asked = example["tokens"][min(row, len(example["tokens"]) - 1)]
    changed = example["changed"][min(other, len(example["changed"]) - 1)]
    parts = [f"{_short(asked)} against {_short(changed)}"]
    for name in ("target", "source"):
        if example[name] is not None:
            parts.append(f"{name} {example[name]}")
    if example["effect"] is None:
        parts.append("the answer is not a finite number")
    else:
        effect, floor = example["effect"], example["floor"] or 0.0
        parts.append(f"moves the answer by {effect:.3g} (rounding: {floor:.1g})")
    return ", ".join(parts)


def _short(row: list[Any]) -> str:
    text = " ".join(f"{x:.3g}" if isinstance(x, float) else str(x) for x in row[:16])
    return f"[{text}{' ...' if len(row) > 16 else ''}]"
