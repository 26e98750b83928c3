"""`howfar task`: the made tasks, what one looks like, and its items as a file."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from howfar.cli.options import Whole, pairs

SHOWN = 48  # tokens of an item that are drawn
AT_ONCE = 256  # items made together

set_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of the task, such as length=128; `howfar task show NAME` lists them.",
)


@click.group("task", short_help="Made tasks: list them, look at one, write its items.")
def task_command() -> None:
    """Sequences whose answers, distances, chance level and shortcuts are known.

    `howfar compare NAME` trains families on one.
    """


@task_command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def list_command(as_json: bool) -> int:
    """Every task in one line."""
    from howfar.cli.write import document, result
    from howfar.tasks import TASKS

    if as_json:
        document({"schema": 1, "tasks": {name: kind.idea for name, kind in TASKS.items()}})
        return 0
    width = max(map(len, TASKS))
    for name, kind in TASKS.items():
        result(f"{name:<{width}}  {kind.idea}")
    return 0


@task_command.command("show")
@click.argument("name")
@set_option
@click.option("--items", type=Whole(0, 100), default=2, show_default=True, help="How many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def show_command(name: str, settings: tuple[str, ...], items: int, as_json: bool) -> int:
    """What task NAME (or a task file) asks, its settings, chance and shortcuts, and some items."""
    from howfar.cli.write import document, result
    from howfar.tasks import scored

    made = opened(name, settings)
    batch = made.batch(range(200), split="test")
    target = scored(batch)
    ladder = {}
    for rung, rule in made.shortcuts.items():
        answer = rule(batch)
        right = (answer - target).square() if made.numbers else answer == target
        ladder[rung] = float(right.double().mean())
    facts = {
        "schema": 1,
        "task": made.name,
        "idea": made.idea,
        "settings": made.settings,
        "measure": "squared error" if made.numbers else "accuracy",
        "chance": made.chance,
        "shortcuts": ladder,
        "state_bits": made.state_bits,
    }
    if as_json:
        document(facts)
        return 0
    result(f"{made.name}: {made.idea}\n")
    result(_drawing(type(made)) + "\n")
    result("settings: " + ", ".join(f"{key}={value}" for key, value in made.settings.items()))
    bits = "not known" if made.state_bits is None else f"{made.state_bits:,.1f} bits"
    result(f"to be held at the worst moment: {bits}")
    result(f"{facts['measure']} by chance {made.chance:.4f}; by shortcuts, on 200 test items:")
    for rung, value in ladder.items():
        result(f"  {value:.4f}  {rung}")
    for item in range(items):
        result("\n" + "\n".join(_item(made, batch, item)))
    return 0


@task_command.command("write")
@click.argument("name")
@set_option
@click.option("--items", type=Whole(1, 10**9), default=1000, show_default=True, help="How many.")
@click.option("--first", type=Whole(0, 10**12), default=0, show_default=True, help="Number.")
@click.option("--split", default="train", show_default=True, help="train, validation, test, ...")
@click.option("--out", metavar="FILE", help="A .jsonl file; default: stdout.")
def write_command(
    name: str, settings: tuple[str, ...], items: int, first: int, split: str, out: str | None
) -> int:
    """Items of task NAME as JSON lines: tokens, targets (null: not scored) and distances."""
    from howfar.cli.write import log, note, result
    from howfar.core.disk import check_writable, write_file
    from howfar.core.errors import UsageError, shown

    made = opened(name, settings)
    rows = lines(made, range(first, first + items), split)
    if out is None:
        for line in rows:
            result(line)
        return 0
    if Path(out).suffix.lower() != ".jsonl" or Path(out).is_dir():
        message = f"--out {shown(out)} is no .jsonl file."
        raise UsageError("E-OPTION", message, "--out items.jsonl")
    check_writable(Path(out).parent, 0)
    write_file(Path(out), lambda file: file.writelines(f"{row}\n".encode() for row in rows))
    note(log(), f"{items:,} items of {made.name}: {shown(out, limit=4096)}")
    return 0


@task_command.command("pairs")
@click.argument("file")
@click.argument("model")
@click.option("--most", type=Whole(1, 10**9), help="Of each phenomenon; default: all pairs.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def pairs_command(file: str, model: str, most: int | None, as_json: bool) -> int:
    """Does MODEL find the good sentence of each pair likelier? Chance is one half.

    FILE holds minimal pairs as BLiMP (sentence_good, sentence_bad) or Marvin & Linzen do, in JSON
    lines; MODEL is the folder of a language model. Beside it: the shorter sentence wins.
    """
    from dataclasses import asdict

    from howfar.bundle.load import load
    from howfar.bundle.surprise import surprise
    from howfar.cli.write import document, result
    from howfar.tasks.minimal_pairs import baselines, preferences, read_pairs

    pairs_read = read_pairs(file)
    if most is not None:
        seen: dict[str, int] = {}
        kept = []
        for pair in pairs_read:
            seen[pair.phenomenon] = seen.get(pair.phenomenon, 0) + 1
            if seen[pair.phenomenon] <= most:
                kept.append(pair)
        pairs_read = kept
    bundle = load(model)
    found = preferences(pairs_read, lambda texts: surprise(bundle, texts))
    beside = {name: score.overall for name, score in baselines(pairs_read).items()}
    if as_json:
        told = {name: asdict(score) for name, score in beside.items()}
        document({"schema": 1, "model": model, **asdict(found), "baselines": told})
        return 0
    for one in (found.overall, *found.phenomena):
        result(
            f"{one.share:.3f} [{one.low:.3f}, {one.high:.3f}]  {one.pairs:>7,}  {one.phenomenon}"
        )
    result(f"{found.chance:.3f}  chance")
    for name, score in beside.items():
        result(f"{score.share:.3f} [{score.low:.3f}, {score.high:.3f}]  {name}")
    return 0


def lines(made: Any, items: range, split: str) -> Iterator[str]:
    """One JSON document an item, made a few hundred at a time."""
    for start in range(items.start, items.stop, AT_ONCE):
        batch = made.batch(range(start, min(start + AT_ONCE, items.stop)), split=split)
        for row, length in enumerate(batch.lengths.tolist()):
            item: dict[str, Any] = {"tokens": batch.tokens[row, :length].tolist()}
            if made.numbers:
                item |= {"target": float(batch.targets[row])}
            else:
                asked = batch.targets[row, :length].tolist()
                item["targets"] = [None if target < 0 else target for target in asked]
            item["distance"] = batch.distance[row, :length].tolist()
            yield json.dumps({"item": start + row, **item}, allow_nan=False)


def opened(name: str, settings: tuple[str, ...], **fixed: Any) -> Any:
    """The task of this name, or of a task file, with settings as they are typed."""
    from howfar.core.errors import UsageError, shown
    from howfar.tasks import from_file, from_texts

    if name.endswith(".toml"):
        if settings:
            message = f"--set has no effect on the task file {shown(name)}."
            raise UsageError("E-OPTION", message, "write the setting into the file")
        return from_file(name)
    texts = pairs(settings)
    return from_texts(name, texts, **{k: v for k, v in fixed.items() if k not in texts})


def _drawing(kind: Any) -> str:
    """The header of the task's own file: idea, drawing, distance, chance, ladder, source."""
    text = sys.modules[kind.__module__].__doc__ or ""
    return text.strip()


def _item(made: Any, batch: Any, item: int) -> Iterator[str]:
    """Rows of one item: tokens, targets and distances under each other."""
    length = int(batch.lengths[item])
    start = max(0, length - SHOWN)
    places = range(start, length)
    tokens = batch.tokens[item]
    if made.channels:
        inputs = [" ".join(f"{x:.2f}" for x in tokens[t].tolist()) for t in places]
    else:
        inputs = [made.symbols[int(tokens[t])] for t in places]
    if made.numbers:
        wanted = {length - 1: f"{float(batch.targets[item]):.2f}"}
    else:
        row = batch.targets[item]
        wanted = {t: made.answers[int(row[t])] for t in places if int(row[t]) >= 0}
    far = {t: str(int(batch.distance[item][t])) for t in wanted}
    cells = [inputs, [wanted.get(t, "") for t in places], [far.get(t, "") for t in places]]
    widths = [max(len(row[place]) for row in cells) for place in range(len(places))]
    cut = f"... {start:,} more, " if start else ""
    for label, row in zip(("input", "target", "distance"), cells, strict=True):
        shown = " ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        yield f"{label:<9}{cut if label == 'input' else ' ' * len(cut)}{shown}".rstrip()
