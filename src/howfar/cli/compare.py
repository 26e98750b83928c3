"""`howfar compare`: families side by side on a file, a shipped set or a task."""

import dataclasses
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from howfar.cli.options import Real, Several, Whole, all_of, pairs, run_options, table_options

source_options = all_of(
    click.option("--text", metavar="COLUMN", help="Column of texts, where it is not obvious."),
    click.option("--label", metavar="COLUMN", help="Column of labels, likewise."),
    click.option("--test", metavar="FILE", help="Test rows; else a tenth is held out."),
    click.option(
        "--tokens",
        default=None,
        metavar="byte|char|word|bpe",
        help="Default: words of a table, characters of a text.",
    ),
    click.option("--length", type=Whole(2, 2**20), help="Tokens in a sequence, at most."),
    click.option(
        "--keep",
        type=click.Choice(["start", "end"]),
        default="start",
        show_default=True,
        help="Which end of a longer text is kept.",
    ),
    table_options,
    click.option(
        "--empty",
        type=click.Choice(["error", "drop", "keep"]),
        default="error",
        show_default=True,
        help="What to do with empty texts.",
    ),
    click.option(
        "--rare",
        type=click.Choice(["error", "drop"]),
        default="error",
        show_default=True,
        help="What to do with labels seen too few times to split.",
    ),
)

family_options = all_of(
    click.option(
        "--families", metavar="a,b,c", help="Default: the usual six. See `howfar models`."
    ),
    click.option(
        "--budget",
        default=None,
        metavar="AMOUNT",
        help='What each run may train on: "200k tokens", "500 steps", "30 seconds". '
        "Default: 1M tokens, at most 8 passes over the data.",
    ),
    click.option(
        "--seeds", type=Whole(1, 100), default=2, show_default=True, help="Runs of each family."
    ),
    click.option(
        "--rates",
        type=Several(1e-8, 10.0),
        default="1e-3,3e-3,1e-2",
        show_default=True,
        help="Learning rates tried by every family.",
    ),
    click.option(
        "--parameters",
        type=Whole(1000, 10**9),
        default=60_000,
        show_default=True,
        help="Of each model's body, without embedding and head.",
    ),
    click.option(
        "--embedding",
        type=Whole(1, 4096),
        default=64,
        show_default=True,
        help="Width of the embedding.",
    ),
    click.option("--dropout", type=Real(0.0, 0.95), help="Default: 0.3 for labels, else 0."),
    click.option(
        "--batch",
        type=Whole(1, 65_536),
        default=32,
        show_default=True,
        help="Sequences in a training step.",
    ),
    click.option(
        "--sequences",
        type=Whole(2, 10**6),
        default=256,
        show_default=True,
        help="Sequences that reach is measured on.",
    ),
    click.option(
        "--cost-lengths",
        type=Several(1, 2**20, whole=True, none=True),
        default="128,512,2048,8192",
        show_default=True,
        help='Lengths at which cost is measured; "none" for no cost.',
    ),
)


@click.command("compare", short_help="Families side by side on your file or a task.")
@click.argument("source")
@source_options
@click.option(
    "--set",
    "task",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of a made task; `howfar task show NAME` lists them.",
)
@family_options
@run_options
def compare_command(
    source: str,
    out: str | None,
    as_json: bool,
    workers: int | None,
    debug: bool,
    **options: Any,
) -> int:
    """Train families side by side on SOURCE and measure how far back each one looks.

    SOURCE is a table with labels (.csv .tsv .jsonl .parquet, also .gz), a plain text (.txt), a
    shipped set (tinyshakespeare, movie_reviews), a made task (`howfar task list`) or a task file
    (.toml).
    """
    for path in (source, options["test"]):
        check_path(path)
    from howfar.cli.show import Watch, exit_code, finish, prepare, present, say_report
    from howfar.cli.write import document
    from howfar.record.codec import to_data
    from howfar.study.compare import compare
    from howfar.study.plan import designs, resolved
    from howfar.study.sources import SourceOptions, open_problem

    settings = comparison_settings(workers, options)
    options["task"] = pairs(options["task"])
    reading = {n: options[n] for n in SourceOptions.__dataclass_fields__ if n in options}
    problem = open_problem(source, SourceOptions(**reading))
    settings = resolved(settings, problem)
    designs(problem, settings)  # whatever cannot be built is said before a folder is made
    folder = prepare("howfar-report" if out is None else out)
    say_data(problem.data)
    with Watch(f"{settings.budget} a run: {', '.join(settings.families)}") as watch:
        done = compare(problem, settings, listen=watch, command=command_line())
    page = finish([done], folder)
    done = dataclasses.replace(done, report=str(page))
    if as_json:
        document(to_data(done))
    else:
        present(done)
        say_report(page)
    return exit_code([done])


def check_path(path: str | None) -> None:
    """Say what is wrong with a path at once, before torch is loaded; names have no ending."""
    from howfar.data.source import opened

    if path is not None and Path(path).suffix:
        with opened(path):
            return


def comparison_settings(workers: int | None, options: dict[str, Any]) -> Any:
    """The settings of a comparison from the command line's options."""
    from howfar.study.plan import CompareOptions
    from howfar.train import Budget

    given = {
        name: options[name]
        for name in ("seeds", "seed", "rates", "parameters", "embedding", "dropout", "batch")
    }
    given |= {name: options[name] for name in ("sequences", "cost_lengths", "threads")}
    if options["families"] is not None:
        names = [name.strip() for name in options["families"].split(",")]
        given["families"] = tuple(name for name in names if name)
    return CompareOptions(
        budget=None if options["budget"] is None else Budget.parse(options["budget"]),
        device=checked_device(options["device"]),
        workers=workers or usable_cores(),
        **given,
    )


def usable_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def checked_device(name: str) -> str:
    """A torch device that is there.

    Raises:
        UsageError: E-DEVICE.
    """
    import torch

    from howfar.core.errors import UsageError, shown

    try:
        torch.zeros(1, device=name).item()  # `meta` makes tensors, but has no numbers
    except (RuntimeError, AssertionError) as error:
        message = f"The device {shown(name)} cannot be used here."
        raise UsageError("E-DEVICE", message, "--device cpu") from error
    return name


def say_data(data: Any) -> None:
    """Say on stderr what was read, guessed and cut, before training starts."""
    from howfar.cli.write import log, note
    from howfar.report.words import data_line, shown

    console = log()
    note(console, data_line(shown(data)))
    for line in shown(data).notes:
        note(console, f"note: {line}")


def command_line() -> str:
    """The command as typed, quoted for a shell; bytes that are no text are spelled out."""
    from howfar.record.codec import printable

    return printable(shlex.join(["howfar", *sys.argv[1:]]))
