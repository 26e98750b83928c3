"""`howfar data`: what is in a file, what is odd about it, and what training would cut."""

import dataclasses
from typing import Any

import click

from howfar.cli.options import Whole, all_of, table_options

reading_options = all_of(
    click.option("--text", metavar="COLUMN", help="Column of texts, where it is not obvious."),
    click.option("--label", metavar="COLUMN", help="Column of labels, likewise."),
    click.option("--test", metavar="FILE", help="Test rows, to look for leaks."),
    click.option(
        "--tokens",
        type=click.Choice(["byte", "char", "word", "bpe", "unigram"]),
        default=None,
        help="What is counted; by default words, or characters where words are not separated.",
    ),
    click.option(
        "--max-vocabulary",
        type=Whole(258, 10**7),
        default=20_000,
        show_default=True,
        help="Different tokens, at most.",
    ),
    click.option("--length", type=Whole(1, 2**30), help="What would this many tokens cut?"),
    click.option(
        "--label-separator",
        default="|",
        show_default=True,
        metavar="TEXT",
        help="Between several labels in one cell.",
    ),
    table_options,
    click.option(
        "--encoding-errors",
        type=click.Choice(["strict", "replace"]),
        default="strict",
        show_default=True,
        help="What to do with bytes that are no text.",
    ),
    click.option("--rejects", metavar="FILE", help="List the rows left out here, as JSON lines."),
)


@click.command("data", short_help="What is in a file, and what training would make of it.")
@click.argument("source")
@reading_options
@click.option("--out", default=None, metavar="FOLDER", help="Where the figure and record go.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def data_command(source: str, out: str | None, as_json: bool, debug: bool, **options: Any) -> int:
    """Check and describe SOURCE: rows, labels, lengths, scripts, repeats, leaks, cuts.

    SOURCE is a table (.csv .tsv .jsonl .parquet .arrow, also .gz), a plain text, a folder of files
    (its folders are classes), a shipped set, hf:NAME, or - for standard input.
    """
    import time

    from howfar.cli.show import prepare
    from howfar.cli.write import columns, document, result
    from howfar.data.corpus import CorpusOptions
    from howfar.data.describe import describe
    from howfar.record.codec import to_data

    started = time.monotonic()
    folder = None if out is None else prepare(out)
    found = describe(source, CorpusOptions(**options))
    found = dataclasses.replace(
        found,
        command=_command_line(),
        report=None if folder is None else str(folder),
        seconds=round(time.monotonic() - started, 3),
    )
    if folder is not None:
        _save(found, folder)
    if as_json:
        document(to_data(found))
        return 0
    from howfar.report.described import render_described

    result(render_described(found, columns(100)).rstrip("\n"))
    if folder is not None:
        _say_where(folder)
    return 0


def _save(found: Any, folder: Any) -> None:
    from howfar.record.codec import dumps
    from howfar.report.lengths import length_chart
    from howfar.report.measured import save_measured

    drawing = length_chart(found)
    save_measured({} if drawing is None else {"lengths": drawing}, folder)
    (folder / "data.json").write_text(dumps(found) + "\n", encoding="utf-8")


def _say_where(folder: Any) -> None:
    from howfar.cli.write import result
    from howfar.core.errors import shown

    name = str(folder)
    result(f"figure: {name if name.isprintable() else shown(name, limit=4096)}")


def _command_line() -> str:
    from howfar.cli.compare import command_line

    return command_line()
