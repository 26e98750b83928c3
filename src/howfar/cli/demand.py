"""`howfar demand`: how far back the data reaches, whatever the model."""

import dataclasses
from typing import Any

import click

from howfar.cli.compare import source_options
from howfar.cli.options import Whole


@click.command("demand", short_help="How far back your data reaches, whatever the model.")
@click.argument("source")
@source_options
@click.option(
    "--out", default=None, metavar="FOLDER", help="Where the figures go; by default howfar-demand."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--seed", type=Whole(0, 2**62), default=0, show_default=True, help="Of all draws.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def demand_command(source: str, out: str | None, as_json: bool, debug: bool, **options: Any) -> int:
    """Measure how far back SOURCE itself reaches: what a long memory could be good for.

    Running text: how far apart two tokens depend on each other, and how much context pays for
    counting and copying. Labelled texts: also how many of the last or first tokens tell the label.
    """
    import time

    from howfar.cli.compare import check_path, command_line, say_data
    from howfar.cli.show import prepare
    from howfar.cli.write import document, log, note, result
    from howfar.core.errors import UsageError, shown
    from howfar.record.codec import to_data
    from howfar.record.comparison import Demand
    from howfar.report.save import save_demand
    from howfar.report.table import render_demand
    from howfar.study.demand import needs
    from howfar.study.problems import LabelProblem
    from howfar.study.sources import SourceOptions, open_problem

    for path in (source, options["test"]):
        check_path(path)
    started = time.monotonic()
    reading = {n: options[n] for n in SourceOptions.__dataclass_fields__ if n in options}
    reading["whole"] = options["length"] is None  # how much of a text is needed, of all of it
    problem = open_problem(source, SourceOptions(**reading))
    folder = prepare("howfar-demand" if out is None else out)
    data = problem.data
    if isinstance(problem, LabelProblem) and options["length"] is None:
        rows = (*problem.labelled.train.ids, *problem.labelled.test.ids)
        data = dataclasses.replace(data, length=max(map(len, rows)))  # nothing was cut
    say_data(data)
    found = needs(problem, options["seed"])
    if not found:
        message = f"{shown(source)} is a made task: it says its distances itself."
        raise UsageError("E-OPTION", message, "a file, or a shipped set such as tinyshakespeare")
    seconds = time.monotonic() - started
    done = Demand(data=data, needs=found, command=command_line(), seconds=seconds)
    save_demand(done, folder)
    done = dataclasses.replace(done, report=str(folder))
    for need in found:
        for line in need.notes:
            note(log(), f"note: {need.name}: {line}")
    if as_json:
        document(to_data(done))
    else:
        result(render_demand(done).rstrip("\n"))
        result(f"figures: {shown(folder, limit=4096) if not str(folder).isprintable() else folder}")
    return 0
