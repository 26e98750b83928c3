"""`howfar train`: a file in, a model one can keep and use out."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import FrameType
from typing import Any

import click

from howfar.cli.ended import as_document, clock_time, is_done, present, say_done
from howfar.cli.reach import machine_options
from howfar.cli.training_options import loop_options, model_options, reading_options

LOOP = (
    *("slots", "schedule", "warmup", "clip", "weight_decay", "smoothing", "evaluations"),
    *("select", "patience", "precision", "recompute", "skip_nonfinite", "checkpoint_every"),
    "device",
)
TICK_SECONDS = 0.5


@click.command("train", short_help="Train a model on your data, and keep it.")
@click.argument("source", metavar="DATA")
@click.option("--out", required=True, metavar="FOLDER", help="Where the model goes.")
@reading_options
@model_options
@loop_options
@machine_options
def train_command(source: str, out: str, as_json: bool, debug: bool, **options: Any) -> int:
    """Train a model on DATA and keep it in a folder.

    DATA is a table (.csv .tsv .jsonl .parquet .arrow, also .gz), a text, a folder of texts (its
    sub-folders are classes), hf:NAME, a shipped set, or - for standard input. Ctrl-C ends the run
    after its step with a checkpoint; the same line with --resume goes on.
    """
    from howfar.api.again import check_finished
    from howfar.api.training import train_file
    from howfar.bundle.place import Place
    from howfar.bundle.training import Watching
    from howfar.cli.compare import command_line, say_data
    from howfar.train.processes import joined

    check_named(source, out)
    place = Place(
        folder=Path(out),
        resume=options["resume"],
        inexact=options["allow_inexact"],
        overwrite=options["overwrite"],
    )
    recipe, reading = recipe_of(options), reading_of(options)
    if place.resume and not place.overwrite and is_done(place.folder):
        check_finished(source, options["aim"], place.folder, reading=reading, recipe=recipe)
        say_done(place.folder, as_json=as_json)
        return 0
    with (
        joined(options["parallel"] or "ddp", options["device"]) as world,
        stoppable() as stop,
        Live(stop, quiet=not world.first) as live,
    ):
        ended = train_file(
            source,
            options["aim"],
            reading=reading,
            recipe=recipe,
            place=place,
            watching=Watching(progress=live, stop=stop, world=world),
            baselines=not options["no_baselines"],
            say=say_data if world.first else lambda data: None,
            command=command_line(),
        )
    if not world.first:
        return 0
    say_short(options["budget"], ended.training)
    if as_json:
        as_document(ended.training, place.folder)
    else:
        present(ended, place.folder)
    return {"done": 0, "failed": 1}.get(ended.training.status, stop.code)


def check_named(source: str, out: str) -> None:
    """Refuse names that are none: as paths they would be the current folder.

    Raises:
        UsageError: E-NO-FILE, E-OPTION.
    """
    from howfar.core.errors import UsageError

    if not source.strip():
        raise UsageError("E-NO-FILE", "No file is named.", "a path, or - for standard input")
    if not out.strip():
        raise UsageError("E-OPTION", "--out names no folder.", "--out model")


def recipe_of(options: dict[str, Any]) -> Any:
    """The recipe from the command line's options.

    Raises:
        UsageError: E-OPTION.
    """
    import torch

    from howfar.bundle.recipe import Recipe
    from howfar.cli.compare import checked_device
    from howfar.train import Budget

    check_together(options)
    torch.set_num_threads(options["threads"])
    checked_device(options["device"])
    same = (
        *("family", "seed", "width", "parameters", "depth", "embedding", "dropout"),
        *("batch_tokens", "pack", "carry", "balanced", "pretrain"),
    )
    return Recipe(
        budget=None if options["budget"] is None else Budget.parse(options["budget"]),
        learning_rate=options["rate"],
        extras=dict(map(extra, options["extras"])),
        options={name: options[name] for name in LOOP if options[name] is not None},
        rows=options["rows"] or 32,
        **{name: options[name] for name in same},
    )


def check_together(options: dict[str, Any]) -> None:
    """Refuse options that would be ignored beside others.

    Raises:
        UsageError: E-OPTION.
    """
    from howfar.core.errors import UsageError

    if options["rows"] is not None and options["batch_tokens"] is not None:
        message = "Both --batch and --batch-tokens say how large a batch is."
        raise UsageError("E-OPTION", message, "one of them")
    if options["parallel"] is not None and "RANK" not in os.environ:
        message = "--parallel has no effect here: there is one process."
        raise UsageError("E-OPTION", message, "`torchrun --nproc-per-node 2 -m howfar train ...`")


def say_short(budget: str | None, run: Any) -> None:
    """Note that a bare number is one of tokens, where it was spent in the first step."""
    from howfar.cli.options import REAL
    from howfar.cli.write import log, note

    if budget is None or run.steps != 1 or not REAL.fullmatch(budget.strip()):
        return
    amount = budget.strip()
    told = f"W-BUDGET: --budget {amount} is {amount} tokens, no more than one step reads."
    note(log(), f'note: {told} Perhaps "{amount} epochs" or "{amount} steps" is meant.')


def extra(text: str) -> tuple[str, Any]:
    """A setting NAME=VALUE: a number, several with commas between, true, false, none or a word.

    Raises:
        UsageError: E-OPTION.
    """
    from howfar.core.errors import UsageError, shown

    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UsageError("E-OPTION", f"--set {shown(text)} is no NAME=VALUE.", "--set depth=2")
    parts = [_value(part.strip()) for part in value.split(",")]
    words = any(isinstance(part, str) for part in parts)
    return name, parts[0] if len(parts) == 1 else (value if words else tuple(parts))


def _value(text: str) -> Any:
    from howfar.cli.options import REAL, WHOLE

    named = {"true": True, "false": False, "none": None}
    if text.lower() in named:
        return named[text.lower()]
    if WHOLE.fullmatch(text):
        return int(text)
    return float(text) if REAL.fullmatch(text) else text


def reading_of(options: dict[str, Any]) -> Any:
    """How to read, from the command line's options."""
    from howfar.data.corpus import CorpusOptions

    known = {field.name for field in fields(CorpusOptions)} - {"seed", "folder"}
    return CorpusOptions(**{name: options[name] for name in known if name in options})


class Stop:
    """Asked after every step; `code` is the exit code of what asked the run to stop.

    Between steps only: a signal while data is read, or while the model is scored, has nothing to
    end well, and acts at once.
    """

    def __init__(self) -> None:
        self.code = 0
        self.stepping = False
        self.before: dict[int, Any] = {}  # handlers of those whose call this is inside

    def __call__(self) -> bool:
        """Whether the run is to end now."""
        self.stepping = True
        return self.code != 0

    def hear(self, number: int, frame: FrameType | None) -> None:
        """A signal: the first asks the run to end after its step, the second ends it."""
        if self.code or not self.stepping:
            before = self.before.get(number)
            if callable(before):
                before(number, frame)  # knows which signal it was
            raise KeyboardInterrupt
        self.code = 128 + number


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Within: Ctrl-C and SIGTERM end a run after its step."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    stop.before = {number: signal.getsignal(number) for number in numbers}
    for one in numbers:
        signal.signal(one, stop.hear)
    try:
        yield stop
    finally:
        for number, handler in stop.before.items():
            signal.signal(number, handler)


class Live:
    """Where a run stands, on stderr: a moving line on a terminal, one line a validation elsewhere.

    Use as `with Live() as live`; then `live(stage, moment)` after every step.
    """

    def __init__(self, stop: Stop, *, quiet: bool = False) -> None:
        from howfar.cli.write import log

        self.console, self.quiet, self.stop = log(), quiet, stop
        self.status: Any = None
        self.last = 0.0

    def __enter__(self) -> "Live":
        if self.console.is_terminal and not self.quiet:
            self.status = self.console.status("reading")
            self.status.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.status is not None:
            self.status.stop()

    def __call__(self, stage: str, now: Any) -> None:
        """Hear of a step."""
        from howfar.cli.write import note

        if now.share >= 1:
            self.stop.stepping = False
        if self.quiet:
            return
        clock = time.monotonic()
        if now.point is not None:
            note(self.console, moment_line(stage, now))
        if self.status is not None and clock - self.last > TICK_SECONDS:
            self.last = clock
            self.status.update(moment_line(stage, now))


def moment_line(stage: str, now: Any) -> str:
    """How far, how well, how fast, how long still."""
    speed = now.tokens / now.seconds if now.seconds else 0.0
    left = now.seconds * (1 - now.share) / now.share if now.share else 0.0
    told = f"loss {now.loss:.4f}"
    if now.point is not None:
        score = "" if now.point.score is None else f"  score {now.point.score:.4f}"
        told = f"loss {now.point.loss:.4f}  validation {now.point.validation:.4f}{score}"
    return (
        f"{stage} {now.share:4.0%}  step {now.step:,}  {told}  "
        f"{speed:,.0f} tokens/s  {clock_time(left)} left"
    )
