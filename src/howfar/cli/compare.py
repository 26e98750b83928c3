"""`howfar compare`: families side by side on a file, a shipped set or a task."""

import dataclasses
import json
import os
import shlex
import sys
from typing import Any

import click

from howfar.cli.options import Real, Several, Whole, all_of, run_options

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
    click.option("--length", type=Whole(2, 2**20), help="Tokens a sequence."),
    click.option(
        "--keep",
        type=click.Choice(["start", "end"]),
        default="start",
        show_default=True,
        help="Which end of a longer text is kept.",
    ),
    click.option("--encoding", help="Of the file; UTF-8 by default."),
    click.option("--sep", "separator", help="Between columns; guessed by default."),
    click.option("--no-header", is_flag=True, help="The first row is data."),
    click.option(
        "--bad-rows", type=click.Choice(["error", "skip"]), default="error", show_default=True
    ),
    click.option(
        "--empty", type=click.Choice(["error", "drop", "keep"]), default="error", show_default=True
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
    click.option("--families", metavar="a,b,c", help="Default: all. See `howfar models`."),
    click.option(
        "--budget",
        default="1M tokens",
        show_default=True,
        help='What each run may train on: "200k tokens", "500 steps", "30 seconds".',
    ),
    click.option(
        "--seeds", type=Whole(1, 100), default=2, show_default=True, help="Runs a family."
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
        help="Of each body; embedding and head apart.",
    ),
    click.option(
        "--embedding", type=Whole(1, 4096), default=64, show_default=True, help="Its width."
    ),
    click.option("--dropout", type=Real(0.0, 0.95), help="Default: 0.3 for labels, else 0."),
    click.option(
        "--batch", type=Whole(1, 65_536), default=32, show_default=True, help="Rows a step."
    ),
    click.option(
        "--sequences", type=Whole(2, 10**6), default=256, show_default=True, help="For reach."
    ),
    click.option(
        "--cost-lengths",
        type=Several(1, 2**20, whole=True, none=True),
        default="128,512,2048,8192",
        show_default=True,
        help='"none" to leave cost out.',
    ),
)


@click.command("compare", short_help="Families side by side on your file or a task.")
@click.argument("source")
@source_options
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
    shipped set (tinyshakespeare, movie_reviews) or the made task recall.
    """
    from howfar.cli.show import Watch, exit_code, finish, json_document, prepare, present
    from howfar.study.compare import compare
    from howfar.study.sources import SourceOptions, open_problem

    settings = comparison_settings(workers, options)
    reading = {name: options[name] for name in SourceOptions.__dataclass_fields__}
    problem = open_problem(source, SourceOptions(**reading))
    folder = prepare(out or "howfar-report")
    say_data(problem.data)
    with Watch(f"comparing {', '.join(settings.families)}") as watch:
        done = compare(problem, settings, listen=watch, command=command_line())
    page = finish([done], folder)
    done = dataclasses.replace(done, report=str(page))
    if as_json:
        print(json.dumps(json_document(done), ensure_ascii=False))
    else:
        present(done)
        print(f"report: {page}")
    return exit_code([done])


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
        budget=Budget.parse(options["budget"]),
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
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        message = f"The device {shown(name)} cannot be used here."
        raise UsageError("E-DEVICE", message, "--device cpu.") from error
    return name


def say_data(data: Any) -> None:
    """Say on stderr what was read, guessed and cut, before training starts."""
    from rich.console import Console
    from rich.text import Text

    from howfar.report.words import data_line, shown

    console = Console(stderr=True, highlight=False)
    console.print(Text(data_line(shown(data))))
    for note in shown(data).notes:
        console.print(Text(f"note: {note}"))


def command_line() -> str:
    """The command as typed, quoted for a shell."""
    return shlex.join(["howfar", *sys.argv[1:]])
