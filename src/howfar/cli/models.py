"""`howfar models`: what each family is."""

import click


@click.command("models", short_help="What each family is, how far it can look, what it keeps.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def models_command(as_json: bool) -> int:
    """List the families with their reach, state and source."""
    from howfar.cli.write import document, result
    from howfar.models import MODELS

    fields = ("name", "kind", "summary", "reach", "state", "source")
    rows = [{name: getattr(family, name) for name in fields} for family in MODELS.values()]
    if as_json:
        document({"schema": 1, "families": rows})
        return 0
    for row in rows:
        result(f"{row['name']} ({row['kind']}): {row['summary']}")
        result(f"    reach   {row['reach']}")
        result(f"    state   {row['state']}")
        result(f"    source  {row['source']}")
    return 0
