"""`howfar models`: what each family is, read from the headers of the families themselves."""

import click


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
    for index, row in enumerate(rows):
        result(f"{'' if index == 0 else chr(10)}{row['name']} ({row['kind']}): {row['summary']}")
        told = {fact: row[fact] for fact in facts if row[fact]}
        if names:
            told["settings"] = "\n".join(
                f"{name}={row['settings'][name]!r}" for name in row["settings"]
            )
        for label, text in told.items():
            first, *more = text.splitlines() or [""]
            result(f"    {label:<9}{first}")
            for line in more:
                result(f"    {'':<9}{line}")
    return 0
