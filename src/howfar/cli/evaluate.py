"""`howfar evaluate`: how right a trained model is on a file with the truth beside the texts."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import click

from howfar.cli.options import Real, Whole, all_of, table_options

SQUARE = 20  # classes up to which the confusion matrix is printed
FIRST = 10  # columns that the first cell of a row keeps at the least
WORST = 20  # classes with the least F1 that are printed, where there are more

_reading = all_of(
    click.option("--text", metavar="COLUMN", help="Column of texts (or sources, or tokens)."),
    click.option("--label", metavar="COLUMN", help="Column of labels (or targets, or tags)."),
    click.option("--label-separator", default="|", metavar="TEXT", help="Between several labels."),
    table_options,
    click.option("--max-field", type=Whole(1, 2**30), default=2**20, help="Characters of a cell."),
    click.option(
        "--empty",
        type=click.Choice(["error", "drop", "keep"]),
        default="error",
        show_default=True,
        help="What to do with rows without text.",
    ),
    click.option(
        "--unseen",
        type=click.Choice(["error", "ignore"]),
        default="error",
        show_default=True,
        help="Rows with a label that the model does not know; ignore: left out, and counted.",
    ),
)


@click.command("evaluate", short_help="How right a trained model is on a file.")
@click.argument("model")
@click.argument("source", metavar="FILE")
@_reading
@click.option(
    "--beams",
    type=Whole(1, 1000),
    default=1,
    show_default=True,
    help="Candidates of a sequence-to-sequence model's answers.",
)
@click.option(
    "--length-penalty",
    type=Real(0, 10),
    default=1.0,
    show_default=True,
    help="Answers rank by log p / tokens**penalty.",
)
@click.option("--out", metavar="FOLDER", help="Where evaluation.json goes; by default nowhere.")
@click.option("--trust-code", is_flag=True, help="Run code that the model names.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--threads", type=Whole(1, 256), default=1, show_default=True, help="Of torch.")
@click.option("--device", default="cpu", metavar="NAME", show_default=True, help="cpu, cuda, mps.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def evaluate_command(
    model: str, source: str, out: str | None, as_json: bool, debug: bool, **options: Any
) -> int:
    """Score MODEL, the folder that `howfar train --out` wrote, on FILE.

    FILE is what the model could have been trained on: a table with labels, numbers, tags or
    targets, or text. What is printed beside the scores is their 95 % interval.
    """
    from howfar.bundle.evaluate import evaluate_asked
    from howfar.bundle.examples import read_asked
    from howfar.cli.compare import command_line
    from howfar.cli.predict import bar, opened
    from howfar.cli.show import prepare
    from howfar.cli.write import columns, document, log, note, result
    from howfar.core.store import write_file
    from howfar.data.aims.options import CorpusOptions
    from howfar.record import codec

    folder = None if out is None else prepare(out)
    bundle = opened(model, options)
    names = ("text", "label", "label_separator", "encoding", "separator", "no_header", "quote")
    reading = {name: options[name] for name in (*names, "bad_rows", "empty", "unseen", "max_field")}
    asked = read_asked(bundle, source, CorpusOptions(**reading))
    with bar(len(asked.examples)) as progress:
        found = evaluate_asked(
            bundle,
            asked,
            progress=progress,
            beams=options["beams"],
            length_penalty=options["length_penalty"],
        )
    console = log()
    for line in (*bundle.notes, *found.notes):
        note(console, f"note: {line}")
    written: Path | None = None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        written = folder / "evaluation.json"
        write_file(written, (codec.dumps(found) + "\n").encode())
    if as_json:
        about = {"command": command_line(), "model": model}
        document({**codec.to_data(found), **about, **({"out": str(written)} if written else {})})
        return 0
    for line in lines(found, columns(100)):
        result(line)
    if written is not None:
        result(f"written: {_visible(str(written), 4096)}")
    return 0


def lines(found: Any, width: int = 100) -> Iterator[str]:
    """The whole evaluation as text, in lines of so many columns."""
    tokens = f", {found.targets:,} targets" if found.targets != found.rows else ""
    name = _visible(found.data, 60)
    yield from wrap(f"{found.family} ({found.aim}) on {found.rows:,} rows{tokens} of {name}", width)
    yield ""
    rows = [(score.name, _number(score.value), _interval(score)) for score in found.scores]
    rows += [
        (f"{base.name}: {base.score.name}", _number(base.score.value), base.note or "")
        for base in found.baselines
    ]
    yield from _columns(rows, (1,), width)
    if found.left_out:
        left = f"left out: {found.left_out:,} rows with a label that the model does not know"
        yield from wrap(left, width)
    yield from _titled("by tokens of the text", _by_length(found), (1, 2), width)
    yield from _titled("calibration: answers by their probability", _bins(found), (1, 2, 3), width)
    yield from _titled(*_classes(found), (1, 2, 3, 4), width)
    yield from _confusion(found, width)


def _by_length(found: Any) -> list[tuple[str, ...]]:
    rows = [
        (
            f"{b.first:,}" if b.first == b.last else f"{b.first:,} to {b.last:,}",
            f"{b.rows:,}",
            f"{b.value:.3f}",
            f"[{b.low:.3f}, {b.high:.3f}]",
        )
        for b in found.by_length
    ]
    return [("tokens", "rows", "right", ""), *rows] if rows else []


def _bins(found: Any) -> list[tuple[str, ...]]:
    rows = [
        (f"{b.low:.2f} to {b.high:.2f}", f"{b.rows:,}", f"{b.confidence:.3f}", f"{b.accuracy:.3f}")
        for b in found.calibration
    ]
    return [("probability", "rows", "mean", "right"), *rows] if rows else []


def _classes(found: Any) -> tuple[str, list[tuple[str, ...]]]:
    chosen = list(found.classes)
    title = "classes"
    if len(chosen) > SQUARE:
        known = [c for c in chosen if c.f1 is not None]
        chosen = sorted(known, key=lambda c: c.f1)[:WORST]
        title = f"the {len(chosen)} classes with the least F1, of {len(found.classes):,}"
    rows = [
        (_visible(c.name, 24), f"{c.rows:,}", _share(c.precision), _share(c.recall), _share(c.f1))
        for c in chosen
    ]
    return title, [("class", "rows", "precision", "recall", "F1"), *rows] if rows else []


def _confusion(found: Any, width: int) -> Iterator[str]:
    """Rows are the truth, columns the answers, numbered as the rows are."""
    table = found.confusion
    if table is None or len(table) > SQUARE:
        return
    heads = ("truth \\ answer", "", *(str(i) for i in range(1, len(table) + 1)))
    rows = [
        (_visible(name, 24), str(i), *(f"{count:,}" for count in row))
        for i, (name, row) in enumerate(zip(found.names, table, strict=True), start=1)
    ]
    yield from _titled("confusion", [heads, *rows], range(1, len(heads)), width)


def _titled(
    title: str, rows: Sequence[Sequence[str]], right: Sequence[int], width: int
) -> Iterator[str]:
    if rows:
        yield ""
        yield from wrap(title, width)
        yield from _columns(rows, right, width)


def _columns(
    rows: Sequence[Sequence[str]], right: Sequence[int], width: int = 100
) -> Iterator[str]:
    """Cells under each other, two spaces apart; `right`: columns that end at one place.

    Where they are too wide, the first column is cut, a last one of words goes under its row, and
    then the last ones of numbers are left out, which is said.
    """
    from rich.cells import cell_len, set_cell_size

    sizes = _sizes(rows)
    under = _wide(sizes) > width and bool(sizes) and len(sizes) - 1 not in right
    cells, notes = [list(row) for row in rows], [""] * len(rows)
    if under:
        notes = [row.pop() for row in cells]
        sizes.pop()
    if _wide(sizes) > width:
        sizes[0] = max(min(sizes[0], FIRST), sizes[0] - _wide(sizes) + width)
        for row in cells:
            if cell_len(row[0]) > sizes[0]:
                row[0] = f"{set_cell_size(row[0], sizes[0] - 3)}..."
    kept = len(sizes)
    while kept > 2 and _wide(sizes[:kept]) > width:
        kept -= 1
    for line, said in zip(_aligned([row[:kept] for row in cells], right), notes, strict=True):
        yield line
        yield from wrap(f"      {said}", width, subsequent_indent="      ") if said else ()
    if kept < len(sizes):
        told = f"  {len(sizes) - kept} columns are left out at this width; --json has them."
        yield from wrap(told, width)


def _sizes(rows: Sequence[Sequence[str]]) -> list[int]:
    from rich.cells import cell_len

    return [max(cell_len(row[i]) for row in rows) for i in range(len(rows[0]) if rows else 0)]


def _wide(sizes: Sequence[int]) -> int:
    return sum(sizes) + 2 * len(sizes)


def _aligned(rows: Sequence[Sequence[str]], right: Sequence[int]) -> Iterator[str]:
    from rich.cells import cell_len

    widths = _sizes(rows)
    for row in rows:
        cells = []
        for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
            blank = " " * (width - cell_len(cell))
            cells.append(blank + cell if i in right else cell + blank)
        yield ("  " + "  ".join(cells)).rstrip()


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) >= 10 or 0 < abs(value) < 0.001 else f"{value:.4f}"


def _interval(score: Any) -> str:
    return "" if score.low is None else f"[{_number(score.low)}, {_number(score.high)}]"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _visible(text: str, most: int) -> str:
    from howfar.report.words import visible

    seen = visible(text)
    return seen if len(seen) <= most else f"{seen[: most - 3]}..."
