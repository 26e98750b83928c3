"""`howfar predict`: what a trained model says of texts."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from howfar.cli.options import Whole, all_of, table_options

ENDINGS = (".csv", ".jsonl", ".ndjson")
SNIPPET = 48  # characters of a text in the table on the screen
WIDE = 32  # of a prediction there

_reading_options = all_of(
    click.option("--text", metavar="COLUMN", help="Column of texts of a table."),
    click.option(
        "--format",
        type=click.Choice(["csv", "tsv", "jsonl", "text"]),
        help="Of standard input, or of a file whose name does not say it.",
    ),
    table_options,
)


@click.command("predict", short_help="What a trained model says of texts.")
@click.argument("model")
@click.argument("source", metavar="FILE")
@_reading_options
@click.option("--out", metavar="FILE", help="Where answers go: .csv or .jsonl. Default: screen.")
@click.option("--probabilities", is_flag=True, help="Those of every class or label too.")
@click.option("--keep-columns", is_flag=True, help="With --out: the columns of FILE in front.")
@click.option("--csv-raw", is_flag=True, help="Leave texts that a spreadsheet runs as formulas.")
@click.option(
    "--batch-tokens",
    type=Whole(1, 2**24),
    default=4_096,
    show_default=True,
    help="Padded tokens read at once; a GPU likes more.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="bfloat16 is quicker on some machines, and less exact.",
)
@click.option("--trust-code", is_flag=True, help="Run code that the model names.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--threads", type=Whole(1, 256), default=1, show_default=True, help="Of torch.")
@click.option("--device", default="cpu", metavar="NAME", show_default=True, help="cpu, cuda, mps.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def predict_command(
    model: str, source: str, out: str | None, as_json: bool, debug: bool, **options: Any
) -> int:
    """Ask MODEL about every text of FILE.

    MODEL is the folder that `howfar train --out` wrote, or hf:OWNER/NAME. FILE is a table (its text
    column is enough), a text file with one text a line, a folder of texts, or - for standard
    input. Answers come in the order of the texts. In CSV, texts that a spreadsheet would run as
    formulas get a ' in front; .jsonl keeps every text as it is.
    """
    from howfar.bundle.inputs import read_inputs
    from howfar.bundle.tables import rows_of
    from howfar.cli.compare import command_line
    from howfar.cli.write import document, log, note, result
    from howfar.core.errors import shown

    target = None if out is None else checked_out(out, source)
    bundle = opened(model, options)
    reading = {name: options[name] for name in ("text", "encoding", "separator", "no_header")}
    reading |= {name: options[name] for name in ("bad_rows", "format", "quote") if options[name]}
    inputs = read_inputs(source, bundle.settings.aim, **reading)
    with bar(len(inputs.texts)) as progress:
        found = bundle.predictions(
            inputs.texts,
            batch_tokens=options["batch_tokens"],
            precision=options["precision"],
            progress=progress,
        )
    notes = [*bundle.notes, *inputs.notes, *warnings(found, bundle.settings)]
    console = log()
    for line in notes:
        note(console, f"note: {line}")
    rows = list(
        rows_of(
            found,
            inputs.lines,
            probabilities=options["probabilities"],
            kept=inputs.columns if options["keep_columns"] else None,
        )
    )
    if target is not None:
        written(rows, target, raw=options["csv_raw"])
    if as_json:
        about = {"schema": 1, "command": command_line(), "model": model, "texts": len(rows)}
        answers = {"predictions": rows} if target is None else {"out": str(target)}
        document({**about, "notes": notes, **answers})
    elif target is None:
        for line in table(found, inputs):
            result(line)
    else:
        name = str(target) if str(target).isprintable() else shown(target, limit=4096)
        result(f"{len(rows):,} answers: {name}")
    return 0


def opened(model: str, options: dict[str, Any]) -> Any:
    """The bundle, on its device.

    Raises:
        HowfarError: whatever is wrong with the model or the device.
    """
    import torch

    from howfar.bundle.load import load
    from howfar.cli.compare import checked_device

    torch.set_num_threads(options["threads"])
    if options["trust_code"] and "" not in sys.path:
        sys.path.insert(0, "")  # a module of the working folder, as with `python -m`
    bundle = load(model, trust_code=options["trust_code"])
    bundle.model.to(checked_device(options["device"]))
    return bundle


def checked_out(out: str, source: str) -> Path:
    """The file to write, which can be written and is not the input.

    Raises:
        UsageError: E-OPTION. EnvironmentFault: E-PERMISSION, E-DISK.
    """
    from howfar.core.errors import UsageError, shown
    from howfar.core.store import check_writable

    path = Path(out)
    if path.suffix.lower() not in ENDINGS:
        message = f"--out {shown(out)} ends in none of {', '.join(ENDINGS)}."
        raise UsageError("E-OPTION", message, "--out answers.csv")
    if path.is_dir() or (path.exists() and source != "-" and _same(out, source)):
        why = "is a folder" if path.is_dir() else "is the file that is read"
        raise UsageError("E-OPTION", f"--out {shown(out)} {why}.", "another name")
    check_writable(path.parent, 0)
    return path


def _same(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except (OSError, ValueError):
        return False


def written(rows: list[dict[str, Any]], path: Path, *, raw: bool) -> None:
    """Write the answers in one step."""
    from howfar.bundle.tables import csv_bytes, json_lines
    from howfar.core.store import write_file

    is_csv = path.suffix.lower() == ".csv"
    write_file(path, csv_bytes(rows, raw=raw) if is_csv else json_lines(rows))


@contextmanager
def bar(total: int) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on stderr, on a terminal alone."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from howfar.cli.write import log

    console = log()
    if not console.is_terminal:
        yield None
        return
    columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as shown_bar:
        task = shown_bar.add_task("", total=total)
        yield lambda done, _: shown_bar.update(task, completed=done)


def warnings(found: list[Any], settings: Any) -> Iterator[str]:
    """What was not read: ends of texts, and texts without a known token."""
    cut = [one.tokens for one in found if one.cut]
    if cut:
        lost = "tail" if settings.keep == "start" else "head"
        share = 100 * len(cut) / len(found)
        yield (
            f"W-TRUNC: {len(cut):,} of {len(found):,} texts ({share:.1f}%) longer than"
            f" {settings.length:,} tokens; longest {max(cut):,}; {lost} lost."
        )
    empty = sum(one.empty for one in found)
    if empty:
        yield f"W-EMPTY: {empty:,} of {len(found):,} texts hold no known token."


def table(found: list[Any], inputs: Any) -> Iterator[str]:
    """A line a text: where it stands, the answer, its probability, how the text begins."""
    chances = bool(found) and found[0].probabilities is not None
    chances = chances and not isinstance(found[0].label, tuple)
    heads = ["line", "prediction", *(["probability"] if chances else []), "text"]
    lines = [heads]
    for one, line, text in zip(found, inputs.lines, inputs.texts, strict=True):
        middle = [f"{max(one.probabilities.values()):.3f}"] if chances else []
        lines.append([str(line), _answer(one.label), *middle, _cut(text, SNIPPET)])
    widths = [max(map(len, column)) for column in list(zip(*lines, strict=True))[:-1]]
    for cells in lines:
        first = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]
        yield "  ".join([*first, cells[-1]]).rstrip()


def _answer(label: Any) -> str:
    if isinstance(label, float):
        return f"{label:.6g}"
    text = label if isinstance(label, str) else " ".join(label)
    return _cut(text, WIDE) or "-"


def _cut(text: str, most: int) -> str:
    from howfar.report.words import visible

    seen = visible(" ".join(text[: 4 * most].split()))
    return seen if len(seen) <= most else f"{seen[: most - 3]}..."
