"""`howfar models`: what each family is, read from the headers of the families themselves."""

import os
import sys
from shutil import get_terminal_size
from textwrap import wrap

import click

MARGIN = 30  # columns below which breaking lines helps nobody


@click.command("models", short_help="What each family is, how far it can look, what it keeps.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def models_command(names: tuple[str, ...], as_json: bool) -> int:
    """List the families with their equation, shapes, reach, state and source.

    With NAMEs, only these, and their settings with the values they have unless told otherwise.
    """
    from dataclasses import fields

    from howfar.cli.write import document, result
    from howfar.models import MODELS, named

    chosen = [named(name) for name in names] or list(MODELS.values())
    facts = ("equation", "shapes", "reach", "state", "limits", "source")
    rows = [
        {fact: getattr(one, fact) for fact in ("name", "kind", "summary", *facts)}
        | {"settings": {field.name: field.default for field in fields(one.settings)}}
        for one in chosen
    ]
    if as_json:
        document({"schema": 1, "families": rows})
        return 0
    columns = get_terminal_size().columns if sys.stdout.isatty() or "COLUMNS" in os.environ else 0
    for index, row in enumerate(rows):
        title = f"{row['name']} ({row['kind']}): {row['summary']}"
        result(("" if index == 0 else "\n") + "\n".join(_within(title, "    ", columns)))
        told = {fact: row[fact] for fact in facts if row[fact]}
        if names:
            told["settings"] = "\n".join(
                f"{name}={row['settings'][name]!r}" for name in row["settings"]
            )
        for label, text in told.items():
            for place, line in enumerate(text.splitlines()):
                start = f"    {label:<9}" if place == 0 else " " * 13
                result("\n".join(_within(start + line, " " * 13, columns)))
    return 0


def _within(line: str, indent: str, columns: int) -> list[str]:
    """The line, broken where a terminal is narrower; 0 columns: whole."""
    if columns < MARGIN or len(line) <= columns:
        return [line]
    return wrap(line, columns, subsequent_indent=indent, break_on_hyphens=False)
