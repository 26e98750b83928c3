"""`howfar models`: what each family is."""

import click


@click.command("models", short_help="What each family is, how far it can look, what it keeps.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def models_command(as_json: bool) -> int:
    """List the families with their reach, state and source."""
    import json

    from howfar.models import MODELS

    fields = ("name", "kind", "summary", "reach", "state", "source")
    rows = [{name: getattr(family, name) for name in fields} for family in MODELS.values()]
    if as_json:
        print(json.dumps({"schema": 1, "families": rows}))
        return 0
    for row in rows:
        print(f"{row['name']} ({row['kind']}): {row['summary']}")
        print(f"    reach   {row['reach']}")
        print(f"    state   {row['state']}")
        print(f"    source  {row['source']}")
    return 0
