"""`howfar reach`: how far back any model looks, on rows that are named."""

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import click

from howfar.cli.options import Real, Whole, all_of
from howfar.core.errors import HowfarError

MEASURES = (
    *("swap", "gradient", "influence", "context", "attention", "retention", "interaction"),
    *("structure", "fragments"),
)

rows_options = all_of(
    click.option(
        "--random",
        metavar="V|normal[:D]",
        help="Instead of DATA: independent ids 0 .. V-1, normal numbers, or vectors of D.",
    ),
    click.option(
        "--tokens",
        metavar="byte|char|word|FILE",
        help="How text becomes ids, where the model has no tokeniser; FILE: a tokenizer.json, "
        "or a JSON table from characters to ids.",
    ),
    click.option("--text", metavar="COLUMN", help="Column of texts of a table."),
    click.option("--encoding", metavar="NAME", help="Of the file; UTF-8 by default."),
    click.option("--length", type=Whole(1, 2**20), help="Tokens in a row; by default 128 or less."),
    click.option(
        "--sequences", type=Whole(2, 10**6), default=64, show_default=True, help="Rows, at most."
    ),
    click.option(
        "--layout",
        type=click.Choice(["rows", "time"]),
        help="Which axis a module has first, where asking it does not tell.",
    ),
)

machine_options = all_of(
    click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout."),
    click.option(
        "--seed", type=Whole(0, 2**62), default=0, show_default=True, help="Of all draws."
    ),
    click.option("--threads", type=Whole(1, 256), default=1, show_default=True, help="Of torch."),
    click.option(
        "--device", default="cpu", metavar="NAME", show_default=True, help="cpu, cuda or mps."
    ),
    click.option("--debug", is_flag=True, help="Show the traceback of an error."),
)


@click.command("reach", short_help="How far back any model looks: yours, or one of Hugging Face.")
@click.argument("model")
@click.argument("data", required=False)
@click.option(
    "--measure",
    "kinds",
    metavar="a,b,c",
    help=f"Of {', '.join(MEASURES)}. Default: swap; interaction where a row has one answer.",
)
@rows_options
@click.option("--next", "names_next", is_flag=True, help="Answers name the next token.")
@click.option("--eps", type=Real(1e-6, 0.999), help="Share that may come from further back.")
@click.option("--design", type=click.Choice(["paired", "fast"]), help="Of swap reach.")
@click.option("--donors", type=Whole(1, 64), help="Sequences that stand in for far tokens.")
@click.option("--side", type=click.Choice(["past", "future"]), help="Which side of the target.")
@click.option("--out", metavar="FOLDER", help="Where figures go; by default none are drawn.")
@machine_options
def reach_command(
    model: str,
    data: str | None,
    kinds: str | None,
    names_next: bool,
    out: str | None,
    as_json: bool,
    debug: bool,
    **options: Any,
) -> int:
    """Measure how far back MODEL looks when it is asked about DATA.

    MODEL is a folder that `howfar train` made, hf:FOLDER_OR_NAME, or package.module:name of a
    module, a function of tokens, or a factory of either. DATA is a text, a table, a shipped set,
    an .npy array of tokens, or package.module:name of an array or a function that gives one; or
    --random. Exit code 1: some of several measures could not be made.
    """
    from howfar import __version__
    from howfar.cli.compare import command_line
    from howfar.cli.found import lines
    from howfar.cli.show import prepare
    from howfar.cli.write import document, log, note, result

    chosen = checked(kinds)
    folder = None if out is None else prepare(out)
    with aside():
        subject = open_subject(model, data, options)
    console = log()
    for line in (subject.line, *(f"note: {line}" for line in subject.notes)):
        note(console, line)
    done = Done({}, {})
    for kind in chosen or (subject.usual,):
        note(console, f"measuring: {kind}")
        try:
            with aside():
                done.found[kind] = run(kind, subject, options, names_next=names_next)
        except (HowfarError, KeyboardInterrupt) as error:
            done.missed(kind, error, alone=len(chosen) < 2)
        if done.stopped:
            break
    figures = [] if folder is None else draw(done.found, subject.name, folder)
    if as_json:
        about = {"command": command_line(), "seed": options["seed"], "howfar": __version__}
        drawn = {"figures": [str(path) for path in figures]} if figures else {}
        document({"schema": 1, **about, **subject.data, **done.data(), **drawn})
        return done.code
    result(subject.line)
    for kind, value in done.found.items():
        result("\n".join(lines(kind, value)))
    for kind, fault in done.failed.items():
        result(f"{kind}: not measured: {fault}")
    for path in figures:
        result(f"figure: {path}")
    return done.code


@dataclasses.dataclass
class Done:
    """What was measured, and what was not and why; `stopped` by Ctrl-C after something was."""

    found: dict[str, Any]
    failed: dict[str, HowfarError]
    stopped: bool = False

    def missed(self, kind: str, error: BaseException, *, alone: bool) -> None:
        """File what kept a measure from being made; raise it where nothing else is asked for."""
        if isinstance(error, HowfarError) and not alone:
            self.failed[kind] = error
        elif isinstance(error, KeyboardInterrupt) and self.found:
            self.stopped = True
            self.failed[kind] = HowfarError("E-STOPPED", "Stopped before it was measured.")
        else:
            raise error

    def data(self) -> dict[str, Any]:
        """For JSON."""
        from howfar.cli.found import found_data

        told = [found_data(kind, value) for kind, value in self.found.items()]
        wrong = [
            {"kind": kind, "code": fault.code, "message": fault.message, "hint": fault.hint}
            for kind, fault in self.failed.items()
        ]
        return {"measures": told, **({"failed": wrong} if wrong else {})}

    @property
    def code(self) -> int:
        """The exit code."""
        return 130 if self.stopped else 1 if self.failed else 0


def checked(kinds: str | None) -> tuple[str, ...]:
    """The measures that are named; none for the usual one.

    Raises:
        UsageError: E-OPTION.
    """
    from howfar.core.errors import UsageError, closest, shown

    names = [] if kinds is None else [name.strip() for name in kinds.split(",")]
    for name in names:
        if name not in MEASURES:
            message = f"No measure is called {shown(name)}. {closest(name, MEASURES)}"
            message = f"{message}Known: {', '.join(MEASURES)}."
            raise UsageError("E-OPTION", message, "--measure swap")
    return tuple(dict.fromkeys(names))


@contextmanager
def aside() -> Iterator[None]:
    """What a stranger's code prints goes to stderr: stdout is for results."""
    with redirect_stdout(sys.stderr):
        yield


@dataclasses.dataclass(frozen=True)
class Subject:
    """An adapted model with its rows, and how both are named."""

    predict: Any
    asked: Any
    name: str
    line: str
    notes: tuple[str, ...]
    usual: str
    next_known: bool
    data: dict[str, Any]


def open_subject(model: str, data: str | None, options: dict[str, Any]) -> Subject:
    """Open a model and the rows it is to be asked about.

    Raises:
        HowfarError: whatever is wrong with either, in one line.
    """
    import torch

    from howfar.adapt import adapt
    from howfar.cli.compare import checked_device
    from howfar.cli.rows import Wanted, rows_of
    from howfar.measure import probe
    from howfar.report.words import visible

    if "" not in sys.path:
        sys.path.insert(0, "")  # a module of the working folder, as with `python -m`
    torch.set_num_threads(options["threads"])
    device = checked_device(options["device"])
    opened = opened_model(model)
    fields = [f.name for f in dataclasses.fields(Wanted) if f.name != "data"]
    wanted = Wanted(data=data, **{name: options[name] for name in fields})
    inner = opened.model.to(device) if isinstance(opened.model, torch.nn.Module) else opened.model
    first = {"rows": True, "time": False, None: None}[options["layout"]]
    made_for = getattr(adapt(inner), "trained_length", None)
    asked = rows_of(wanted, opened, made_for)
    predict = adapt(inner, asked.tokens, lengths=asked.lengths, batch_first=first)
    rows, length = asked.tokens.shape[:2]
    line = visible(f"{opened.name} on {rows:,} rows of {length:,} {asked.unit}s of {asked.name}")
    with torch.no_grad():
        answer = predict(asked.tokens[:2], asked.lengths[:2])
    pooled = answer.ndim == 2 and not asked.tokens.is_floating_point()
    if pooled and answer.shape[1] == length:  # classes, or a real a position: shorter rows tell
        seqs = probe.sequences(asked.tokens, asked.lengths, "last")
        pooled = not probe.ask(predict, seqs).everywhere
    about: dict[str, Any] = {"name": opened.name}
    if made_for is not None:
        about["trained_length"] = made_for
    told = {"name": asked.name, "rows": rows, "length": length, "unit": asked.unit}
    if asked.notes:
        told["notes"] = list(asked.notes)
    if opened.notes:
        about["notes"] = list(opened.notes)
    return Subject(
        predict=predict,
        asked=asked,
        name=opened.name,
        line=line,
        notes=(*opened.notes, *asked.notes),
        usual="interaction" if pooled else "swap",
        next_known=hasattr(predict, "short") and predict.short and not pooled,
        data={"model": about, "data": told},
    )


def opened_model(name: str) -> Any:
    """A model of elsewhere, or one that `howfar train` kept, with its own tokeniser.

    Raises:
        HowfarError: whatever is wrong with it, in one line.
    """
    from howfar.adapt import Opened, open_model
    from howfar.core.errors import UsageError, shown
    from howfar.core.store import MANIFEST

    if not (Path(name) / MANIFEST).is_file():
        return open_model(name)
    from howfar.bundle.load import load

    bundle = load(name)
    if bundle.settings.aim == "seq2seq":
        message = f"{shown(name)} answers a source with a target: one row is not enough to ask it."
        raise UsageError("E-MODEL", message, "howfar.reach in Python, with `source`")

    def encode(text: str) -> list[int]:
        ids: list[int] = bundle.tokeniser.encode([text])[0].tolist()
        return ids

    return Opened(model=bundle.model, name=Path(name).name, encode=encode, notes=bundle.notes)


def run(kind: str, subject: Subject, options: dict[str, Any], *, names_next: bool) -> Any:
    """One measure, with the options that it has.

    Raises:
        UsageError: E-OPTION for an option that was given and that the measure does not have.
    """
    from howfar.api.engine import measure, parts
    from howfar.core.errors import UsageError

    known = parts(kind)[1].__dataclass_fields__
    given = {name: options[name] for name in ("eps", "design", "donors", "side")}
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if name not in known:
            message = f"--{name} has no effect on {kind}."
            raise UsageError("E-OPTION", message, f"the same without --{name}")
    if "seed" in known:
        given["seed"] = options["seed"]
    if given.get("side") == "future" and kind == "swap":
        given["targets"] = "middle"  # the last token has nothing after it
    asked = subject.asked
    full = bool((asked.lengths == asked.tokens.shape[1]).all())
    if not full:
        given["lengths"] = asked.lengths
    follows = asked.following is not None and (names_next or subject.next_known)
    if follows and kind in ("swap", "influence", "context"):
        given["labels"] = asked.following
    return measure(kind, subject.predict, asked.tokens, **given)


def draw(found: dict[str, Any], name: str, folder: Path) -> list[Path]:
    """Draw every curve that has points; returns the files."""
    from howfar.report.measured import measured_chart, save_measured
    from howfar.report.words import shown

    drawings = {}
    for kind, value in found.items():
        curve = getattr(value, "curve", None)
        if curve is None:
            continue
        text = measured_chart(
            f"{kind} by distance", shown(name), curve.plain(), curve.unit, curve.noise_floor
        )
        if text is not None:
            drawings[kind] = text
    return save_measured(drawings, folder)
