"""From what a user names - a task, a shipped set, a file - to a problem to compare on."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from howfar.core.errors import UsageError, closest, shown
from howfar.data.labelled import load_labelled
from howfar.data.running import load_running
from howfar.data.shipped import SHIPPED
from howfar.study.problems import LabelProblem, Problem, TaskProblem, TextProblem
from howfar.tasks import TASKS, from_file, from_texts

TEXT_ENDINGS = (".txt", ".md", ".txt.gz", ".md.gz")
KINDS = ("byte", "char", "word", "bpe")
TABLE_ONLY = (
    *("text", "label", "test", "keep", "rare"),
    *("separator", "bad_rows", "empty", "no_header", "quote"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """How to read what is named. None: as it suits the data.

    text, label: columns of a table; test: a file of test rows. tokens: "byte", "char", "word" or
    "bpe". length: tokens a sequence; whole: cut no labelled text, however long. task: settings of a
    made task, as they are typed. The rest: what to do with rows that are hard to read.
    """

    text: str | None = None
    label: str | None = None
    test: str | None = None
    tokens: Literal["byte", "char", "word", "bpe"] | None = None
    length: int | None = None
    keep: Literal["start", "end"] = "start"
    rare: Literal["error", "drop"] = "error"
    encoding: str | None = None
    separator: str | None = None
    bad_rows: Literal["error", "skip"] = "error"
    empty: Literal["error", "drop", "keep"] = "error"
    no_header: bool = False
    quote: Literal['"', "none"] = '"'
    whole: bool = False
    task: dict[str, str] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.length is not None and not 2 <= self.length <= 2**20:
            raise UsageError(
                "E-OPTION", f"length={self.length} is not in 2 .. 1,048,576.", "--length 128"
            )
        if self.tokens is not None and self.tokens not in KINDS:
            known = ", ".join(KINDS)
            near = closest(str(self.tokens), KINDS)
            message = f"No tokens are called {shown(self.tokens)}. {near}Known: {known}."
            raise UsageError("E-OPTION", message, "--tokens word")


def open_problem(source: str, options: SourceOptions) -> Problem:
    """Read a source into a problem.

    A task's name is that task; a plain text file becomes language modelling, a table with labels
    classification. Shipped sets go by their names.

    Raises:
        UsageError, DataError, EnvironmentFault: whatever is wrong with it, in one line.
    """
    if not source.strip():
        raise UsageError("E-NO-FILE", "No file is named.", f"a path, or one of {_names()}")
    if source.endswith(".toml") or (source in TASKS and not _is_there(source)):
        return _made(source, options)
    if options.task:
        message = f"--set is of made tasks; {shown(source)} is none."
        raise UsageError("E-OPTION", message, "the same without --set")
    shipped = SHIPPED.get(source)
    is_text = shipped.kind == "text" if shipped else source.lower().endswith(TEXT_ENDINGS)
    if is_text:
        return _text(source, options)
    if not shipped and not Path(source).suffix and "/" not in source:
        _name_known(source)
    return LabelProblem(
        load_labelled(
            source,
            text=options.text,
            label=options.label,
            test=options.test,
            tokens=options.tokens or "word",
            length=2**20 if options.whole else options.length,
            keep=options.keep,
            rare=options.rare,
            seed=options.seed,
            name=shipped.name if shipped else None,
            encoding=options.encoding,
            separator=options.separator,
            bad_rows=options.bad_rows,
            empty=options.empty,
            no_header=options.no_header,
            quote=options.quote,
        )
    )


def _made(source: str, options: SourceOptions) -> TaskProblem:
    _only_for_tables(options, f"{source} is a made task", more=("tokens", "encoding"))
    given = {} if options.length is None else {"length": options.length}
    if not source.endswith(".toml"):
        return TaskProblem.of(from_texts(source, options.task, seed=options.seed, **given))
    for name in ("length", "task"):
        if getattr(options, name):
            flag = "--set" if name == "task" else "--length"
            message = f"{flag} has no effect on the task file {shown(source)}."
            raise UsageError("E-OPTION", message, "write the setting into the file")
    return TaskProblem.of(from_file(source))


def _text(source: str, options: SourceOptions) -> TextProblem:
    _only_for_tables(options, f"{shown(source)} is a plain text")
    running = load_running(
        source,
        tokens=options.tokens or "char",
        length=128 if options.length is None else options.length,
        name=source if source in SHIPPED else None,
        encoding=options.encoding,
    )
    return TextProblem(running)


def _name_known(source: str) -> None:
    """Say what names there are, where a bare word is neither a file nor a name."""
    if _is_there(source):
        return
    near = closest(source, [*TASKS, *SHIPPED])
    message = f"No file, task or shipped data set is called {shown(source)}. {near}"
    raise UsageError("E-NO-FILE", message.strip(), f"a path, or one of {_names()}")


def _names() -> str:
    return ", ".join([*TASKS, *SHIPPED])


def _is_there(source: str) -> bool:
    try:
        return Path(source).exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _only_for_tables(options: SourceOptions, why: str, more: tuple[str, ...] = ()) -> None:
    """Refuse options that would have no effect on what is not a table."""
    defaults = SourceOptions()
    for name in (*TABLE_ONLY, *more):
        if getattr(options, name) != getattr(defaults, name):
            flag = "--sep" if name == "separator" else f"--{name.replace('_', '-')}"
            message = f"{flag} has no effect here: {why}."
            raise UsageError("E-OPTION", message, f"the same without {flag}")
