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
LEAST = 10  # of a text, below which it is left out

_reading_options = all_of(
    click.option("--text", metavar="COLUMN", help="Column of texts of a table."),
    click.option(
        "--format",
        type=click.Choice(["csv", "tsv", "jsonl", "text"]),
        help="Of standard input, or of a file whose name does not say it.",
    ),
    table_options,
    click.option("--max-field", type=Whole(1, 2**30), default=2**20, help="Characters of a cell."),
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
    default=2_048,
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
    input; for a model of tagging also lines of token and tag (CoNLL), whose tags are not read.
    Answers come in the order of the texts. In CSV, texts that a spreadsheet would run as
    formulas get a ' in front; .jsonl keeps every text as it is.
    """
    from howfar.bundle.inputs import read_inputs
    from howfar.bundle.tables import rows_of
    from howfar.cli.compare import command_line
    from howfar.cli.write import columns, document, log, note, result
    from howfar.core.errors import shown

    target = None if out is None else checked_out(out, source)
    check_shown(options, on_screen=out is None and not as_json)
    bundle = opened(model, options)
    check_chances(options, bundle.settings.aim)
    reading = {name: options[name] for name in ("text", "encoding", "separator", "no_header")}
    reading["max_field"] = options["max_field"]
    reading["trained"] = next(iter(bundle.settings.columns), None)
    reading |= {name: options[name] for name in ("bad_rows", "format", "quote") if options[name]}
    settings = bundle.settings
    inputs = read_inputs(source, settings.aim, tags=settings.names, **reading)
    with bar(len(inputs.texts)) as progress:
        found = bundle.predictions(
            inputs.texts,
            batch_tokens=options["batch_tokens"],
            precision=options["precision"],
            progress=progress,
        )
    notes = [*bundle.notes, *inputs.notes, *warnings(found, settings)]
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
        for line in table(found, inputs, columns(120)):
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


def check_shown(options: dict[str, Any], *, on_screen: bool) -> None:
    """Refuse options of files where answers go to the screen.

    Raises:
        UsageError: E-OPTION.
    """
    from howfar.core.errors import UsageError

    for name in ("probabilities", "keep_columns"):
        if on_screen and options[name]:
            flag = f"--{name.replace('_', '-')}"
            message = f"{flag} has no effect on the screen."
            raise UsageError("E-OPTION", message, f"{flag} with --out answers.csv, or --json")


def check_chances(options: dict[str, Any], aim: str) -> None:
    """Refuse to be asked for probabilities where a model gives none.

    Raises:
        UsageError: E-OPTION.
    """
    from howfar.core.errors import UsageError

    if options["probabilities"] and aim in ("tagging", "regression", "seq2seq"):
        message = f"--probabilities has no effect here: a model for {aim} gives none."
        raise UsageError("E-OPTION", message, "the same without --probabilities")


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


def table(found: list[Any], inputs: Any, width: int) -> Iterator[str]:
    """A line a text: where it stands, the answer, its probability, how the text begins.

    The beginning is as long as there is room in `width` columns, and goes where there is none.
    """
    from rich.cells import cell_len, set_cell_size

    chances = bool(found) and found[0].probabilities is not None
    chances = chances and not isinstance(found[0].label, tuple)
    heads = ["line", "prediction", *(["probability"] if chances else []), "text"]
    lines = [heads]
    for one, line, text in zip(found, inputs.lines, inputs.texts, strict=True):
        middle = [f"{max(one.probabilities.values()):.3f}"] if chances else []
        answer = _answer(one.label, WIDE if width >= 80 else max(8, width // 3))
        lines.append([str(line), answer, *middle, _cut(text, SNIPPET)])
    widths = [max(map(cell_len, column)) for column in list(zip(*lines, strict=True))[:-1]]
    room = width - sum(widths) - 2 * len(widths)
    for cells in lines:
        first = [set_cell_size(cell, size) for cell, size in zip(cells, widths, strict=False)]
        begin = [_within(cells[-1], room)] if room >= LEAST else []
        yield "  ".join([*first, *begin]).rstrip()


def _within(text: str, room: int) -> str:
    """The text in so many columns of the terminal."""
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= room else f"{set_cell_size(text, room - 3)}..."


def _answer(label: Any, most: int) -> str:
    if isinstance(label, float):
        return f"{label:.6g}"
    text = label if isinstance(label, str) else " ".join(label)
    return _cut(text, most) or "-"


def _cut(text: str, most: int) -> str:
    from howfar.report.words import visible

    seen = visible(" ".join(text[: 4 * most].split()))
    return seen if len(seen) <= most else f"{seen[: most - 3]}..."
