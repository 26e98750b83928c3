"""`howfar demo`: the point in three minutes, on shipped data, in one report."""

import dataclasses
from typing import Any

import click

from howfar.cli.options import run_options

# Small budgets that fit a laptop; within a part, every family gets the same.
PARTS: tuple[tuple[str, int, dict[str, Any]], ...] = (
    # A little longer than the TCN can see, so that its edge shows.
    ("recall", 64, {"budget": "400k tokens", "rates": (3e-3, 1e-2), "cost_lengths": ()}),
    ("tinyshakespeare", 128, {"budget": "250k tokens", "rates": (3e-3, 1e-2), "grid_share": 0.25}),
    (
        "movie_reviews",
        256,
        {
            "budget": "250k tokens",
            "rates": (1e-3, 3e-3),
            "grid_share": 0.25,
            "cost_lengths": (),
            "sequences": 64,
        },
    ),
)


@click.command("demo", short_help="Recall, Tiny Shakespeare and movie reviews in one report.")
@run_options
def demo_command(
    out: str | None,
    as_json: bool,
    workers: int | None,
    debug: bool,
    seed: int,
    threads: int,
    device: str,
) -> int:
    """Compare six families on a made task, a running text and labelled reviews.

    Takes about three minutes on two cores; needs no network and no GPU.
    """
    from howfar.cli.compare import checked_device, command_line, usable_cores
    from howfar.cli.show import Watch, exit_code, finish, prepare, present, say_report
    from howfar.cli.write import document
    from howfar.record.codec import to_data
    from howfar.record.comparison import Comparison
    from howfar.study.compare import compare
    from howfar.study.plan import CompareOptions
    from howfar.study.sources import SourceOptions, open_problem
    from howfar.train import Budget

    folder = prepare("howfar-demo" if out is None else out)
    shared = {
        "batch": 16,
        "cost_seconds": 0.15,
        "seed": seed,
        "threads": threads,
        "device": checked_device(device),
        "workers": workers or usable_cores(),
    }
    done: list[Comparison] = []
    try:
        for source, length, settings in PARTS:
            budget = Budget.parse(settings["budget"])
            options = CompareOptions(**{**settings, **shared, "budget": budget})
            problem = open_problem(source, SourceOptions(length=length, seed=seed))
            with Watch(f"{source}: {', '.join(options.families)}") as watch:
                found = compare(problem, options, listen=watch, command=command_line())
            done.append(found)
            if not as_json:
                present(found)
            if found.interrupted:
                break
    except KeyboardInterrupt:
        # Between two parts: what is finished is kept, and marked as not the whole.
        if not done:
            raise
        done[-1] = dataclasses.replace(done[-1], interrupted=True)
    page = finish(done, folder)
    if as_json:
        document({"schema": 1, "comparisons": to_data(tuple(done)), "report": str(page)})
    else:
        say_report(page)
    return exit_code(done)
